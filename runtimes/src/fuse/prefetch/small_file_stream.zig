//! Readers that go through the small files of directories. What such a reader will open next is
//! put into the kernel's cache before he asks, in the order of the inodes, which is that of the
//! names.
const std = @import("std");
const squashfs = struct {
    const data = @import("../../squashfs/data.zig");
    const inode = @import("../../squashfs/inode.zig");
    const Reader = @import("../../squashfs/reader.zig").Reader;
};
const Channel = @import("../channel.zig").Channel;
const Decoder = @import("../../base/zstd.zig").Decoder;
const node_id = @import("../node_id.zig");
const Reference = squashfs.inode.Reference;

/// Of inodes, at a time.
const window_max = 64;

pub const SmallFileStream = struct {
    /// What he has, and what has been put into the cache behind it.
    last: Reference = std.math.maxInt(Reference),
    window: u32 = 0,
    under_way: bool = false,

    /// Metadata blocks have 8 KiB, and are compressed.
    const near = 16 << 10;

    fn leadsTo(self: *const SmallFileStream, reference: Reference) bool {
        return reference >= self.last and (reference >> 16) - (self.last >> 16) <= near;
    }

    /// Puts the small files behind `last` into the cache, as far as the kernel knows them: it does
    /// when their directory has been listed. Returns the last one.
    pub fn advance(
        self: *const SmallFileStream,
        reader: *squashfs.Reader,
        channel: *const Channel,
        decoder: Decoder,
    ) !Reference {
        var reference = self.last;
        var file = try squashfs.inode.read(reader, decoder, reference);
        var position: squashfs.data.Position = .{};
        for (0..self.window) |_| {
            reference = try squashfs.inode.behind(reader, decoder, &file) orelse break;
            file = try squashfs.inode.read(reader, decoder, reference);
            if (file.kind != .file or file.size == 0 or file.size > small_max) continue;
            const extent = try squashfs.data.extent(
                reader,
                decoder,
                reference,
                &file,
                0,
                &position,
            );
            const stored = extent.stored orelse continue;
            if (extent.len < file.size) continue;
            // All of a fragment: the next files are in it, too.
            const slot = try reader.blocks.get(decoder, stored);
            defer reader.blocks.release(slot);
            if (slot.len < extent.start + extent.len) return error.Corrupt;
            if (!channel.store(
                node_id.of(reference),
                0,
                slot.data()[extent.start..][0..extent.len],
            )) break;
        }
        return reference;
    }
};

/// As much as one request asks for.
pub const small_max = @import("../channel.zig").read_max;

pub const SmallFileStreams = struct {
    all: [4]SmallFileStream = @splat(.{}),
    next: usize = 0,

    /// A small file has been read that nobody had put into the cache. The stream that is to go on,
    /// if one is.
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
