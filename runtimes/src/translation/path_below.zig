//! Paths and their beginnings.
const std = @import("std");

/// What follows `top` in a path that is it or below it.
pub fn below(path: []const u8, top: []const u8) ?[]const u8 {
    if (!std.mem.startsWith(u8, path, top)) return null;
    if (top.len == 0 or path.len == top.len or path[top.len] == '/') return path[top.len..];
    return if (top.len == 1) path else null;
}

test "paths below others" {
    try std.testing.expectEqualStrings("/x", below("/data/x", "/data").?);
    try std.testing.expectEqualStrings("", below("/data", "/data").?);
    try std.testing.expectEqualStrings("/data", below("/data", "/").?);
    try std.testing.expectEqualStrings("/a", below("/a", "").?);
    try std.testing.expect(below("/database", "/data") == null);
}
