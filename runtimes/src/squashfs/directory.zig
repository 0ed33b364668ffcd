//! Directory listings: runs of entries, each run with a header that names the inode block and
//! number its entries count from. Names are sorted; large directories have an index of runs.
const std = @import("std");
const bytes = @import("../base/bytes.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
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

const header_len = 12;
const fixed_len = 8;

/// How far a listing has been walked.
pub const Mark = struct {
    /// Bytes of the listing before the next entry.
    position: u64 = 0,
    run_left: u32 = 0,
    run_block: u32 = 0,
    run_number: u32 = 0,
};

/// What may stand in a listing. Others would lead elsewhere, or to the directory itself for ever.
fn isName(name: []const u8) bool {
    return std.mem.findAny(u8, name, "/\x00") == null and
        !std.mem.eql(u8, name, ".") and !std.mem.eql(u8, name, "..");
}

/// Walks a listing. Reads ahead by a bufferful, for a metadata block is found, locked and copied
/// from at the same cost for one byte as for many.
pub const Iterator = struct {
    mark: Mark = .{},
    len: u64,
    /// Behind what is in the buffer.
    cursor: metadata.Cursor,
    buffer: [1024]u8 = undefined,
    start: usize = 0,
    end: usize = 0,

    pub fn init(reader: *const Reader, dir: *const Inode) error{Corrupt}!Iterator {
        if (dir.kind != .directory) return error.Corrupt;
        const body = dir.body.directory;
        return .{
            .cursor = .{
                .block = reader.superblock.directory_table + body.block,
                .offset = body.offset,
            },
            .len = dir.size -| 3,
        };
    }

    /// The next entry; its name lies in `name`.
    pub fn next(
        self: *Iterator,
        reader: *const Reader,
        decoder: Decoder,
        name: *[name_max]u8,
    ) metadata.Error!?Entry {
        const mark = &self.mark;
        try self.fill(reader, decoder, header_len + fixed_len + name_max);
        if (mark.run_left == 0) {
            if (self.len - mark.position < header_len) return null;
            const header = try self.take(header_len);
            mark.run_left = bytes.u32At(header, 0) +| 1;
            if (mark.run_left > run_max) return error.Corrupt;
            mark.run_block = bytes.u32At(header, 4);
            mark.run_number = bytes.u32At(header, 8);
        }
        const fixed = try self.take(fixed_len);
        const name_len = @as(usize, bytes.u16At(fixed, 6)) + 1;
        if (name_len > name_max) return error.Corrupt;
        @memcpy(name[0..name_len], try self.take(name_len));
        if (!isName(name[0..name_len])) return error.Corrupt;
        mark.run_left -= 1;
        const delta: i16 = @bitCast(bytes.u16At(fixed, 2));
        return .{
            .reference = @as(u64, mark.run_block) << 16 | bytes.u16At(fixed, 0),
            .number = mark.run_number +% @as(u32, @bitCast(@as(i32, delta))),
            .kind = bytes.u16At(fixed, 4),
            .name = name[0..name_len],
        };
    }

    /// Back to where the last call of `next` began.
    pub fn undo(self: *Iterator, mark: Mark) void {
        self.start -= @intCast(self.mark.position - mark.position);
        self.mark = mark;
    }

    /// Has `count` bytes in the buffer, or all that there are.
    fn fill(
        self: *Iterator,
        reader: *const Reader,
        decoder: Decoder,
        count: usize,
    ) metadata.Error!void {
        const want: usize = @intCast(@min(count, self.len - self.mark.position));
        if (self.end - self.start >= want) return;
        std.mem.copyForwards(u8, &self.buffer, self.buffer[self.start..self.end]);
        self.end -= self.start;
        self.start = 0;
        while (self.end < want) {
            // What follows the listing may be the end of the table.
            const room: usize = @intCast(@min(self.buffer.len, self.len - self.mark.position));
            self.end += (try reader.metadata.readSome(
                decoder,
                &self.cursor,
                self.buffer[self.end..room],
            )).len;
        }
    }

    fn take(self: *Iterator, count: usize) error{Corrupt}![]const u8 {
        if (self.end - self.start < count) return error.Corrupt;
        defer self.start += count;
        self.mark.position += count;
        return self.buffer[self.start..][0..count];
    }

    /// Jumps to the last run of the index that starts at or before `name`.
    fn seek(
        self: *Iterator,
        reader: *const Reader,
        decoder: Decoder,
        dir: *const Inode,
        name: []const u8,
    ) metadata.Error!void {
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
            self.mark.position = position;
            self.cursor = .{
                .block = reader.superblock.directory_table + bytes.u32At(&fixed, 4),
                // A run starts where the listing, counted from its own start in its first
                // block, has got to.
                .offset = @intCast((start.offset + @as(u64, position)) % metadata.block_size),
            };
        }
    }
};

pub fn lookup(
    reader: *const Reader,
    decoder: Decoder,
    dir: *const Inode,
    name: []const u8,
) metadata.Error!?Entry {
    var it = try Iterator.init(reader, dir);
    if (dir.body.directory.index_count > 0) try it.seek(reader, decoder, dir, name);
    var buf: [name_max]u8 = undefined;
    while (try it.next(reader, decoder, &buf)) |entry| {
        switch (std.mem.order(u8, entry.name, name)) {
            .lt => {},
            // The name is the caller's own, which outlives this frame.
            .eq => return .{
                .reference = entry.reference,
                .number = entry.number,
                .kind = entry.kind,
                .name = name,
            },
            .gt => return null,
        }
    }
    return null;
}
