//! A squashfs image that is read: its parts, and the tables that inodes refer to. Everything in it
//! is untrusted: invalid data is error.Corrupt.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const bytes = @import("../base/bytes.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const Blocks = @import("blocks.zig").Blocks;
const Stored = @import("blocks.zig").Stored;
const Image = @import("image.zig").Image;
const Superblock = @import("superblock.zig").Superblock;
const metadata = @import("metadata.zig");

pub const Reader = struct {
    image: *const Image,
    superblock: Superblock,
    metadata: metadata.Metadata,
    blocks: Blocks,
    /// Where the blocks of the id table stand: 65,535 ids at most, 2,048 a block.
    id_blocks: [32]u64,
    /// The first ids, which every inode needs: valid if bit 32 is set.
    ids: []std.atomic.Value(u64),
    /// Where the first blocks of the fragment table stand; 0 is unknown.
    fragment_blocks: [fragment_blocks_kept]std.atomic.Value(u64) = @splat(.init(0)),

    const ids_kept = 64;
    const fragment_blocks_kept = 32;
    const ids_per_block = metadata.block_size / 4;
    const fragments_per_block = metadata.block_size / 16;
    const references_per_block = metadata.block_size / 8;

    pub fn init(self: *Reader, image: *const Image, superblock: Superblock) !void {
        self.* = .{
            .image = image,
            .superblock = superblock,
            .metadata = try metadata.Metadata.init(image),
            .blocks = try Blocks.init(image, superblock.blockSize()),
            .id_blocks = undefined,
            .ids = @as(
                [*]std.atomic.Value(u64),
                @ptrCast((try sys.anonymous(ids_kept * 8)).ptr),
            )[0..ids_kept],
        };
        const count = (@as(usize, superblock.id_count) + ids_per_block - 1) / ids_per_block;
        var buf: [32 * 8]u8 = undefined;
        const got = try image.read(buf[0 .. count * 8], superblock.id_table);
        if (got.len != count * 8) return error.Corrupt;
        for (0..count) |i| self.id_blocks[i] = try self.position(bytes.u64At(got, i * 8));
    }

    /// A decoder whose input holds any one block of this image.
    pub fn newDecoder(self: *const Reader) !Decoder {
        const stored = @max(self.superblock.blockSize(), 2 + metadata.block_size);
        return Decoder.init(stored + Image.margin);
    }

    /// Positions are bounded, so that sums with them cannot overflow.
    fn position(self: *const Reader, at: u64) error{Corrupt}!u64 {
        return if (at < self.superblock.bytes_used) at else error.Corrupt;
    }

    pub fn id(self: *const Reader, decoder: Decoder, index: u16) metadata.Error!u32 {
        if (index >= self.superblock.id_count) return error.Corrupt;
        const known = if (index < self.ids.len) self.ids[index].load(.monotonic) else 0;
        if (known != 0) return @truncate(known);
        var cursor: metadata.Cursor = .{
            .block = self.id_blocks[index / ids_per_block],
            .offset = @as(u32, index % ids_per_block) * 4,
        };
        var buf: [4]u8 = undefined;
        try self.metadata.read(decoder, &cursor, &buf);
        const value = bytes.u32At(&buf, 0);
        if (index < self.ids.len) self.ids[index].store(1 << 32 | @as(u64, value), .monotonic);
        return value;
    }

    fn fragmentEntry(self: *Reader, index: u32) metadata.Error!metadata.Cursor {
        const block = index / fragments_per_block;
        const known = if (block < fragment_blocks_kept) &self.fragment_blocks[block] else null;
        if (known) |at| if (at.load(.monotonic) != 0) return .{
            .block = at.load(.monotonic),
            .offset = index % fragments_per_block * 16,
        };
        const table = self.superblock.fragment_table;
        const entry = try self.tableEntry(table, index, fragments_per_block, 16);
        if (known) |at| at.store(entry.block, .monotonic);
        return entry;
    }

    pub fn fragment(self: *Reader, decoder: Decoder, index: u32) metadata.Error!Stored {
        if (index >= self.superblock.fragment_count) return error.Corrupt;
        var cursor = try self.fragmentEntry(index);
        var buf: [16]u8 = undefined;
        try self.metadata.read(decoder, &cursor, &buf);
        return .{ .at = try self.position(bytes.u64At(&buf, 0)), .word = bytes.u32At(&buf, 8) };
    }

    /// The reference of the inode with this number, in an image with an export table.
    pub fn numbered(
        self: *const Reader,
        decoder: Decoder,
        number: u32,
    ) metadata.Error!metadata.Reference {
        if (self.superblock.export_table == Superblock.absent) return error.NOENT;
        if (number == 0 or number > self.superblock.inode_count) return error.Corrupt;
        var cursor = try self.tableEntry(
            self.superblock.export_table,
            number - 1,
            references_per_block,
            8,
        );
        var buf: [8]u8 = undefined;
        try self.metadata.read(decoder, &cursor, &buf);
        return bytes.u64At(&buf, 0);
    }

    /// A table is a list of positions of metadata blocks, which hold so many entries each.
    pub fn tableEntry(
        self: *const Reader,
        table: u64,
        index: u32,
        per_block: u32,
        size: u32,
    ) metadata.Error!metadata.Cursor {
        var buf: [8]u8 = undefined;
        const got = try self.image.read(&buf, table + @as(u64, index / per_block) * 8);
        if (got.len != buf.len) return error.Corrupt;
        return .{
            .block = try self.position(bytes.u64At(got, 0)),
            .offset = index % per_block * size,
        };
    }
};
