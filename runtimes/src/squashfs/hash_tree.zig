//! The hash tree of a payload (docs/format.md): dm-verity's, format 1. Every block of 4 KiB that is
//! read is compared with its digest, and every block of the tree with its own, up to the root, when
//! it is read first. Checked blocks of the tree are kept in a fixed number of slots; a reader
//! copies the digest that it needs under the slot's lock, so a slot can be reused at any time.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const futex = @import("../base/futex.zig");
const log = @import("../base/log.zig");
const sha256 = @import("../base/sha256.zig");

pub const block_size = sha256.page_size;
pub const Block = sha256.Page;
/// Blocks that are checked at once.
pub const blocks_max = sha256.pages_max;
pub const blocksAtOnce = sha256.pagesAtOnce;
pub const Digest = [32]u8;
const fan_out = block_size / @sizeOf(Digest);
/// Payloads are smaller than 2^48 bytes (superblock.zig), so 2^36 blocks.
const levels_max = 6;
const slot_count = 128;

/// What follows from a payload's size.
pub const Shape = struct {
    /// Of data.
    blocks: u64,
    /// The first block of each level in the tree, the lowest level first; it stands last.
    levels: [levels_max]u64 = @splat(0),
    level_count: usize = 0,
    /// Blocks of the tree.
    tree: u64 = 0,

    pub noinline fn of(bytes_used: u64) Shape {
        var self: Shape = .{ .blocks = ceil(bytes_used, block_size) };
        var counts: [levels_max]u64 = undefined;
        var count = self.blocks;
        while (count > 1) : (self.level_count += 1) {
            count = ceil(count, fan_out);
            counts[self.level_count] = count;
        }
        var level = self.level_count;
        while (level > 0) {
            level -= 1;
            self.levels[level] = self.tree;
            self.tree += counts[level];
        }
        return self;
    }

    /// Of the payload with its padding: where the tree starts, counted from the payload's start.
    pub fn padded(self: *const Shape) u64 {
        return self.blocks * block_size;
    }

    pub fn size(self: *const Shape) u64 {
        return self.tree * block_size;
    }
};

fn ceil(count: u64, per: u64) u64 {
    return (count + per - 1) / per;
}

/// Beside each other, not with the digests: the first use of a page takes as long as some hashes.
const Slot = struct {
    mutex: futex.Mutex = .{},
    /// The block's number in the tree, plus one; 0 is an empty slot.
    tag: u64 = 0,
};

pub const HashTree = struct {
    fd: sys.fd_t,
    /// Of the payload in the file.
    start: u64,
    shape: Shape,
    salt: [32]u8,
    root: Digest,
    slots: [slot_count]Slot = @splat(.{}),
    kept: *[slot_count][fan_out]Digest,
    /// Whether it was said that something was changed.
    said: std.atomic.Value(bool) = .init(false),

    pub fn init(fd: sys.fd_t, start: u64, bytes_used: u64, salt: [32]u8, root: Digest) !HashTree {
        const memory = try sys.anonymous(slot_count * block_size);
        return .{
            .fd = fd,
            .start = start,
            .shape = .of(bytes_used),
            .salt = salt,
            .root = root,
            .kept = @ptrCast(memory.ptr),
        };
    }

    /// Compares blocks of the payload, from the first on, with their digests. Returns how many are
    /// right; an error, if one of the first `needed` is not.
    pub fn check(
        self: *HashTree,
        first: u64,
        blocks: []const Block,
        needed: usize,
    ) sys.Error!usize {
        var digests: [blocks_max]Digest = undefined;
        sha256.ofPages(&self.salt, blocks, &digests);
        for (digests[0..blocks.len], first.., 0..) |*digest, number, i| {
            const expected = self.digestOf(number) catch |err|
                return if (i < needed) err else i;
            if (!std.mem.eql(u8, digest, &expected)) return if (i < needed)
                self.changed("payload", self.start + number * block_size)
            else
                i;
        }
        return blocks.len;
    }

    /// That of a block of the payload, from a checked block of the tree.
    noinline fn digestOf(self: *HashTree, number: u64) sys.Error!Digest {
        if (number >= self.shape.blocks) return error.IO;
        // The lowest block above it that is kept, else the root.
        var level: usize = 0;
        var digest = self.root;
        while (level < self.shape.level_count) : (level += 1) {
            digest = self.find(self.above(number, level)) orelse continue;
            break;
        }
        while (level > 0) {
            level -= 1;
            digest = try self.load(self.above(number, level), &digest);
        }
        return digest;
    }

    /// A block of the tree, and which of its digests is asked for.
    const Place = struct { block: u64, entry: usize };

    /// The one that has the digest of that block of the payload, or of the block above it.
    fn above(self: *const HashTree, number: u64, level: usize) Place {
        const bits = std.math.log2_int(u64, fan_out);
        const below = number >> @intCast(bits * level);
        return .{
            .block = self.shape.levels[level] + (below >> bits),
            .entry = @intCast(below % fan_out),
        };
    }

    fn slotOf(block: u64) usize {
        return @intCast(block % slot_count);
    }

    fn find(self: *HashTree, place: Place) ?Digest {
        const number = slotOf(place.block);
        const slot = &self.slots[number];
        slot.mutex.lock();
        defer slot.mutex.unlock();
        return if (slot.tag == place.block + 1) self.kept[number][place.entry] else null;
    }

    fn load(self: *HashTree, place: Place, expected: *const Digest) sys.Error!Digest {
        var digests: [fan_out]Digest = undefined;
        const at = self.start + self.shape.padded() + place.block * block_size;
        const data = std.mem.asBytes(&digests);
        if (try sys.preadAll(self.fd, data, at) != data.len) return error.IO;
        const digest = sha256.ofPage(&self.salt, data);
        if (!std.mem.eql(u8, &digest, expected)) return self.changed("hash tree", at);
        const number = slotOf(place.block);
        const slot = &self.slots[number];
        slot.mutex.lock();
        defer slot.mutex.unlock();
        self.kept[number] = digests;
        slot.tag = place.block + 1;
        return digests[place.entry];
    }

    noinline fn changed(self: *HashTree, what: []const u8, at: u64) sys.Error {
        if (!self.said.swap(true, .monotonic)) log.say("the {s} of this file was changed: its " ++
            "bytes {d} to {d} are not those that were signed or recorded", .{
            what,
            at,
            at + block_size,
        });
        return error.IO;
    }
};

test "the shape is docs/format.md's" {
    try std.testing.expectEqual(0, Shape.of(1).tree);
    try std.testing.expectEqual(0, Shape.of(4096).level_count);
    try std.testing.expectEqual(1, Shape.of(4097).tree);
    const large = Shape.of(129 * 128 * 4096);
    try std.testing.expectEqual(3, large.level_count);
    try std.testing.expectEqual(1 + 2 + 129, large.tree);
    try std.testing.expectEqual([_]u64{ 3, 1, 0 }, large.levels[0..3].*);
    try std.testing.expectEqual(6, Shape.of((1 << 48) - 1).level_count);
}

/// A payload of so many blocks and its tree, for tests.
pub fn example(fd: sys.fd_t, blocks: usize) !HashTree {
    var tree = try HashTree.init(fd, 0, blocks * block_size, @splat(7), undefined);
    var block: [block_size]u8 = undefined;
    var row: [fan_out]Digest = undefined;
    for (0..blocks) |i| {
        @memset(&block, @truncate(i));
        try sys.do(.pwrite64, .{ fd, &block, block.len, i * block_size });
    }
    var below: u64 = 0;
    var count: u64 = blocks;
    for (tree.shape.levels[0..tree.shape.level_count]) |first| {
        const at = tree.shape.padded() + first * block_size;
        for (0..@intCast((count + fan_out - 1) / fan_out)) |i| {
            @memset(std.mem.sliceAsBytes(&row), 0);
            for (&row, 0..) |*digest, j| if (i * fan_out + j < count) {
                _ = try sys.preadAll(fd, &block, below + (i * fan_out + j) * block_size);
                digest.* = sha256.ofPage(&tree.salt, &block);
            };
            try sys.do(.pwrite64, .{ fd, &row, block_size, at + i * block_size });
        }
        below = at;
        count = (count + fan_out - 1) / fan_out;
    }
    _ = try sys.preadAll(fd, &block, below);
    tree.root = sha256.ofPage(&tree.salt, &block);
    return tree;
}

test "every changed block is found, in the payload and in the tree" {
    const blocks = 128 * 128 + 3;
    const fd: sys.fd_t = @intCast(try sys.call(.memfd_create, .{ "payload", 0 }));
    defer sys.close(fd);
    var tree = try example(fd, blocks);
    defer sys.release(@alignCast(std.mem.asBytes(tree.kept)));
    var block: [block_size]u8 = undefined;
    for ([_]u64{ 0, 1, 127, 128, 16383, 16384, blocks - 1 }) |number| {
        @memset(&block, @truncate(number));
        _ = try tree.check(number, &.{&block}, 1);
        block[3999] ^= 1;
        try std.testing.expectError(error.IO, tree.check(number, &.{&block}, 1));
    }
    @memset(&block, 0);
    try std.testing.expectError(error.IO, tree.check(blocks, &.{&block}, 1));
    var at = tree.shape.padded() + 5;
    while (at < tree.shape.padded() + tree.shape.size()) : (at += block_size) {
        var byte: [1]u8 = undefined;
        _ = try sys.preadAll(fd, &byte, at);
        byte[0] ^= 1;
        try sys.do(.pwrite64, .{ fd, &byte, 1, at });
        for (&tree.slots) |*slot| slot.tag = 0;
        const level: usize = for (tree.shape.levels[0..tree.shape.level_count], 0..) |first, i| {
            if (at >= tree.shape.padded() + first * block_size) break i;
        } else unreachable;
        const row = (at - tree.shape.padded()) / block_size - tree.shape.levels[level];
        const number = row << @intCast(7 * (level + 1));
        @memset(&block, @truncate(number));
        try std.testing.expectError(error.IO, tree.check(number, &.{&block}, 1));
        byte[0] ^= 1;
        try sys.do(.pwrite64, .{ fd, &byte, 1, at });
        for (&tree.slots) |*slot| slot.tag = 0;
        _ = try tree.check(number, &.{&block}, 1);
    }
}
