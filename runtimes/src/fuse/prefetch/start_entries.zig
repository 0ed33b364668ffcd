//! The start list as the payload holds it (docs/format.md): a section for each program, and in it
//! entries, one for each use.
const std = @import("std");
const sys = @import("../../base/syscalls.zig");
const bytes = @import("../../base/bytes.zig");
const squashfs = struct {
    const extents = @import("../../squashfs/extents.zig");
    const inode = @import("../../squashfs/inode.zig");
    const path = @import("../../squashfs/path.zig");
    const Reader = @import("../../squashfs/reader.zig").Reader;
    const Slot = @import("../../squashfs/blocks.zig").Slot;
};
const Decoder = @import("../../base/zstd.zig").Decoder;

const name = "start-list";
const magic = "dcstart1";
/// Bytes of the file.
pub const size_max = 4 << 20;
/// Sections that are searched for the program's.
const sections_max = 1024;
pub const page_log = 12;

pub const Use = enum(u16) { name, none, list, read };

pub const Entry = struct {
    use: Use,
    path: []const u8,
    /// Of the inode.
    number: u32,
    /// First page and number of pages of each.
    ranges: []const u8,

    const head_len = 12;
    const range_len = 8;

    pub fn next(rest: *[]const u8) ?Entry {
        const all = rest.*;
        if (all.len < head_len) return null;
        const use = bytes.u16At(all, 0);
        const path_len: usize = bytes.u16At(all, 2);
        const ranges_len = @as(usize, bytes.u16At(all, 4)) * range_len;
        const end = head_len + path_len + ranges_len;
        if (all.len < end or use > @backingInt(Use.read)) return null;
        rest.* = all[end..];
        return .{
            .use = @fromBackingInt(@intCast(use)),
            .number = bytes.u32At(all, 8),
            .path = all[head_len..][0..path_len],
            .ranges = all[head_len + path_len .. end],
        };
    }
};

/// The entries of the program with this inode; null where the payload has none.
pub fn section(reader: *squashfs.Reader, decoder: Decoder, program: u32) !?[]const u8 {
    const file = try squashfs.path.lookup(reader, decoder, name) orelse return null;
    if (file.kind != .file or file.size > size_max) return error.Corrupt;
    const all = try sys.anonymous(@intCast(file.size));
    if (try squashfs.extents.read(reader, decoder, &file, 0, all) != all.len or
        !std.mem.startsWith(u8, all, magic)) return error.Corrupt;
    var rest: []const u8 = all[magic.len..];
    for (0..sections_max) |_| {
        if (rest.len < 12) return null;
        const len = bytes.u32At(rest, 8);
        if (len > rest.len - 12) return error.Corrupt;
        if (bytes.u32At(rest, 0) == program) return rest[12..][0..len];
        rest = rest[12 + len ..];
    }
    return null;
}

/// The extents of an entry's ranges.
pub const Parts = struct {
    reader: *squashfs.Reader,
    decoder: Decoder,
    file: squashfs.inode.Inode,
    list: squashfs.extents.BlockList = .{},
    ranges: []const u8,
    extents: squashfs.extents.Extents = undefined,
    in_range: bool = false,
    /// The block of the last extent, and where it is stored.
    slot: ?*squashfs.Slot = null,
    block: u64 = 0,

    pub fn init(reader: *squashfs.Reader, decoder: Decoder, entry: *const Entry) !?Parts {
        const reference = try reader.numbered(decoder, entry.number);
        const file = try squashfs.inode.read(reader, decoder, reference);
        if (file.kind != .file) return null;
        return .{
            .reader = reader,
            .decoder = decoder,
            .file = file,
            .ranges = entry.ranges,
        };
    }

    pub fn next(self: *Parts) !?squashfs.extents.Extent {
        while (true) {
            if (self.in_range) if (try self.extents.next()) |extent| return extent;
            const range = rangeOf(&self.ranges) orelse return null;
            self.extents = .init(
                self.reader,
                self.decoder,
                &self.file,
                range.from,
                range.to,
                &self.list,
            );
            self.in_range = true;
        }
    }

    /// Decodes the whole block: the kernel reads ahead, beyond the pages that are in the list.
    pub fn content(self: *Parts, extent: *const squashfs.extents.Extent) ![]const u8 {
        const stored = extent.stored.?;
        const blocks = &self.reader.blocks;
        if (self.slot == null or self.block != stored.at) {
            self.deinit();
            self.slot = try blocks.get(self.decoder, stored);
            self.block = stored.at;
        }
        return extent.of(self.slot.?);
    }

    pub fn deinit(self: *Parts) void {
        const slot = self.slot orelse return;
        self.slot = null;
        self.reader.blocks.release(slot);
    }
};

pub fn rangeOf(rest: *[]const u8) ?struct { from: u64, to: u64 } {
    const all = rest.*;
    if (all.len < Entry.range_len) return null;
    rest.* = all[Entry.range_len..];
    const first: u64 = bytes.u32At(all, 0);
    return .{ .from = first << page_log, .to = first + bytes.u32At(all, 4) << page_log };
}
