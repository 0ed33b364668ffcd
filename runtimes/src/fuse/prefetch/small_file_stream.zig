//! Readers that go through the small files of directories. The files that follow are pushed into
//! the kernel's cache before they are read, in the order of the inodes, which is that of the names.
const std = @import("std");
const squashfs = struct {
    const extents = @import("../../squashfs/extents.zig");
    const inode = @import("../../squashfs/inode.zig");
    const Reader = @import("../../squashfs/reader.zig").Reader;
};
const Channel = @import("../channel.zig").Channel;
const Decoder = @import("../../base/zstd.zig").Decoder;
const node_id = @import("../node_id.zig");
const Reference = squashfs.inode.Reference;

/// Inodes at a time.
const window_max = 64;

pub const SmallFileStream = struct {
    /// The last file that was read or pushed.
    last: Reference = std.math.maxInt(Reference),
    window: u32 = 0,
    under_way: bool = false,

    /// Metadata blocks have 8 KiB, and are compressed.
    const near = 16 << 10;

    fn leadsTo(self: *const SmallFileStream, reference: Reference) bool {
        return reference >= self.last and (reference >> 16) - (self.last >> 16) <= near;
    }

    /// Pushes the small files after `last` into the cache, as far as the kernel knows their inodes:
    /// it does when their directory has been listed. Returns the last one.
    pub fn advance(
        self: *const SmallFileStream,
        reader: *squashfs.Reader,
        channel: *const Channel,
        decoder: Decoder,
    ) !Reference {
        var reference = self.last;
        var file = try squashfs.inode.read(reader, decoder, reference);
        var list: squashfs.extents.BlockList = .{};
        for (0..self.window) |_| {
            reference = try squashfs.inode.behind(reader, decoder, &file) orelse break;
            file = try squashfs.inode.read(reader, decoder, reference);
            if (file.kind != .file or file.size == 0 or file.size > small_max) continue;
            var extents: squashfs.extents.Extents =
                .init(reader, decoder, &file, 0, file.size, &list);
            const extent = try extents.next() orelse continue;
            const stored = extent.stored orelse continue;
            if (extent.len < file.size) continue;
            // The whole fragment: the next files are in it, too.
            const slot = try reader.blocks.get(decoder, stored);
            defer reader.blocks.release(slot);
            if (!channel.store(node_id.of(reference), 0, try extent.of(slot))) break;
        }
        return reference;
    }
};

/// As much as one READ asks for.
pub const small_max = @import("../channel.zig").read_max;

pub const SmallFileStreams = struct {
    all: [4]SmallFileStream = @splat(.{}),
    next: usize = 0,

    /// After a READ of a small file that was not in the cache. Returns the stream to continue, if
    /// any.
    pub fn reached(self: *SmallFileStreams, reference: Reference) ?*SmallFileStream {
        for (&self.all) |*stream| {
            if (!stream.leadsTo(reference)) continue;
            stream.last = reference;
            if (stream.under_way) return null;
            stream.window = @min(window_max, @max(2, stream.window * 2));
            return stream;
        }
        const stream = &self.all[self.next];
        self.next = (self.next + 1) % self.all.len;
        if (!stream.under_way) stream.* = .{ .last = reference };
        return null;
    }
};
