//! /etc/hosts, /etc/resolv.conf and /etc/hostname: the machine's, like the network, unless options
//! change them.
const std = @import("std");
const config = @import("spec.zig");
const log = @import("../base/log.zig");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const Options = @import("../cli/options.zig").Options;
const Source = @import("source.zig").Source;

/// Lists that block advertisers have several megabytes.
const table_max = 64 << 20;

/// A file that the container gets.
pub const File = struct {
    path: []const u8,
    content: union(enum) { machine: Source, text: []const u8 },
};

/// The machine's, where it has them.
pub const Machines = struct {
    resolv_conf: ?Source = null,
    hosts: ?Source = null,
    /// What /etc/hosts says, if more is to be added to it.
    table: []const u8 = "127.0.0.1\tlocalhost\n",
};

pub fn open(options: *const Options) Machines {
    var machines: Machines = .{
        .resolv_conf = Source.open("/etc/resolv.conf") catch null,
        .hosts = Source.open("/etc/hosts") catch null,
    };
    if (options.last(.add_host) == null and options.last(.hostname) == null) return machines;
    if (sys.readLarge(sys.at_fdcwd, "/etc/hosts", table_max)) |table| {
        machines.table = table;
    } else |err| if (err == error.FBIG)
        log.die("/etc/hosts is larger than {d} bytes", .{table_max});
    return machines;
}

pub fn list(
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    options: *const Options,
    machines: Machines,
) ![3]?File {
    const servers = try options.all(arena, .dns);
    const hosts = try options.all(arena, .add_host);
    const hostname = options.last(.hostname);
    return .{
        if (servers.len > 0)
            made("/etc/resolv.conf", try resolverLines(arena, servers))
        else
            shown(spec, "/etc/resolv.conf", machines.resolv_conf),
        if (hosts.len > 0 or hostname != null)
            made("/etc/hosts", try hostLines(arena, machines.table, hosts, hostname))
        else
            shown(spec, "/etc/hosts", machines.hosts),
        if (hostname) |name|
            made("/etc/hostname", try text.alloc(arena, "{s}\n", .{name}))
        else
            null,
    };
}

fn made(path: []const u8, content: []const u8) File {
    return .{ .path = path, .content = .{ .text = content } };
}

/// The machine's, unless config.json mounts something there.
fn shown(spec: *const config.Spec, path: []const u8, source: ?Source) ?File {
    for (spec.mounts) |mount| if (std.mem.eql(u8, mount.destination, path)) return null;
    return .{ .path = path, .content = .{ .machine = source orelse return null } };
}

fn resolverLines(arena: std.mem.Allocator, servers: []const []const u8) ![]const u8 {
    var out: []const u8 = "";
    for (servers) |server| out = try text.alloc(arena, "{s}nameserver {s}\n", .{ out, server });
    return out;
}

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
        const meant = if (std.mem.eql(u8, address, "host-gateway")) "127.0.0.1" else address;
        out = try text.alloc(arena, "{s}{s}\t{s}\n", .{ out, meant, given[0..at] });
    }
    return out;
}
