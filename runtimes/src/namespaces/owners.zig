//! The owners of the image's files, as ids that exist in the namespace of the run. The kernel gives
//! a file whose owner does not exist there to nobody: then not even root may read, write or chown
//! it, and overlayfs cannot copy it up (user_namespaces(7)). Such files belong to the user nobody
//! instead, as `stat` has shown them all along.
const std = @import("std");
const log = @import("../base/log.zig");
const text = @import("../base/text.zig");
const id_map = @import("id_map.zig");
const Sha256 = @import("../base/sha256.zig").Sha256;
const Ids = @import("userns.zig").Ids;
const Reader = @import("../squashfs/reader.zig").Reader;

/// user_namespaces(7): the kernel shows this one in place of an id that does not exist.
const overflow_id = 65534;

pub const Owners = struct {
    uids: Existing,
    gids: Existing,

    /// Where one id is mapped, that is the user's, and all files belong to it.
    pub noinline fn find(arena: std.mem.Allocator, ids: Ids, user: u32, group: u32) !Owners {
        return switch (ids) {
            .single => .{ .uids = .{ .instead = user }, .gids = .{ .instead = group } },
            .host => all,
            .none, .outer, .range => .{
                .uids = .of(try id_map.Map.ofSelf(arena, "/proc/self/uid_map") orelse return all),
                .gids = .of(try id_map.Map.ofSelf(arena, "/proc/self/gid_map") orelse return all),
            },
        };
    }

    /// A word that differs where unpacked files belong to others.
    pub fn kind(self: *const Owners, arena: std.mem.Allocator, ids: Ids) ![]const u8 {
        const name = @tagName(ids);
        if (ids == .host or ids == .single) return name;
        var hash: Sha256 = .{};
        for ([_]Existing{ self.uids, self.gids }) |existing| {
            hash.update(std.mem.sliceAsBytes(existing.map.extents));
            hash.update("-");
        }
        const digest = hash.final();
        const hex = std.fmt.bytesToHex(digest[0..8], .lower);
        return text.alloc(arena, "{s}-{s}", .{ name, @as([]const u8, &hex) });
    }

    /// A program that does not find its files its own says only "permission denied".
    pub fn noteUnmapped(self: *const Owners, reader: *Reader) !void {
        const decoder = try reader.newDecoder();
        var largest: u32 = 0;
        for (0..reader.superblock.id_count) |i| {
            const id = try reader.id(decoder, @intCast(i));
            if (self.uids.present(id) != id and self.gids.present(id) != id)
                largest = @max(largest, id);
        }
        if (largest > 0) log.note("files of the image belong to nobody here: your ranges in " ++
            "/etc/subuid and /etc/subgid do not reach id {d} (DOCKERC_LOG=quiet silences " ++
            "this)", .{largest});
    }

    pub const all: Owners = .{ .uids = .of(.all), .gids = .of(.all) };
};

pub const Existing = struct {
    map: id_map.Map = .{ .extents = &.{} },
    /// Of the files whose own does not exist.
    instead: u32,

    noinline fn of(map: id_map.Map) Existing {
        var last: u32 = 0;
        for (map.extents) |extent| last = @max(last, extent.inner +| (extent.count -| 1));
        return .{ .map = map, .instead = if (map.has(overflow_id)) overflow_id else last };
    }

    pub noinline fn present(self: *const Existing, id: u32) u32 {
        return if (self.map.has(id)) id else self.instead;
    }
};

test "owners that do not exist belong to nobody" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    const large = try id_map.Map.parse(arena.allocator(), "0 1001 1\n1 100000 65536\n");
    const ids: Existing = .of(large.?);
    for ([_]u32{ 0, 1, 65534, 65536 }) |id| try std.testing.expectEqual(id, ids.present(id));
    for ([_]u32{ 65537, 70000, std.math.maxInt(u32) }) |id|
        try std.testing.expectEqual(overflow_id, ids.present(id));
    // Where that one does not exist either, to the last one that does.
    const small = try id_map.Map.parse(arena.allocator(), "0 0 1\n1 100000 1000\n");
    try std.testing.expectEqual(1000, Existing.of(small.?).present(1001));
    // One in the middle of a hole.
    const holes = try id_map.Map.parse(arena.allocator(), "0 0 1\n5 5 2\n100 100 1\n");
    for ([_]u32{ 0, 5, 6, 100 }) |id|
        try std.testing.expectEqual(id, Existing.of(holes.?).present(id));
    for ([_]u32{ 1, 4, 7, 99, 101 }) |id|
        try std.testing.expectEqual(100, Existing.of(holes.?).present(id));
    try std.testing.expectEqual(70000, Owners.all.uids.present(70000));
}
