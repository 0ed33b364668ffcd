//! Lines of passwd(5) and group(5).
const std = @import("std");
const quantity = @import("../cli/quantity.zig");

pub const User = struct { name: []const u8, uid: u32, gid: u32, home: []const u8 };

/// By name, or by number.
pub const Key = union(enum) { name: []const u8, id: u32 };

pub fn find(table: []const u8, key: Key) ?User {
    var lines = std.mem.tokenizeScalar(u8, table, '\n');
    while (lines.next()) |line| {
        var fields = std.mem.splitScalar(u8, line, ':');
        const name = fields.first();
        _ = fields.next() orelse continue;
        const uid = number(fields.next()) orelse continue;
        if (!matches(key, name, uid)) continue;
        const gid = number(fields.next()) orelse continue;
        _ = fields.next() orelse continue;
        return .{ .name = name, .uid = uid, .gid = gid, .home = fields.next() orelse continue };
    }
    return null;
}

/// The id of a group.
pub fn findGroup(table: []const u8, name: []const u8) ?u32 {
    var groups: Groups = .{ .lines = std.mem.tokenizeScalar(u8, table, '\n') };
    while (groups.next()) |group| if (std.mem.eql(u8, group.name, name)) return group.gid;
    return null;
}

/// The name of a group.
pub fn findGroupName(table: []const u8, gid: u32) ?[]const u8 {
    var groups: Groups = .{ .lines = std.mem.tokenizeScalar(u8, table, '\n') };
    while (groups.next()) |group| if (group.gid == gid) return group.name;
    return null;
}

/// The groups that list the user as a member.
pub fn memberships(
    arena: std.mem.Allocator,
    table: []const u8,
    user: []const u8,
) error{OutOfMemory}![]const u32 {
    var out: std.ArrayList(u32) = .empty;
    var groups: Groups = .{ .lines = std.mem.tokenizeScalar(u8, table, '\n') };
    while (groups.next()) |group| {
        var members = std.mem.tokenizeScalar(u8, group.members, ',');
        while (members.next()) |member| if (std.mem.eql(u8, member, user)) {
            try out.append(arena, group.gid);
            break;
        };
    }
    return out.items;
}

const Groups = struct {
    lines: std.mem.TokenIterator(u8, .scalar),

    fn next(self: *Groups) ?struct { name: []const u8, gid: u32, members: []const u8 } {
        while (self.lines.next()) |line| {
            var fields = std.mem.splitScalar(u8, line, ':');
            const name = fields.first();
            _ = fields.next() orelse continue;
            const gid = number(fields.next()) orelse continue;
            return .{ .name = name, .gid = gid, .members = fields.next() orelse "" };
        }
        return null;
    }
};

fn matches(key: Key, name: []const u8, id: u32) bool {
    return switch (key) {
        .name => |wanted| std.mem.eql(u8, wanted, name),
        .id => |wanted| wanted == id,
    };
}

fn number(field: ?[]const u8) ?u32 {
    return quantity.number(u32, field orelse return null);
}

test "users and groups" {
    const users = "root:x:0:0:root:/root:/bin/sh\nbroken\nme:x:7:8::/home/me:\n";
    try std.testing.expectEqualStrings("/home/me", find(users, .{ .id = 7 }).?.home);
    try std.testing.expectEqual(8, find(users, .{ .name = "me" }).?.gid);
    try std.testing.expect(find(users, .{ .id = 1 }) == null);
    const groups = "root:x:0:\nwheel:x:10:you,me\nbroken\nme:x:8:me";
    try std.testing.expectEqual(10, findGroup(groups, "wheel").?);
    try std.testing.expect(findGroup(groups, "broken") == null);
    try std.testing.expectEqualStrings("wheel", findGroupName(groups, 10).?);
    try std.testing.expect(findGroupName(groups, 11) == null);
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    try std.testing.expectEqualSlices(
        u32,
        &.{ 10, 8 },
        try memberships(arena.allocator(), groups, "me"),
    );
}
