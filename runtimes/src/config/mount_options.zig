//! Options of mounts, as config.json and fstab(5) write them: flags of mount(2), and the file
//! system's own.
const std = @import("std");
const MS = @import("../base/syscalls.zig").MS;
const text = @import("../base/text.zig");

pub const Parsed = struct { flags: usize = 0, bind: bool = false, data: []const u8 };

const option_flags = [_]struct { name: []const u8, set: usize, clear: usize = 0 }{
    .{ .name = "ro", .set = MS.rdonly },
    .{ .name = "rw", .set = 0, .clear = MS.rdonly },
    .{ .name = "nosuid", .set = MS.nosuid },
    .{ .name = "nodev", .set = MS.nodev },
    .{ .name = "noexec", .set = MS.noexec },
    .{ .name = "noatime", .set = 1024 },
    .{ .name = "nodiratime", .set = 2048 },
    .{ .name = "relatime", .set = 1 << 21 },
    .{ .name = "strictatime", .set = 1 << 24 },
    .{ .name = "sync", .set = 16 },
    .{ .name = "bind", .set = MS.bind },
    .{ .name = "rbind", .set = MS.bind | MS.rec },
    .{ .name = "defaults", .set = 0 },
    .{ .name = "suid", .set = 0, .clear = MS.nosuid },
    .{ .name = "dev", .set = 0, .clear = MS.nodev },
    .{ .name = "exec", .set = 0, .clear = MS.noexec },
};
/// Options of mount propagation, which our mounts do not have, or of other runtimes.
const without_meaning = [_][]const u8{
    "private",   "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable",
    "tmpcopyup",
};

pub fn parse(arena: std.mem.Allocator, options: []const []const u8) !Parsed {
    var out: Parsed = .{ .data = "" };
    var data: std.ArrayList([]const u8) = .empty;
    next: for (options) |option| {
        for (option_flags) |known| if (std.mem.eql(u8, option, known.name)) {
            out.flags = (out.flags & ~known.clear) | known.set;
            continue :next;
        };
        for (without_meaning) |word| if (std.mem.eql(u8, option, word)) continue :next;
        try data.append(arena, option);
    }
    out.bind = out.flags & MS.bind != 0;
    out.data = try std.mem.join(arena, ",", data.items);
    return out;
}

/// Flags and a file system's own options as fstab(5) writes them, in parentheses.
pub fn describe(arena: std.mem.Allocator, flags: usize, data: []const u8) ![]const u8 {
    var words: std.ArrayList([]const u8) = .empty;
    for (option_flags) |known| {
        const set = known.set & ~@as(usize, MS.bind | MS.rec);
        if (set != 0 and flags & set == set) try words.append(arena, known.name);
    }
    if (data.len > 0) try words.append(arena, data);
    if (words.items.len == 0) return "";
    return text.alloc(arena, " ({s})", .{try std.mem.join(arena, ",", words.items)});
}

test "mount options" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const given = [_][]const u8{ "nosuid", "ro", "rw", "mode=755", "rprivate", "size=64k" };
    const parsed = try parse(arena.allocator(), &given);
    try std.testing.expectEqual(MS.nosuid, parsed.flags);
    try std.testing.expectEqualStrings("mode=755,size=64k", parsed.data);
    try std.testing.expectEqualStrings(
        " (nosuid,mode=755,size=64k)",
        try describe(arena.allocator(), parsed.flags, parsed.data),
    );
    try std.testing.expectEqualStrings("", try describe(arena.allocator(), MS.bind | MS.rec, ""));
}

/// Null if none of them names an id.
pub fn withoutIds(arena: std.mem.Allocator, data: []const u8) !?[:0]const u8 {
    var kept: std.ArrayList([]const u8) = .empty;
    var words = std.mem.tokenizeScalar(u8, data, ',');
    while (words.next()) |word| {
        if (std.mem.startsWith(u8, word, "gid=") or std.mem.startsWith(u8, word, "uid=")) continue;
        try kept.append(arena, word);
    }
    const out = try std.mem.joinZ(arena, ",", kept.items);
    return if (out.len == data.len) null else out;
}

test "options that name ids" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    try std.testing.expectEqualStrings(
        "newinstance,mode=0620",
        (try withoutIds(arena.allocator(), "newinstance,gid=5,mode=0620")).?,
    );
    try std.testing.expect(try withoutIds(arena.allocator(), "mode=0620") == null);
}
