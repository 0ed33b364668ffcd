//! A squashfs image, read: tables, lookups, whole small files. Everything in it is untrusted;
//! what does not add up is error.Corrupt for the one who asked.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const bytes = @import("../base/bytes.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const Blocks = @import("blocks.zig").Blocks;
const Slot = @import("blocks.zig").Slot;
const Image = @import("image.zig").Image;
const Superblock = @import("superblock.zig").Superblock;
const data = @import("data.zig");
const directory = @import("directory.zig");
const inode = @import("inode.zig");
const metadata = @import("metadata.zig");

pub const Reader = struct {
    image: *const Image,
    superblock: Superblock,
    metadata: metadata.Metadata,
    blocks: Blocks,
    /// Where the blocks of the id table stand: 65,535 ids at most, 2,048 a block.
    id_blocks: [32]u64,
    /// The first ids, which are asked for with every inode: known once bit 32 is set.
    ids: []std.atomic.Value(u64),

    const ids_kept = 64;
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
        return Decoder.init(@max(self.superblock.blockSize(), 2 + metadata.block_size));
    }

    /// Positions from the image are kept where sums with them cannot overflow.
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

    pub fn fragment(self: *const Reader, decoder: Decoder, index: u32) metadata.Error!data.Stored {
        if (index >= self.superblock.fragment_count) return error.Corrupt;
        var cursor = try self.tableEntry(
            self.superblock.fragment_table,
            index,
            fragments_per_block,
            16,
        );
        var buf: [16]u8 = undefined;
        try self.metadata.read(decoder, &cursor, &buf);
        return .{ .at = try self.position(bytes.u64At(&buf, 0)), .word = bytes.u32At(&buf, 8) };
    }

    /// Where the inode of a number stands, in an image that tells.
    pub fn numbered(
        self: *const Reader,
        decoder: Decoder,
        number: u32,
    ) metadata.Error!inode.Reference {
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

    /// The block that a stored extent is in, as far as that goes, pinned. The rest of a fragment,
    /// which is other files', is left.
    pub fn load(self: *Reader, decoder: Decoder, extent: data.Extent) metadata.Error!*Slot {
        const held = try self.blocks.begin(decoder, extent.stored.?, extent.start + extent.len);
        if (held.unfinished) {
            if (extent.fragment == null)
                self.blocks.finish(decoder, held.slot)
            else
                self.blocks.leave(held.slot);
        }
        if (held.slot.data().len < extent.start + extent.len) {
            self.blocks.release(held.slot);
            return error.Corrupt;
        }
        return held.slot;
    }

    pub fn readlink(
        self: *const Reader,
        decoder: Decoder,
        link: *const inode.Inode,
        buf: []u8,
    ) metadata.Error![]u8 {
        if (link.kind != .symlink or link.size > buf.len) return error.Corrupt;
        var cursor = link.body.symlink;
        const target = buf[0..@intCast(link.size)];
        try self.metadata.read(decoder, &cursor, target);
        return target;
    }

    /// The inode at a path from the root, symbolic links not followed; null when there is none.
    pub fn find(self: *const Reader, decoder: Decoder, path: []const u8) !?inode.Inode {
        var here = try inode.read(self, decoder, self.superblock.root_inode);
        var names = std.mem.tokenizeScalar(u8, path, '/');
        while (names.next()) |name| {
            if (std.mem.eql(u8, name, ".")) continue;
            if (here.kind != .directory) return null;
            const entry = try directory.lookup(self, decoder, &here, name) orelse return null;
            here = try inode.read(self, decoder, entry.reference);
        }
        return here;
    }

    /// The whole of a small file in the root directory; null when there is none of that name.
    pub fn readRootFile(
        self: *Reader,
        decoder: Decoder,
        allocator: std.mem.Allocator,
        name: []const u8,
        size_max: usize,
    ) !?[]u8 {
        const root = try inode.read(self, decoder, self.superblock.root_inode);
        if (root.kind != .directory) return error.Corrupt;
        const entry = try directory.lookup(self, decoder, &root, name) orelse return null;
        const file = try inode.read(self, decoder, entry.reference);
        return try self.readFile(decoder, allocator, &file, size_max);
    }

    /// The whole of a small file.
    pub fn readFile(
        self: *Reader,
        decoder: Decoder,
        allocator: std.mem.Allocator,
        file: *const inode.Inode,
        size_max: usize,
    ) ![]u8 {
        if (file.kind != .file) return error.Corrupt;
        if (file.size > size_max) return error.TooLarge;
        const out = try allocator.alloc(u8, @intCast(file.size));
        var done: usize = 0;
        var at: data.Position = .{};
        while (done < out.len) {
            const extent = try data.extent(
                self,
                decoder,
                0,
                file,
                done >> self.superblock.block_log,
                &at,
            );
            const part = out[done..][0..extent.len];
            if (extent.stored != null) {
                const slot = try self.load(decoder, extent);
                defer self.blocks.release(slot);
                @memcpy(part, slot.data()[extent.start..][0..extent.len]);
            } else @memset(part, 0);
            done += extent.len;
        }
        return out;
    }
};
