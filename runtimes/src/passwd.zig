//! Lines of passwd(5).
const std = @import("std");

pub const User = struct { name: []const u8, home: []const u8 };

pub fn find(text: []const u8, uid: u32) ?User {
    var lines = std.mem.tokenizeScalar(u8, text, '\n');
    while (lines.next()) |line| {
        var fields = std.mem.splitScalar(u8, line, ':');
        const name = fields.first();
        _ = fields.next() orelse continue;
        const id = std.fmt.parseInt(u32, fields.next() orelse continue, 10) catch continue;
        if (id != uid) continue;
        _ = fields.next() orelse continue;
        _ = fields.next() orelse continue;
        return .{ .name = name, .home = fields.next() orelse continue };
    }
    return null;
}

test "users are found by id" {
    const text = "root:x:0:0:root:/root:/bin/sh\nbroken\nme:x:7:7::/home/me:\n";
    try std.testing.expectEqualStrings("/home/me", find(text, 7).?.home);
    try std.testing.expectEqualStrings("root", find(text, 0).?.name);
    try std.testing.expect(find(text, 1) == null);
}
