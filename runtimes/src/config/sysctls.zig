//! --sysctl: kernel parameters of the container's namespaces (sysctl(8), docker's list).
const std = @import("std");
const config = @import("spec.zig");
const log = @import("../base/log.zig");
const text = @import("../base/text.zig");
const Options = @import("../cli/options.zig").Options;

pub const Sysctl = struct { path: [:0]const u8, value: []const u8 };

const directory = "/proc/sys/";
const of_ipc = [_][]const u8{ "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue." };

pub fn given(
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    options: *const Options,
) ![]const Sysctl {
    var out: std.ArrayList(Sysctl) = .empty;
    // As in docker, every user of the container may have any port of it.
    if (options.isPrivate()) try out.append(arena, .{
        .path = directory ++ "net/ipv4/ip_unprivileged_port_start",
        .value = "0",
    });
    for (try options.all(arena, .sysctl)) |word| {
        const name, const value = std.mem.cutScalar(u8, word, '=') orelse
            log.die("--sysctl {s}: write NAME=VALUE", .{word});
        const of_network = std.mem.startsWith(u8, name, "net.");
        if (of_network and !spec.linux.hasNamespace("network")) log.die(
            "--sysctl {s}: the network is the machine's; its parameters are set by sysctl(8) there",
            .{word},
        );
        if (!isPlain(name) or !of_network and !isOfIpc(name)) log.die(
            "--sysctl {s}: only kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and, with " ++
                "--network private or none, net.* are the container's own",
            .{word},
        );
        const path = try text.alloc(arena, directory ++ "{s}", .{name});
        std.mem.replaceScalar(u8, path[directory.len..], '.', '/');
        try out.append(arena, .{ .path = path, .value = value });
    }
    return out.items;
}

fn isOfIpc(name: []const u8) bool {
    for (of_ipc) |start| if (std.mem.startsWith(u8, name, start)) return true;
    return false;
}

/// Nothing that leads elsewhere once its dots are slashes.
fn isPlain(name: []const u8) bool {
    for (name) |byte| switch (byte) {
        'a'...'z', 'A'...'Z', '0'...'9', '_', '-', '.' => {},
        else => return false,
    };
    return std.mem.find(u8, name, "..") == null;
}
