//! /etc/hosts, /etc/resolv.conf and /etc/hostname: copies of the machine's, like the network, with
//! what options add; with --userns keep-id, the image's /etc/passwd and /etc/group with the caller.
//! As docker's they can be written: entry points append to them.
const std = @import("std");
const config = @import("spec.zig");
const log = @import("../base/log.zig");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const Ip = @import("../base/ip.zig").Ip;
const Options = @import("../cli/options.zig").Options;
const Place = @import("place.zig").Place;
const Source = @import("source.zig").Source;

/// With --network private, for a name server on the machine's loopback addresses, which the program
/// cannot reach: pasta passes on what is sent there.
pub const private_name_server = "10.0.2.3";

/// Lists that block advertisers have several megabytes.
const table_max = 64 << 20;
/// A larger one is not copied, but shown as it is.
const copy_max = 64 << 10;

/// A file that the container gets.
pub const File = struct {
    path: []const u8,
    content: union(enum) { machine: Source, text: []const u8 },
};

/// The machine's, where it has them.
pub const Machines = struct {
    resolv_conf: ?[]const u8 = null,
    hosts: ?[]const u8 = null,
    hostname: ?[]const u8 = null,
    /// One that is too large to be copied, where nothing is added to it.
    large_hosts: ?Source = null,
    /// The image's, with the caller (--userns keep-id).
    passwd: ?[]const u8 = null,
    group: ?[]const u8 = null,
};

pub fn open(options: *const Options, place: *const Place) Machines {
    var machines: Machines = .{
        .resolv_conf = sys.readLarge(sys.at_fdcwd, "/etc/resolv.conf", copy_max) catch null,
        .hostname = sys.readLarge(sys.at_fdcwd, "/etc/hostname", copy_max) catch null,
        .passwd = place.passwd,
        .group = place.group,
    };
    machines.hosts = sys.readLarge(sys.at_fdcwd, "/etc/hosts", copy_max) catch |err| blk: {
        if (err != error.FBIG) break :blk null;
        if (options.last(.add_host) == null and options.last(.hostname) == null) {
            machines.large_hosts = Source.open("/etc/hosts") catch null;
            break :blk null;
        }
        break :blk sys.readLarge(sys.at_fdcwd, "/etc/hosts", table_max) catch |error_of_all|
            if (error_of_all == error.FBIG)
                log.die("/etc/hosts is larger than {d} bytes", .{table_max})
            else
                null;
    };
    return machines;
}

pub fn list(
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    options: *const Options,
    machines: Machines,
) ![5]?File {
    const hosts = try options.all(arena, .add_host);
    const hostname = options.last(.hostname);
    if (options.isPrivate()) for (hosts) |given| if (std.mem.endsWith(u8, given, host_gateway))
        log.die("--add-host {s}: with --network private write the machine's address", .{given});
    const changed = hosts.len > 0 or hostname != null;
    const table = if (changed)
        try hostLines(arena, machines.hosts orelse "127.0.0.1\tlocalhost\n", hosts, hostname)
    else
        machines.hosts;
    const name = if (hostname) |given|
        try text.alloc(arena, "{s}\n", .{given})
    else
        machines.hostname;
    return .{
        made(spec, "/etc/resolv.conf", try resolverLines(arena, options, machines.resolv_conf)),
        if (options.has(.no_hosts))
            null
        else if (machines.large_hosts) |source|
            .{ .path = "/etc/hosts", .content = .{ .machine = source } }
        else
            made(spec, "/etc/hosts", table),
        made(spec, "/etc/hostname", name),
        made(spec, "/etc/passwd", machines.passwd),
        made(spec, "/etc/group", machines.group),
    };
}

/// Leaves out config.json's binds of the machine's files, which the copies stand for.
pub fn replaceBinds(arena: std.mem.Allocator, spec: *config.Spec) !void {
    var mounts: std.ArrayList(config.Mount) = .empty;
    for (spec.mounts) |mount| {
        const copied = text.isOneOf(mount.destination, &.{ "/etc/hosts", "/etc/resolv.conf" });
        if (!copied or !std.mem.eql(u8, mount.source, mount.destination))
            try mounts.append(arena, mount);
    }
    spec.mounts = mounts.items;
}

/// Unless config.json mounts another file there.
fn made(spec: *const config.Spec, path: []const u8, content: ?[]const u8) ?File {
    for (spec.mounts) |mount| if (std.mem.eql(u8, mount.destination, path)) return null;
    return .{ .path = path, .content = .{ .text = content orelse return null } };
}

/// resolv.conf(5): the machine's lines, but for those of a kind that options give.
fn resolverLines(
    arena: std.mem.Allocator,
    options: *const Options,
    machines: ?[]const u8,
) !?[]const u8 {
    const kinds = [_]struct { word: []const u8, given: []const []const u8 }{
        .{ .word = "nameserver", .given = try options.all(arena, .dns) },
        .{ .word = "search", .given = try options.all(arena, .dns_search) },
        .{ .word = "options", .given = try options.all(arena, .dns_option) },
    };
    const given = kinds[0].given.len + kinds[1].given.len + kinds[2].given.len;
    if (given == 0 and !options.isPrivate()) return machines;
    var out: std.ArrayList(u8) = .empty;
    // Other servers know other domains: of the machine's nothing is kept then (docker's rule).
    const kept = if (kinds[0].given.len > 0) "" else machines orelse "";
    var lines = std.mem.tokenizeScalar(u8, kept, '\n');
    while (lines.next()) |line| {
        if (options.isPrivate() and isLocalServer(line)) {
            try out.appendSlice(arena, "nameserver " ++ private_name_server ++ "\n");
            continue;
        }
        for (kinds) |kind| {
            if (kind.given.len > 0 and std.mem.startsWith(u8, line, kind.word)) break;
        } else {
            try out.appendSlice(arena, line);
            try out.append(arena, '\n');
        }
    }
    for (kinds[0].given) |server| {
        try out.appendSlice(arena, try text.alloc(arena, "nameserver {s}\n", .{server}));
    }
    // One line has them all.
    for (kinds[1..]) |kind| if (kind.given.len > 0) {
        try out.appendSlice(arena, kind.word);
        for (kind.given) |word| {
            try out.append(arena, ' ');
            try out.appendSlice(arena, word);
        }
        try out.append(arena, '\n');
    };
    return out.items;
}

fn isLocalServer(line: []const u8) bool {
    var words = std.mem.tokenizeAny(u8, line, " \t");
    if (!std.mem.eql(u8, words.next() orelse return false, "nameserver")) return false;
    const ip = Ip.parse(words.next() orelse return false) orelse return false;
    return ip.isLoopback() or ip.isAny();
}

const host_gateway = "host-gateway";

fn hostLines(
    arena: std.mem.Allocator,
    table: []const u8,
    hosts: []const []const u8,
    hostname: ?[]const u8,
) ![]const u8 {
    var out = table;
    // As Debian does for a machine without a fixed address.
    if (hostname) |name| out = try text.alloc(arena, "{s}127.0.1.1\t{s}\n", .{ out, name });
    for (hosts) |given| {
        const at = std.mem.findAny(u8, given, ":=") orelse
            log.die("--add-host {s}: write NAME:ADDRESS", .{given});
        const address = std.mem.trim(u8, given[at + 1 ..], "[]");
        // On the machine's network the machine itself is the loopback address.
        const meant = if (std.mem.eql(u8, address, host_gateway)) "127.0.0.1" else address;
        out = try text.alloc(arena, "{s}{s}\t{s}\n", .{ out, meant, given[0..at] });
    }
    return out;
}

test "name servers of a private network" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const machines = "nameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver ::1\nsearch a\n";
    const network: @FieldType(Options, "given") = &.{.{ .flag = .network, .value = "private" }};
    const given: Options = .{ .given = network, .args = &.{} };
    try std.testing.expectEqualStrings(
        "nameserver 10.0.2.3\nnameserver 192.0.2.1\nnameserver 10.0.2.3\nsearch a\n",
        (try resolverLines(arena, &given, machines)).?,
    );
    const host: Options = .{ .given = &.{}, .args = &.{} };
    try std.testing.expectEqualStrings(machines, (try resolverLines(arena, &host, machines)).?);
}
