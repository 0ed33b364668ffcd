//! What of the machine the container gets: volumes set at build and given by the caller, devices,
//! and the binds that config.json lists.
const std = @import("std");
const json = @import("json.zig");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const cdi = @import("cdi.zig");
const config = @import("spec.zig");
const DirIterator = @import("../base/dir_iter.zig").DirIterator;
const etc_files = @import("etc_files.zig");
const mount_options = @import("mount_options.zig");
const sources = @import("source.zig");
const text = @import("../base/text.zig");
const isOneOf = text.isOneOf;
const throttles = @import("throttles.zig");
const Options = @import("../cli/options.zig").Options;
const Place = @import("place.zig").Place;

pub const Machine = struct {
    volumes: []const sources.Volume = &.{},
    /// Of config.json's mounts, in their order.
    sources: []const ?sources.Source = &.{},
    etc: etc_files.Machines = .{},
    /// Paths of all that is in /dev (--privileged).
    devices: []const []const u8 = &.{},
};

/// Opened before our mounts hide it. Relative paths are relative to the caller's working directory.
pub fn open(
    arena: std.mem.Allocator,
    spec: *config.Spec,
    options: *const Options,
    place: *const Place,
) !Machine {
    var volumes: std.ArrayList(sources.Volume) = .empty;
    // Given volumes of the same places are mounted over these.
    for (place.directories) |path| try volumes.append(arena, .{
        .source = try openThere(arena, path),
        .destination = path,
        .readonly = false,
    });
    const baked = config.list(arena, spec, "dev.dockerc.run.volumes") catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        error.Json => log.die("the payload's dev.dockerc.run.volumes is not a list of words", .{}),
    };
    for (baked orelse &.{}) |given| try volumes.append(arena, try openVolume(arena, given));
    for (options.given) |given| switch (given.flag) {
        .volume => try volumes.append(arena, try openVolume(arena, given.value)),
        .mount => try openMount(arena, spec, &volumes, given.value),
        .device => if (!cdi.isName(given.value)) try volumes.append(
            arena,
            try openDevice(arena, given.value),
        ),
        else => {},
    };
    const binds = try arena.alloc(?sources.Source, spec.mounts.len);
    for (binds, spec.mounts) |*source, mount| source.* = try openSource(arena, mount);
    if (spec.linux.maskedPaths.len > 0) try throttles.hide(arena, spec);
    return .{
        .volumes = volumes.items,
        .sources = binds,
        .etc = etc_files.open(options, place),
        .devices = if (options.has(.privileged)) try listDevices(arena) else &.{},
    };
}

fn listDevices(arena: std.mem.Allocator) ![]const []const u8 {
    var paths: std.ArrayList([]const u8) = .empty;
    const flags: sys.O = .{ .DIRECTORY = true, .CLOEXEC = true };
    var names: DirIterator = .{
        .fd = sys.openat(sys.at_fdcwd, "/dev", flags, 0) catch return &.{},
    };
    defer sys.close(names.fd);
    while (try names.next()) |name|
        try paths.append(arena, try text.alloc(arena, "/dev/{s}", .{name}));
    return paths.items;
}

/// The source of a bind that config.json lists (payloads of dockerc 0.3 list
/// /etc/resolv.conf and /sys). Null if this machine does not have it, and for other mounts.
fn openSource(arena: std.mem.Allocator, mount: config.Mount) !?sources.Source {
    const options = try mount_options.parse(arena, mount.options);
    if (!options.bind) return null;
    return sources.Source.open(try arena.dupeSentinel(u8, mount.source, 0)) catch |err| {
        log.debug("no {s} to bind: {s}", .{ mount.source, errno.text(err) });
        return null;
    };
}

const Volume = struct { source: []const u8, destination: []const u8, readonly: bool };

fn openVolume(arena: std.mem.Allocator, given: []const u8) !sources.Volume {
    const volume = parseVolume(given) orelse
        log.die("not a volume: {s}; write SOURCE:/TARGET or SOURCE:/TARGET:ro", .{given});
    return .{
        .source = try openOrMake(arena, volume.source),
        .destination = volume.destination,
        .readonly = volume.readonly,
    };
}

fn parseVolume(given: []const u8) ?Volume {
    const source, const rest = std.mem.cutScalar(u8, given, ':') orelse return null;
    const destination, const mode = std.mem.cutScalar(u8, rest, ':') orelse .{ rest, "rw" };
    if (source.len == 0 or destination.len == 0 or destination[0] != '/') return null;
    var readonly = false;
    var modes = std.mem.splitScalar(u8, mode, ',');
    next: while (modes.next()) |m| {
        if (std.mem.eql(u8, m, "ro")) {
            readonly = true;
            continue;
        }
        // SELinux labels, caches of macOS and propagation have no meaning here.
        for ([_][]const u8{
            "rw",      "z",      "Z",     "cached",  "delegated", "consistent", "rprivate",
            "private", "rslave", "slave", "rshared", "shared",    "nocopy",
        }) |known|
            if (std.mem.eql(u8, m, known)) continue :next;
        return null;
    }
    return .{ .source = source, .destination = destination, .readonly = readonly };
}

/// A missing source is made, as docker does.
fn openOrMake(arena: std.mem.Allocator, path: []const u8) !sources.Source {
    const name = try arena.dupeSentinel(u8, path, 0);
    if (sources.Source.open(name)) |source| return source else |err| {
        if (err != error.NOENT)
            log.die("cannot use {s} as a volume: {s}", .{ path, errno.text(err) });
    }
    var end: usize = 0;
    while (end < path.len) {
        end = std.mem.findScalarPos(u8, path, end + 1, '/') orelse path.len;
        const part = try arena.dupeSentinel(u8, path[0..end], 0);
        sys.mkdir(part, 0o755) catch |err| if (err != error.EXIST)
            log.die(
                "the volume {s} does not exist and cannot be made: {s}",
                .{ path, errno.text(err) },
            );
    }
    return openThere(arena, path);
}

fn openThere(arena: std.mem.Allocator, path: []const u8) !sources.Source {
    return sources.Source.open(try arena.dupeSentinel(u8, path, 0)) catch |err|
        log.die("cannot use {s}: {s}", .{ path, errno.text(err) });
}

/// --mount type=bind|tmpfs,source=…,target=…,readonly: its source must exist (docker's rule).
/// A field of a line of comma-separated values, perhaps in quotes (RFC 4180); docker's rule.
fn nextField(arena: std.mem.Allocator, rest: *[]const u8) !?[]const u8 {
    while (rest.len > 0) {
        if (rest.*[0] != '"') {
            const field, rest.* = std.mem.cutScalar(u8, rest.*, ',') orelse .{ rest.*, "" };
            if (field.len == 0) continue;
            return field;
        }
        var out: std.ArrayList(u8) = .empty;
        var at: usize = 1;
        while (at < rest.len) : (at += 1) {
            const byte = rest.*[at];
            if (byte != '"') {
                try out.append(arena, byte);
            } else if (at + 1 < rest.len and rest.*[at + 1] == '"') {
                at += 1;
                try out.append(arena, '"');
            } else break;
        } else log.die("--mount: a quote is not closed: {s}", .{rest.*});
        const after = rest.*[at + 1 ..];
        if (after.len > 0 and after[0] != ',')
            log.die("--mount: a comma is missing behind a quote: {s}", .{rest.*});
        rest.* = if (after.len > 0) after[1..] else "";
        return out.items;
    }
    return null;
}

fn openMount(
    arena: std.mem.Allocator,
    spec: *config.Spec,
    volumes: *std.ArrayList(sources.Volume),
    given: []const u8,
) !void {
    var kind: []const u8 = "volume";
    var source: []const u8 = "";
    var target: []const u8 = "";
    var readonly = false;
    var data: std.ArrayList([]const u8) = .empty;
    var rest = given;
    while (try nextField(arena, &rest)) |field| {
        const key, const value = std.mem.cutScalar(u8, field, '=') orelse .{ field, "true" };
        if (isOneOf(key, &.{"type"})) {
            kind = value;
        } else if (isOneOf(key, &.{ "source", "src" })) {
            source = value;
        } else if (isOneOf(key, &.{ "target", "destination", "dst" })) {
            target = value;
        } else if (isOneOf(key, &.{ "readonly", "ro" })) {
            readonly = !isOneOf(value, &.{ "false", "0" });
        } else if (isOneOf(key, &.{ "tmpfs-size", "tmpfs-mode" })) {
            try data.append(
                arena,
                try text.alloc(arena, "{s}={s}", .{ key["tmpfs-".len..], value }),
            );
        } else if (!isOneOf(
            key,
            &.{ "bind-propagation", "consistency" },
        )) log.die("--mount {s}: unknown option {s}", .{ given, key });
    }
    if (target.len == 0 or target[0] != '/')
        log.die("--mount {s}: target=/PATH is missing", .{given});
    if (isOneOf(kind, &.{"tmpfs"})) {
        try data.appendSlice(arena, &.{ "nosuid", "nodev", "noexec" });
        if (readonly) try data.append(arena, "ro");
        spec.mounts = try std.mem.concat(arena, config.Mount, &.{ spec.mounts, &.{
            .{ .destination = target, .type = "tmpfs", .options = data.items, .given = true },
        } });
    } else if (isOneOf(kind, &.{"bind"})) {
        if (source.len == 0) log.die("--mount {s}: source=PATH is missing", .{given});
        try volumes.append(arena, .{
            .source = try openThere(arena, source),
            .destination = target,
            .readonly = readonly,
        });
    } else log.die("--mount {s}: only type=bind and type=tmpfs are supported; no engine keeps " ++
        "named volumes", .{given});
}

/// --device PATH[:PATH IN THE CONTAINER][:rwm]; the access mode is ignored: the permissions of the
/// device node decide.
fn openDevice(arena: std.mem.Allocator, given: []const u8) !sources.Volume {
    var parts = std.mem.splitScalar(u8, given, ':');
    const source = parts.first();
    var destination = source;
    if (parts.next()) |second| {
        if (second.len > 0 and second[0] == '/') destination = second;
    }
    if (source.len == 0 or source[0] != '/') log.die("--device {s}: write /dev/NAME", .{given});
    return .{
        .source = try openThere(arena, source),
        .destination = destination,
        .readonly = false,
    };
}

test "volumes, as the builder has them" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const cases = try json.parse(arena_state.allocator(), @import("build_options").volumes);
    for (try cases.items()) |case| {
        const parsed = parseVolume(try case.get("text").?.text());
        if (case.get("error") != null) {
            try std.testing.expect(parsed == null);
        } else try std.testing.expectEqualDeep(Volume{
            .source = try case.get("source").?.text(),
            .destination = try case.get("destination").?.text(),
            .readonly = case.get("readonly").?.boolean,
        }, parsed.?);
    }
}
