//! File data: whole blocks by a list of sizes that follows the inode, the tail perhaps in a
//! fragment block that it shares with other files.
const std = @import("std");
const bytes = @import("../base/bytes.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const inode = @import("inode.zig");
const metadata = @import("metadata.zig");
const Reader = @import("reader.zig").Reader;

/// A stored block: where, and its size word (bit 24: stored as it is).
pub const Stored = struct {
    at: u64,
    word: u32,

    pub fn len(self: Stored) u32 {
        return self.word & 0xff_ffff;
    }

    pub fn isPlain(self: Stored) bool {
        return self.word & (1 << 24) != 0;
    }
};

/// A block's worth of a file: `len` bytes from `start` on of the block, or a hole.
pub const Extent = struct {
    stored: ?Stored,
    /// Which fragment block that is, if it is one.
    fragment: ?u32 = null,
    start: u32,
    len: u32,
};

/// Remembers how far the sizes of a file have been summed up: reading on costs nothing then.
pub const Position = struct {
    /// Of no inode at first: 0 is the first inode of the table.
    reference: inode.Reference = std.math.maxInt(inode.Reference),
    block: u64 = 0,
    at: u64 = 0,
    sizes: metadata.Cursor = .{ .block = 0, .offset = 0 },
};

pub fn extent(
    reader: *const Reader,
    decoder: Decoder,
    reference: inode.Reference,
    file: *const inode.Inode,
    block: u64,
    position: *Position,
) metadata.Error!Extent {
    const size_log = reader.superblock.block_log;
    const block_size = reader.superblock.blockSize();
    const body = file.body.file;
    const whole = file.size >> size_log;
    const tail: u32 = @intCast(file.size & (block_size - 1));
    if (block > whole or (block == whole and tail == 0)) return error.Corrupt;

    if (block == whole and body.fragment != inode.none) {
        const stored = try reader.fragment(decoder, body.fragment);
        if (@as(u64, body.fragment_offset) + tail > block_size) return error.Corrupt;
        return .{
            .stored = stored,
            .fragment = body.fragment,
            .start = body.fragment_offset,
            .len = tail,
        };
    }

    if (position.reference != reference or position.block > block) position.* = .{
        .reference = reference,
        .block = 0,
        .at = body.start,
        .sizes = body.sizes,
    };
    // A failure in the middle leaves no half-summed position behind.
    errdefer position.* = .{};
    var words: [256]u8 = undefined;
    while (position.block < block) {
        const n: usize = @intCast(@min(words.len / 4, block - position.block));
        // The list is part of the inode table, which bounds how long a hostile one can be.
        if (position.sizes.block >= reader.superblock.directory_table) return error.Corrupt;
        try reader.metadata.read(decoder, &position.sizes, words[0 .. n * 4]);
        for (0..n) |i| position.at +|= bytes.u32At(&words, i * 4) & 0xff_ffff;
        position.block += n;
    }
    var sizes = position.sizes;
    try reader.metadata.read(decoder, &sizes, words[0..4]);
    const stored: Stored = .{ .at = position.at, .word = bytes.u32At(&words, 0) };
    return .{
        .stored = if (stored.len() == 0) null else stored,
        .start = 0,
        .len = if (block == whole) tail else block_size,
    };
}
