//! The extents of a file: which of its bytes are in which stored block, and which are holes. File
//! data is whole blocks by a list of sizes that follows the inode, the tail perhaps in a fragment
//! block that it shares with other files. Whatever reads data of files does so by this.
const std = @import("std");
const bytes = @import("../base/bytes.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const blocks = @import("blocks.zig");
const inode = @import("inode.zig");
const metadata = @import("metadata.zig");
const Reader = @import("reader.zig").Reader;

/// Bytes of a file that are in one block, or in one hole.
pub const Extent = struct {
    /// Where they start in the file.
    offset: u64,
    len: u32,
    /// Null for a hole.
    stored: ?blocks.Stored = null,
    /// Where they start in the decoded block, and where this file's bytes in it end.
    start: u32,
    limit: u32,
    /// Which fragment block that is, if it is one.
    fragment: ?u32 = null,

    /// Where they end in the decoded block.
    pub fn end(self: *const Extent) u32 {
        return self.start + self.len;
    }

    /// The bytes, in their block, if that is decoded so far.
    pub fn of(self: *const Extent, slot: *const blocks.Slot) error{Corrupt}![]const u8 {
        const content = slot.data();
        if (content.len < self.end()) return error.Corrupt;
        return content[self.start..][0..self.len];
    }
};

/// How far the block sizes of a file have been summed up: sequential reads need no new sum.
pub const BlockList = struct {
    /// At first no inode's: 0 is the first inode of the table.
    reference: inode.Reference = std.math.maxInt(inode.Reference),
    block: u64 = 0,
    at: u64 = 0,
    sizes: metadata.Cursor = .{ .block = 0, .offset = 0 },

    fn find(
        self: *BlockList,
        reader: *const Reader,
        decoder: Decoder,
        file: *const inode.Inode,
        block: u64,
    ) metadata.Error!blocks.Stored {
        if (self.reference != file.reference or self.block > block) self.* = .{
            .reference = file.reference,
            .at = file.body.file.start,
            .sizes = file.body.file.sizes,
        };
        // A failure in the middle leaves no half-summed list behind.
        errdefer self.* = .{};
        var words: [256]u8 = undefined;
        while (self.block < block) {
            const n: usize = @intCast(@min(words.len / 4, block - self.block));
            // The list is part of the inode table, which bounds how long a hostile one can be.
            if (self.sizes.block >= reader.superblock.directory_table) return error.Corrupt;
            try reader.metadata.read(decoder, &self.sizes, words[0 .. n * 4]);
            for (0..n) |i| self.at +|= bytes.u32At(&words, i * 4) & 0xff_ffff;
            self.block += n;
        }
        var sizes = self.sizes;
        try reader.metadata.read(decoder, &sizes, words[0..4]);
        return .{ .at = self.at, .word = bytes.u32At(&words, 0) };
    }
};

pub const Extents = struct {
    reader: *Reader,
    decoder: Decoder,
    file: *const inode.Inode,
    list: *BlockList,
    at: u64,
    end: u64,

    /// Of the bytes from `from` to `to`, as far as the file has them.
    pub fn init(
        reader: *Reader,
        decoder: Decoder,
        file: *const inode.Inode,
        from: u64,
        to: u64,
        list: *BlockList,
    ) Extents {
        return .{
            .reader = reader,
            .decoder = decoder,
            .file = file,
            .list = list,
            .at = from,
            .end = @min(to, file.size),
        };
    }

    pub fn left(self: *const Extents) u64 {
        return self.end -| self.at;
    }

    /// Null at the end.
    pub noinline fn next(self: *Extents) metadata.Error!?Extent {
        if (self.left() == 0) return null;
        const superblock = &self.reader.superblock;
        const body = self.file.body.file;
        const block = self.at >> superblock.block_log;
        const block_start = block << superblock.block_log;
        // What the file has in this block.
        const size: u32 = @intCast(@min(superblock.blockSize(), self.file.size - block_start));
        const skip: u32 = @intCast(self.at - block_start);
        var extent: Extent = .{
            .offset = self.at,
            .len = @intCast(@min(size - skip, self.end - self.at)),
            .start = skip,
            .limit = size,
        };
        if (size < superblock.blockSize() and body.fragment != inode.none) {
            if (@as(u64, body.fragment_offset) + size > superblock.blockSize())
                return error.Corrupt;
            extent.stored = try self.reader.fragment(self.decoder, body.fragment);
            extent.fragment = body.fragment;
            extent.start += body.fragment_offset;
            extent.limit += body.fragment_offset;
        } else {
            const stored = try self.list.find(self.reader, self.decoder, self.file, block);
            if (stored.len() > 0) extent.stored = stored;
        }
        self.at += extent.len;
        return extent;
    }

    /// The block of a stored extent, decoded as far as it is this file's, and pinned. The rest of a
    /// fragment, which belongs to other files, is left undecoded.
    pub noinline fn load(self: *const Extents, extent: *const Extent) metadata.Error!*blocks.Slot {
        const cache = &self.reader.blocks;
        const held = try cache.begin(self.decoder, extent.stored.?, extent.limit);
        if (held.unfinished) {
            if (extent.fragment == null)
                cache.finish(self.decoder, held.slot)
            else
                cache.leave(held.slot);
        }
        return held.slot;
    }
};

/// As much of the file as there is from `offset` on.
pub noinline fn read(
    reader: *Reader,
    decoder: Decoder,
    file: *const inode.Inode,
    offset: u64,
    buf: []u8,
) metadata.Error!usize {
    var list: BlockList = .{};
    var extents: Extents = .init(reader, decoder, file, offset, offset +| buf.len, &list);
    var done: usize = 0;
    while (try extents.next()) |extent| {
        const part = buf[done..][0..extent.len];
        if (extent.stored != null) {
            const slot = try extents.load(&extent);
            defer reader.blocks.release(slot);
            @memcpy(part, try extent.of(slot));
        } else @memset(part, 0);
        done += part.len;
    }
    return done;
}

/// The whole of a small file.
pub noinline fn readAlloc(
    reader: *Reader,
    decoder: Decoder,
    allocator: std.mem.Allocator,
    file: *const inode.Inode,
    size_max: usize,
) ![]u8 {
    if (file.kind != .file) return error.Corrupt;
    if (file.size > size_max) return error.TooLarge;
    const out = try allocator.alloc(u8, @intCast(file.size));
    _ = try read(reader, decoder, file, 0, out);
    return out;
}
