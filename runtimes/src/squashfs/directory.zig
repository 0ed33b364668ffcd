//! Directory listings: runs of entries, each run with a header that names the inode block and
//! number its entries count from. Names are sorted; large directories have an index of runs.
const std = @import("std");
const bytes = @import("../bytes.zig");
const Decoder = @import("../zstd.zig").Decoder;
const inode = @import("inode.zig");
const metadata = @import("metadata.zig");
const Reader = @import("reader.zig").Reader;
const Inode = inode.Inode;

pub const name_max = 256;
/// What a run may hold at most (the kernel's SQUASHFS_DIR_COUNT).
const run_max = 256;

pub const Entry = struct {
    reference: inode.Reference,
    number: u32,
    kind: u16,
    name: []const u8,
};

/// Walks a listing; copied, it is a place to come back to.
pub const Iterator = struct {
    cursor: metadata.Cursor,
    /// Bytes of the listing before the cursor, and in all.
    position: u64 = 0,
    len: u64,
    run_left: u32 = 0,
    run_block: u32 = 0,
    run_number: u32 = 0,

    pub fn init(reader: *const Reader, dir: *const Inode) error{Corrupt}!Iterator {
        if (dir.kind != .directory) return error.Corrupt;
        const body = dir.body.directory;
        return .{
            .cursor = .{ .block = reader.superblock.directory_table + body.block, .offset = body.offset },
            .len = dir.size -| 3,
        };
    }

    /// The next entry; its name lies in `name`.
    pub fn next(self: *Iterator, reader: *const Reader, decoder: Decoder, name: *[name_max]u8) metadata.Error!?Entry {
        if (self.run_left == 0) {
            var header: [12]u8 = undefined;
            if (self.len - self.position < header.len) return null;
            try self.take(reader, decoder, &header);
            self.run_left = bytes.u32At(&header, 0) +| 1;
            if (self.run_left > run_max) return error.Corrupt;
            self.run_block = bytes.u32At(&header, 4);
            self.run_number = bytes.u32At(&header, 8);
        }
        var fixed: [8]u8 = undefined;
        try self.take(reader, decoder, &fixed);
        const name_len = @as(usize, bytes.u16At(&fixed, 6)) + 1;
        if (name_len > name_max) return error.Corrupt;
        try self.take(reader, decoder, name[0..name_len]);
        self.run_left -= 1;
        const delta: i16 = @bitCast(bytes.u16At(&fixed, 2));
        return .{
            .reference = @as(u64, self.run_block) << 16 | bytes.u16At(&fixed, 0),
            .number = self.run_number +% @as(u32, @bitCast(@as(i32, delta))),
            .kind = bytes.u16At(&fixed, 4),
            .name = name[0..name_len],
        };
    }

    fn take(self: *Iterator, reader: *const Reader, decoder: Decoder, out: []u8) metadata.Error!void {
        if (self.len - self.position < out.len) return error.Corrupt;
        try reader.metadata.read(decoder, &self.cursor, out);
        self.position += out.len;
    }

    /// Jumps to the last run of the index that starts at or before `name`.
    fn seek(self: *Iterator, reader: *const Reader, decoder: Decoder, dir: *const Inode, name: []const u8) metadata.Error!void {
        const start = self.cursor;
        var cursor = dir.body.directory.index;
        for (0..dir.body.directory.index_count) |_| {
            var fixed: [12]u8 = undefined;
            var first: [name_max]u8 = undefined;
            try reader.metadata.read(decoder, &cursor, &fixed);
            const first_len = @as(usize, bytes.u32At(&fixed, 8)) +| 1;
            if (first_len > name_max) return error.Corrupt;
            try reader.metadata.read(decoder, &cursor, first[0..first_len]);
            if (std.mem.order(u8, first[0..first_len], name) == .gt) return;
            const position = bytes.u32At(&fixed, 0);
            if (position > self.len) return error.Corrupt;
            self.position = position;
            self.cursor = .{
                .block = reader.superblock.directory_table + bytes.u32At(&fixed, 4),
                // A run starts where the listing, counted from its own start in its first
                // block, has got to.
                .offset = @intCast((start.offset + @as(u64, position)) % metadata.block_size),
            };
        }
    }
};

pub fn lookup(reader: *const Reader, decoder: Decoder, dir: *const Inode, name: []const u8) metadata.Error!?Entry {
    var it = try Iterator.init(reader, dir);
    if (dir.body.directory.index_count > 0) try it.seek(reader, decoder, dir, name);
    var buf: [name_max]u8 = undefined;
    while (try it.next(reader, decoder, &buf)) |entry| {
        switch (std.mem.order(u8, entry.name, name)) {
            .lt => {},
            // The name is the caller's own, which outlives this frame.
            .eq => return .{ .reference = entry.reference, .number = entry.number, .kind = entry.kind, .name = name },
            .gt => return null,
        }
    }
    return null;
}
