//! Names of hosts: /etc/hosts, /etc/resolv.conf and /etc/hostname, which are the machine's as the
//! network is, unless options say something else.
const std = @import("std");
const config = @import("../config/spec.zig");
const log = @import("../base/log.zig");
const errno = @import("../base/errno.zig");
const sources = @import("../config/source.zig");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const Options = @import("../cli/options.zig").Options;

/// Lists of names that are not to be found have several megabytes.
const table_max = 64 << 20;

/// Files to be shown in the container. Made in the workspace where they are not the machine's own.
pub fn make(
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    options: *const Options,
) ![]const sources.Volume {
    var shown: std.ArrayList(sources.Volume) = .empty;
    const servers = try options.all(arena, .dns);
    const resolvers: ?[]const u8 = if (servers.len > 0) try resolverLines(arena, servers) else null;
    try show(arena, spec, &shown, "/etc/resolv.conf", ".dockerc.resolv.conf", resolvers);

    const hosts = try options.all(arena, .add_host);
    const hostname = options.last(.hostname);
    const table: ?[]const u8 = if (hosts.len > 0 or hostname != null)
        try hostLines(arena, hosts, hostname)
    else
        null;
    try show(arena, spec, &shown, "/etc/hosts", ".dockerc.hosts", table);
    if (hostname) |name| try show(
        arena,
        spec,
        &shown,
        "/etc/hostname",
        ".dockerc.hostname",
        try text.alloc(arena, "{s}\n", .{name}),
    );
    return shown.items;
}

fn show(
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    shown: *std.ArrayList(sources.Volume),
    path: [:0]const u8,
    own: [:0]const u8,
    content: ?[]const u8,
) !void {
    if (content) |bytes| {
        // Where nothing can be mounted this is the image's root, with all that may stand in it.
        const fd = try sys.openat(
            sys.at_fdcwd,
            own,
            .{ .ACCMODE = .WRONLY, .CREAT = true, .EXCL = true, .NOFOLLOW = true, .CLOEXEC = true },
            0o644,
        );
        defer sys.close(fd);
        try sys.writeAll(fd, bytes);
        return shown.append(
            arena,
            .{ .source = try sources.Source.open(own), .destination = path, .readonly = false },
        );
    }
    for (spec.mounts) |mount| if (std.mem.eql(u8, mount.destination, path)) return;
    const source = sources.Source.open(path) catch return;
    try shown.append(arena, .{ .source = source, .destination = path, .readonly = true });
}

fn resolverLines(arena: std.mem.Allocator, servers: []const []const u8) ![]const u8 {
    var out: []const u8 = "";
    for (servers) |server| out = try text.alloc(arena, "{s}nameserver {s}\n", .{ out, server });
    return out;
}

fn hostLines(
    arena: std.mem.Allocator,
    hosts: []const []const u8,
    hostname: ?[]const u8,
) ![]const u8 {
    var out: []const u8 = sys.readLarge(sys.at_fdcwd, "/etc/hosts", table_max) catch |err| blk: {
        if (err == error.FBIG) log.die("/etc/hosts is larger than {d} bytes", .{table_max});
        break :blk "127.0.0.1\tlocalhost\n";
    };
    // As Debian names a machine that has no other address of its own.
    if (hostname) |name| out = try text.alloc(arena, "{s}127.0.1.1\t{s}\n", .{ out, name });
    for (hosts) |given| {
        const at = std.mem.findAny(u8, given, ":=") orelse
            log.die("--add-host {s}: write NAME:ADDRESS", .{given});
        const address = std.mem.trim(u8, given[at + 1 ..], "[]");
        // With the machine's network the machine is on the loopback.
        const meant = if (std.mem.eql(u8, address, "host-gateway")) "127.0.0.1" else address;
        out = try text.alloc(arena, "{s}{s}\t{s}\n", .{ out, meant, given[0..at] });
    }
    return out;
}

/// In a network namespace of its own nothing is up, the loopback neither.
pub fn raiseLoopback() void {
    const inet = 2;
    const datagram = 2;
    const cloexec = 0o2000000;
    const set_flags = 0x8914;
    const up_running: i16 = 0x41;
    const Request = extern struct { name: [16]u8, flags: i16, padding: [22]u8 };
    var request: Request = std.mem.zeroes(Request);
    @memcpy(request.name[0..2], "lo");
    request.flags = up_running;
    const socket = sys.call(.socket, .{ inet, datagram | cloexec, 0 }) catch return;
    sys.do(.ioctl, .{ socket, set_flags, &request }) catch |err|
        log.debug("loopback: {s}", .{errno.text(err)});
    sys.close(@intCast(socket));
}
