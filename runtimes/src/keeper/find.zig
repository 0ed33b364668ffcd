//! The keepers of this file, whatever ids their mounts are for.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const address = @import("address.zig");
const socket = @import("../base/socket.zig");
const DirIterator = @import("../base/dir_iter.zig").DirIterator;
const Environment = @import("../cli/environment.zig").Environment;
const Kin = @import("peer.zig").Kin;

/// Their processes.
pub fn all(arena: std.mem.Allocator, callers: *const Environment) ![]const i32 {
    var found: std.ArrayList(i32) = .empty;
    const kin: Kin = try .ofSelf();
    for (try address.directories(arena, callers)) |candidate| {
        var existing = candidate;
        existing.makes = .nothing;
        const dir = existing.open(arena) catch continue;
        defer sys.close(dir);
        var list: DirIterator = .{ .fd = dir };
        while (try list.next()) |name| {
            if (!std.mem.startsWith(u8, std.mem.span(name), address.prefix)) continue;
            const at: address.Address = .{ .dir = dir, .name = std.mem.span(name) };
            try found.append(arena, ask(at, &kin) catch continue);
        }
    }
    return found.items;
}

fn ask(at: address.Address, kin: *const Kin) sys.Error!i32 {
    const connection = try socket.open();
    defer sys.close(connection);
    try socket.setPatience(connection, 1);
    try at.connect(connection);
    return kin.prove(connection);
}
