//! Extended attributes: an inode names an entry of a table, which names a run of (key, value)
//! pairs; keys carry their namespace as a number, values may stand elsewhere.
const std = @import("std");
const bytes = @import("../base/bytes.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const inode = @import("inode.zig");
const metadata = @import("metadata.zig");
const Reader = @import("reader.zig").Reader;
const Superblock = @import("superblock.zig").Superblock;

/// The kernel's own bounds (XATTR_NAME_MAX, XATTR_SIZE_MAX).
pub const name_max = 255;
pub const value_max = 65536;

const namespaces = [_][]const u8{ "user.", "trusted.", "security." };
const out_of_line = 0x100;
const entries_per_block = metadata.block_size / 16;

/// What an overlay keeps about its own layers must not be believed of an image.
const hidden = [_][]const u8{ "user.overlay.", "trusted.overlay." };

pub const Attribute = struct {
    name: []const u8,
    value: metadata.Cursor,
    out_of_line: bool,
};

pub const Iterator = struct {
    cursor: metadata.Cursor,
    start: u64,
    left: u32,
    name: [name_max + 16]u8 = undefined,

    pub fn init(reader: *const Reader, decoder: Decoder, index: u32) metadata.Error!Iterator {
        const table = reader.superblock.xattr_table;
        if (index == inode.none or table == Superblock.absent)
            return .{ .cursor = undefined, .start = 0, .left = 0 };
        var buf: [16]u8 = undefined;
        const head = try reader.image.read(&buf, table);
        if (head.len != buf.len or index >= bytes.u32At(head, 8)) return error.Corrupt;
        const start = bytes.u64At(head, 0);
        if (start >= reader.superblock.bytes_used) return error.Corrupt;
        var cursor = try reader.tableEntry(table + 16, index, entries_per_block, 16);
        try reader.metadata.read(decoder, &cursor, &buf);
        return .{ .cursor = try at(start, bytes.u64At(
            &buf,
            0,
        )), .start = start, .left = bytes.u32At(&buf, 8) };
    }

    fn at(start: u64, reference: u64) error{Corrupt}!metadata.Cursor {
        if (reference >> 16 >= 1 << 47) return error.Corrupt;
        return .{ .block = start + (reference >> 16), .offset = @intCast(reference & 0xffff) };
    }

    /// The next attribute that is to be seen; its name is good until the next call.
    pub fn next(
        self: *Iterator,
        reader: *const Reader,
        decoder: Decoder,
    ) metadata.Error!?Attribute {
        while (self.left > 0) {
            self.left -= 1;
            var buf: [4]u8 = undefined;
            try reader.metadata.read(decoder, &self.cursor, &buf);
            const kind = bytes.u16At(&buf, 0);
            const suffix_len = bytes.u16At(&buf, 2);
            if (kind & 0xff >= namespaces.len or suffix_len > name_max) return error.Corrupt;
            const prefix = namespaces[kind & 0xff];
            @memcpy(self.name[0..prefix.len], prefix);
            try reader.metadata.read(decoder, &self.cursor, self.name[prefix.len..][0..suffix_len]);
            const found: Attribute = .{
                .name = self.name[0 .. prefix.len + suffix_len],
                .value = self.cursor,
                .out_of_line = kind & out_of_line != 0,
            };
            try reader.metadata.read(decoder, &self.cursor, &buf);
            const stored_len = bytes.u32At(&buf, 0);
            if (stored_len > value_max) return error.Corrupt;
            try reader.metadata.skip(decoder, &self.cursor, stored_len);
            if (!isHidden(found.name)) return found;
        }
        return null;
    }

    /// The value into `buf`; only its length when `buf` is empty.
    pub fn value(
        self: *const Iterator,
        reader: *const Reader,
        decoder: Decoder,
        attribute: Attribute,
        buf: []u8,
    ) (metadata.Error || error{RANGE})!usize {
        var cursor = attribute.value;
        var fixed: [8]u8 = undefined;
        try reader.metadata.read(decoder, &cursor, fixed[0..4]);
        if (attribute.out_of_line) {
            if (bytes.u32At(&fixed, 0) != fixed.len) return error.Corrupt;
            try reader.metadata.read(decoder, &cursor, &fixed);
            cursor = try at(self.start, bytes.u64At(&fixed, 0));
            try reader.metadata.read(decoder, &cursor, fixed[0..4]);
        }
        const len = bytes.u32At(&fixed, 0);
        if (len > value_max) return error.Corrupt;
        if (buf.len == 0) return len;
        if (len > buf.len) return error.RANGE;
        try reader.metadata.read(decoder, &cursor, buf[0..len]);
        return len;
    }
};

fn isHidden(name: []const u8) bool {
    for (hidden) |prefix| if (std.mem.startsWith(u8, name, prefix)) return true;
    return false;
}
