//! A small image is read whole, and then again with random changes: the reader may fail, but never
//! crash, hang or read out of bounds.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const directory = @import("directory.zig");
const extents = @import("extents.zig");
const inode = @import("inode.zig");
const path = @import("path.zig");
const xattr = @import("xattr.zig");
const fuzzing = @import("../base/fuzzing.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const Image = @import("image.zig").Image;
const Reader = @import("reader.zig").Reader;
const Superblock = @import("superblock.zig").Superblock;

pub const block_size = 4096;

/// Nothing is compressed, so that changes reach the parsers and not only the decoder.
const Builder = struct {
    bytes: std.ArrayList(u8),

    fn int(self: *Builder, comptime T: type, value: T) void {
        var buf: [@sizeOf(T)]u8 = undefined;
        std.mem.writeInt(T, &buf, value, .little);
        self.bytes.appendSliceAssumeCapacity(&buf);
    }

    fn head(self: *Builder, kind: u16, number: u32) void {
        for ([_]u16{ kind, 0o755, 0, 0 }) |value| self.int(u16, value);
        for ([_]u32{ 1, number }) |value| self.int(u32, value);
    }

    /// Starts a metadata block; `end` writes its size.
    fn begin(self: *Builder) usize {
        self.int(u16, 0);
        return self.bytes.items.len;
    }

    fn end(self: *Builder, start: usize) void {
        const size: u16 = @intCast(self.bytes.items.len - start);
        std.mem.writeInt(u16, self.bytes.items[start - 2 ..][0..2], size | 0x8000, .little);
    }

    fn entry(self: *Builder, offset: usize, delta: u16, kind: u16, name: []const u8) void {
        for ([_]u16{ @intCast(offset), delta, kind, @intCast(name.len - 1) }) |value|
            self.int(u16, value);
        self.bytes.appendSliceAssumeCapacity(name);
    }

    fn at(self: *const Builder) u64 {
        return self.bytes.items.len;
    }
};

/// Where inodes stand in their block.
const Places = struct { file: u64, link: u64, empty: u64, device: u64, root: u64 };

fn addInodes(b: *Builder, block: u64) Places {
    const start = b.begin();
    const file = b.at() - start;
    b.head(9, 2);
    for ([_]u64{ block, 2 * block_size + 8, 0 }) |value| b.int(u64, value);
    for ([_]u32{ 1, 0, 0, 0, 0, block_size | 1 << 24 }) |value| b.int(u32, value);
    const link = b.at() - start;
    b.head(3, 3);
    for ([_]u32{ 1, 4 }) |value| b.int(u32, value);
    b.bytes.appendSliceAssumeCapacity("file");
    const empty = b.at() - start;
    b.head(1, 4);
    for ([_]u32{ 0, 2 }) |value| b.int(u32, value);
    for ([_]u16{ 3, 0 }) |value| b.int(u16, value);
    b.int(u32, 1);
    const device = b.at() - start;
    b.head(5, 5);
    for ([_]u32{ 1, 0x103 }) |value| b.int(u32, value);
    const root = b.at() - start;
    b.head(8, 1);
    const listing = 12 + 4 * 8 + "devdirfilelink".len;
    for ([_]u32{ 2, listing + 3, 0, 5 }) |value| b.int(u32, value);
    for ([_]u16{ 1, 0 }) |value| b.int(u16, value);
    b.int(u32, 0xffff_ffff);
    for ([_]u32{ 0, 0, 2 }) |value| b.int(u32, value);
    b.bytes.appendSliceAssumeCapacity("dev");
    b.end(start);
    return .{ .file = file, .link = link, .empty = empty, .device = device, .root = root };
}

/// The place of their table.
fn addAttributes(b: *Builder) u64 {
    const pairs = b.at();
    var start = b.begin();
    for ([_]u16{ 0, 1 }) |value| b.int(u16, value);
    b.bytes.appendSliceAssumeCapacity("k");
    b.int(u32, 5);
    b.bytes.appendSliceAssumeCapacity("value");
    b.end(start);
    const attributes = b.at();
    start = b.begin();
    b.int(u64, 0);
    for ([_]u32{ 1, 6 }) |value| b.int(u32, value);
    b.end(start);
    const xattr_table = b.at();
    b.int(u64, pairs);
    for ([_]u32{ 1, 0 }) |value| b.int(u32, value);
    b.int(u64, attributes);
    return xattr_table;
}

/// A root with a file of a hole, a block and a fragment, a link, a device, an empty directory and
/// an attribute.
pub fn example(buf: []u8) []u8 {
    var b: Builder = .{ .bytes = .initBuffer(buf) };
    b.bytes.appendSliceAssumeCapacity(&Superblock.example);
    const block = b.at();
    b.bytes.appendNTimesAssumeCapacity('b', block_size);
    const fragment = b.at();
    b.bytes.appendSliceAssumeCapacity("fragment");

    const inodes = b.at();
    const at = addInodes(&b, block);

    const directories = b.at();
    var start = b.begin();
    for ([_]u32{ 3, 0, 1 }) |value| b.int(u32, value);
    b.entry(at.device, 4, 5, "dev");
    b.entry(at.empty, 3, 1, "dir");
    b.entry(at.file, 1, 2, "file");
    b.entry(at.link, 2, 3, "link");
    b.end(start);

    const fragments = b.at();
    start = b.begin();
    b.int(u64, fragment);
    for ([_]u32{ 8 | 1 << 24, 0 }) |value| b.int(u32, value);
    b.end(start);
    const fragment_table = b.at();
    b.int(u64, fragments);

    const references = b.at();
    start = b.begin();
    for ([_]u64{ at.root, at.file, at.link, at.empty, at.device }) |value| b.int(u64, value);
    b.end(start);
    const export_table = b.at();
    b.int(u64, references);

    const ids = b.at();
    start = b.begin();
    b.int(u32, 7);
    b.end(start);
    const id_table = b.at();
    b.int(u64, ids);

    const xattr_table = addAttributes(&b);

    const out = b.bytes.items;
    std.mem.writeInt(u32, out[4..8], 5, .little);
    std.mem.writeInt(u32, out[12..16], block_size, .little);
    std.mem.writeInt(u32, out[16..20], 1, .little);
    std.mem.writeInt(u16, out[22..24], 12, .little);
    for ([_]u64{
        at.root,      out.len, id_table, xattr_table, inodes, directories, fragment_table,
        export_table,
    }, 4..) |value, i|
        std.mem.writeInt(u64, out[i * 8 ..][0..8], value, .little);
    return out;
}

/// Changes a few bytes of `example`'s image, but not of the block's own content.
pub fn damage(image: []u8, random: std.Random) void {
    for (0..random.uintLessThan(usize, 4) + 1) |_| {
        const at = random.uintLessThan(usize, image.len - block_size);
        const values = [_]u8{ 0, 1, 0x7f, 0x80, 0xff, random.int(u8) };
        image[if (at < Superblock.length) at else at + block_size] = values[
            random.uintLessThan(
                usize,
                values.len,
            )
        ];
    }
}

const Seen = struct {
    entries: usize = 0,
    bytes: u64 = 0,
    attributes: usize = 0,
    neighbours: usize = 0,
    numbered: usize = 0,
};

/// Reads everything; directories no deeper than in the valid image.
fn walk(
    reader: *Reader,
    decoder: Decoder,
    reference: inode.Reference,
    depth: usize,
    seen: *Seen,
) anyerror!void {
    const node = try inode.read(reader, decoder, reference);
    var attributes = try xattr.Iterator.init(reader, decoder, node.xattr);
    while (try attributes.next(reader, decoder)) |attribute| {
        var value: [64]u8 = undefined;
        _ = attributes.value(reader, decoder, attribute, &value) catch 0;
        seen.attributes += 1;
    }
    if (try inode.behind(reader, decoder, &node)) |next| {
        if ((try inode.read(reader, decoder, next)).number == node.number +% 1)
            seen.neighbours += 1;
    }
    if ((reader.numbered(decoder, node.number) catch 0) == reference) seen.numbered += 1;
    switch (node.kind) {
        .directory => {
            var it = try directory.Iterator.init(reader, &node);
            var name: [directory.name_max]u8 = undefined;
            while (try it.next(reader, decoder, &name)) |entry| {
                seen.entries += 1;
                _ = try directory.lookup(reader, decoder, &node, entry.name);
                if (depth > 0 and seen.entries < 100)
                    walk(reader, decoder, entry.reference, depth - 1, seen) catch {};
            }
        },
        .file => {
            var list: extents.BlockList = .{};
            var parts: extents.Extents =
                .init(reader, decoder, &node, 0, 100 * block_size, &list);
            while (try parts.next()) |extent| {
                if (extent.stored) |stored| {
                    const slot = try reader.blocks.get(decoder, stored);
                    defer reader.blocks.release(slot);
                    _ = try extent.of(slot);
                }
                seen.bytes += extent.len;
            }
        },
        .symlink => {
            var target: [std.posix.PATH_MAX]u8 = undefined;
            _ = try inode.readlink(reader, decoder, &node, &target);
        },
        else => {},
    }
}

/// An image in a file, opened.
const Opened = struct {
    image: Image,
    reader: Reader,
    decoder: Decoder,

    fn open(bytes: []const u8, fd: sys.fd_t) !*Opened {
        const superblock = try Superblock.parse(bytes[0..Superblock.length]);
        try sys.do(.pwrite64, .{ fd, bytes.ptr, bytes.len, 0 });
        const self = try std.heap.page_allocator.create(Opened);
        errdefer std.heap.page_allocator.destroy(self);
        const len = @min(bytes.len, superblock.bytes_used);
        self.image = .{ .fd = fd, .start = 0, .len = len };
        try self.reader.init(&self.image, superblock);
        errdefer self.release();
        self.decoder = try self.reader.newDecoder();
        return self;
    }

    fn release(self: *Opened) void {
        sys.release(std.mem.sliceAsBytes(self.reader.metadata.slots));
        sys.release(self.reader.blocks.memory);
        sys.release(std.mem.sliceAsBytes(self.reader.ids));
    }

    fn close(self: *Opened) void {
        sys.release(self.decoder.memory);
        self.release();
        std.heap.page_allocator.destroy(self);
    }
};

pub fn readWhole(bytes: []const u8, fd: sys.fd_t) !Seen {
    const opened = try Opened.open(bytes, fd);
    defer opened.close();
    const reader = &opened.reader;
    var seen: Seen = .{};
    try walk(reader, opened.decoder, reader.superblock.root_inode, 3, &seen);
    return seen;
}

test "any range of a file of a hole, a block and a fragment" {
    var buf: [16384]u8 = undefined;
    const fd: sys.fd_t = @intCast(try sys.call(.memfd_create, .{ "image", 0 }));
    defer sys.close(fd);
    const opened = try Opened.open(example(&buf), fd);
    defer opened.close();
    const reader = &opened.reader;
    const decoder = opened.decoder;
    const file = (try path.lookup(reader, decoder, "./file")).?;
    const zeros: [block_size]u8 = @splat(0);
    const whole = zeros ++ @as([block_size]u8, @splat('b')) ++ "fragment".*;
    const edges = [_]u64{
        0,                  1,                  block_size - 1, block_size,    block_size + 1,
        2 * block_size - 1, 2 * block_size,     whole.len - 1,  whole.len,     whole.len + 1,
        3 * block_size,     2 * block_size + 3, 1 << 55,        (1 << 64) - 1,
    };
    // One list for all, as a server's thread has: ranges before and behind the last one.
    var list: extents.BlockList = .{};
    for (edges) |from| for (edges) |to| {
        var parts: extents.Extents = .init(reader, decoder, &file, from, to, &list);
        var at = from;
        while (try parts.next()) |extent| {
            try std.testing.expectEqual(at, extent.offset);
            try std.testing.expectEqual(at < block_size, extent.stored == null);
            try std.testing.expectEqual(at >= 2 * block_size, extent.fragment != null);
            at += extent.len;
        }
        const end = @max(from, @min(to, whole.len));
        try std.testing.expectEqual(end, at);

        var out: [whole.len + 8]u8 = undefined;
        const want = out[0..@intCast(@min(out.len, to -| from))];
        const got = try extents.read(reader, decoder, &file, from, want);
        try std.testing.expectEqual(end - from, got);
        const expected = if (got > 0) whole[@intCast(from)..][0..got] else "";
        try std.testing.expectEqualSlices(u8, expected, out[0..got]);
    };
    const allocator = std.testing.allocator;
    const copy = try extents.readAlloc(reader, decoder, allocator, &file, whole.len);
    defer allocator.free(copy);
    try std.testing.expectEqualSlices(u8, &whole, copy);
    const refused = extents.readAlloc(reader, decoder, allocator, &file, whole.len - 1);
    try std.testing.expectError(error.TooLarge, refused);
}

test "an image, whole and damaged" {
    var buf: [16384]u8 = undefined;
    const whole = example(&buf);
    const fd: sys.fd_t = @intCast(try sys.call(.memfd_create, .{ "image", 0 }));
    defer sys.close(fd);
    const seen = try readWhole(whole, fd);
    try std.testing.expectEqual(Seen{ .entries = 4, .bytes = 2 * block_size +
        8, .attributes = 1, .neighbours = 3, .numbered = 5 }, seen);

    var prng = std.Random.DefaultPrng.init(fuzzing.seed());
    var damaged: [16384]u8 = undefined;
    for (0..fuzzing.rounds(20_000)) |_| {
        @memcpy(damaged[0..whole.len], whole);
        damage(damaged[0..whole.len], prng.random());
        _ = readWhole(damaged[0..whole.len], fd) catch {};
    }
}
