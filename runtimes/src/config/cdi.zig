//! Devices by name (--device vendor.com/class=name, --gpus): what the machine's specifications say
//! about them (CNCF Container Device Interface, SPEC.md) becomes mounts and variables of the
//! configuration. Their hooks, programs to be run with root's rights outside, are refused.
const std = @import("std");
const config = @import("spec.zig");
const json = @import("json.zig");
const log = @import("../base/log.zig");
const errno = @import("../base/errno.zig");
const DirIterator = @import("../base/dir_iter.zig").DirIterator;
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const yaml = @import("yaml.zig");
const Options = @import("../cli/options.zig").Options;
const Value = json.Value;

/// The later one counts more.
const places = [_][:0]const u8{ "/etc/cdi", "/var/run/cdi" };
const size_max = 4 << 20;

pub fn apply(arena: std.mem.Allocator, spec: *config.Spec, options: *const Options) !void {
    var asked: std.ArrayList([]const u8) = .empty;
    for (options.given) |given| switch (given.flag) {
        .device => if (isName(given.value)) try asked.append(arena, given.value),
        .gpus => try gpus(arena, &asked, given.value),
        else => {},
    };
    if (asked.items.len == 0) return;
    const specs = try readAll(arena);
    for (asked.items) |name| try add(arena, spec, specs, name);
}

pub fn isName(device: []const u8) bool {
    const kind, const name = std.mem.cutScalar(u8, device, '=') orelse return false;
    const slash = std.mem.findScalar(u8, kind, '/') orelse return false;
    return slash > 0 and name.len > 0;
}

/// all, device=0,1 or "device=0,1".
fn gpus(arena: std.mem.Allocator, asked: *std.ArrayList([]const u8), given: []const u8) !void {
    const value = std.mem.trim(u8, given, "\"");
    if (std.mem.eql(u8, value, "all")) return asked.append(arena, "nvidia.com/gpu=all");
    const list = std.mem.cutPrefix(u8, value, "device=") orelse
        log.die("--gpus {s}: write all or device=NAME[,NAME]", .{given});
    var names = std.mem.tokenizeScalar(u8, list, ',');
    while (names.next()) |name|
        try asked.append(arena, try text.alloc(arena, "nvidia.com/gpu={s}", .{name}));
}

fn readAll(arena: std.mem.Allocator) ![]const Value {
    var specs: std.ArrayList(Value) = .empty;
    for (places) |place| {
        const dir = sys.openat(
            sys.at_fdcwd,
            place,
            .{ .DIRECTORY = true, .CLOEXEC = true },
            0,
        ) catch continue;
        defer sys.close(dir);
        var list: DirIterator = .{ .fd = dir };
        while (try list.next()) |name| {
            const file = std.mem.span(name);
            // No others (SPEC.md).
            const parse = if (std.mem.endsWith(u8, file, ".json"))
                &json.parse
            else if (std.mem.endsWith(u8, file, ".yaml")) &yaml.parse else continue;
            const content = sys.readLarge(dir, name, size_max) catch |err| {
                if (err != error.FBIG) continue;
                log.die("{s}/{s} is larger than {d} bytes", .{ place, file, size_max });
            };
            const value = parse(arena, content) catch |err| switch (err) {
                error.OutOfMemory => |e| return e,
                error.Json => log.die(
                    "{s}/{s} is neither JSON nor YAML as tools write it",
                    .{ place, file },
                ),
            };
            try specs.append(arena, value);
        }
    }
    return specs.items;
}

fn add(arena: std.mem.Allocator, spec: *config.Spec, specs: []const Value, name: []const u8) !void {
    const kind, const wanted = std.mem.cutScalar(u8, name, '=').?;
    var found: ?struct { spec: Value, device: Value } = null;
    for (specs) |each| {
        if (!std.mem.eql(u8, try textOf(each, "kind"), kind)) continue;
        for (each.list("devices") catch malformed(name)) |device| {
            if (std.mem.eql(u8, try textOf(device, "name"), wanted))
                found = .{ .spec = each, .device = device };
        }
    }
    const device = found orelse
        log.die("no specification in /etc/cdi or /var/run/cdi names the device {s}", .{name});
    for ([_]Value{ device.spec, device.device }) |holder|
        edit(arena, spec, name, holder.get(
            "containerEdits",
        ) orelse continue) catch |err| switch (err) {
            error.Json => malformed(name),
            else => return err,
        };
}

fn malformed(name: []const u8) noreturn {
    log.die("the specification of {s} makes no sense", .{name});
}

fn textOf(value: Value, name: []const u8) ![]const u8 {
    return if (value.get(name)) |member| member.text() catch "" else "";
}

fn edit(arena: std.mem.Allocator, spec: *config.Spec, name: []const u8, edits: Value) !void {
    var env: std.ArrayList([]const u8) = .empty;
    for (try edits.list("env")) |word| try env.append(arena, try word.text());
    spec.process.env = try std.mem.concat(arena, []const u8, &.{ spec.process.env, env.items });

    var mounts: std.ArrayList(config.Mount) = .empty;
    for (try edits.list("deviceNodes")) |node| {
        const path = try textOf(node, "path");
        const host = try textOf(node, "hostPath");
        try mounts.append(
            arena,
            try bind(arena, name, if (host.len > 0) host else path, path, &.{}),
        );
    }
    for (try edits.list("mounts")) |mount| {
        var options: std.ArrayList([]const u8) = .empty;
        for (try mount.list("options")) |option| try options.append(arena, try option.text());
        try mounts.append(arena, try bind(
            arena,
            name,
            try textOf(mount, "hostPath"),
            try textOf(mount, "containerPath"),
            options.items,
        ));
    }
    spec.mounts = try std.mem.concat(arena, config.Mount, &.{ spec.mounts, mounts.items });
    if ((try edits.list("hooks")).len > 0) log.note("the hooks of {s} are not run", .{name});
}

fn bind(
    arena: std.mem.Allocator,
    name: []const u8,
    source: []const u8,
    target: []const u8,
    options: []const []const u8,
) !config.Mount {
    if (source.len == 0 or target.len == 0 or source[0] != '/' or target[0] != '/')
        return error.Json;
    _ = sys.stat(sys.at_fdcwd, try arena.dupeSentinel(u8, source, 0)) catch |err|
        log.die("{s} needs {s}: {s}", .{ name, source, errno.text(err) });
    return .{
        .destination = target,
        .type = "bind",
        .source = source,
        .options = try std.mem.concat(arena, []const u8, &.{ options, &.{"rbind"} }),
    };
}

test "names of devices" {
    try std.testing.expect(isName("vendor.com/class=name"));
    for ([_][]const u8{ "/dev/x", "/dev/x=y", "vendor.com/class", "vendor.com/class=" }) |other|
        try std.testing.expect(!isName(other));
}
