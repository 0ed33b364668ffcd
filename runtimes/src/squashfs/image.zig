//! The bytes of the payload inside the executable. Read, not mapped: a mapping would count every
//! page touched as the stub's own memory, and turn a read error into a SIGBUS.
//!
//! With a hash tree, nothing is returned that was not compared with it after it was read: whoever
//! decodes sees only what the root vouches for.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const hash_tree = @import("hash_tree.zig");

/// Bytes that were read with what is around them in the tree's blocks.
pub const Around = struct {
    /// From the start of a block, if there is a tree, to the end of one, or of the image.
    all: []u8,
    /// Where that is in the image.
    at: u64,
    /// How much of it is in front of what was asked for, which has `len` bytes, or fewer.
    before: usize,
    len: usize,
    /// Bytes of `all`.
    checked: usize = 0,

    pub fn bytes(self: *const Around) []u8 {
        const from = @min(self.before, self.all.len);
        return self.all[from..@min(self.before + self.len, self.all.len)];
    }
};

pub const Image = struct {
    /// What `readAround` may read more than it is asked for.
    pub const margin = 2 * size;

    fd: sys.fd_t,
    /// Where the payload starts in the file, and its length.
    start: u64,
    len: u64,
    tree: ?*hash_tree.HashTree = null,

    /// As much of `buf` as the image has at `at`.
    pub fn read(self: *const Image, buf: []u8, at: u64) sys.Error![]u8 {
        const got = try self.readUnchecked(buf, at);
        try self.check(got, at);
        return got;
    }

    /// As much as there is of `len` bytes, of which only the start is checked and returned: as many
    /// bytes as `needed` says when it has seen the unchecked ones. `buf` has `margin` bytes more.
    pub fn readStart(
        self: *const Image,
        buf: []u8,
        at: u64,
        len: usize,
        comptime needed: fn ([]const u8) usize,
    ) sys.Error![]u8 {
        var around = try self.readAround(buf, at, len);
        const got = around.bytes();
        if (self.tree == null) return got;
        const start = got[0..@min(needed(got), got.len)];
        try self.checkUpTo(&around, start.len);
        return start;
    }

    /// For who has every byte checked before it is used, by `checkUpTo`. `buf` has `margin` bytes
    /// more than `len`.
    pub fn readAround(self: *const Image, buf: []u8, at: u64, len: usize) sys.Error!Around {
        // The blocks of the tree start and end elsewhere.
        const before: usize = if (self.tree == null) 0 else @intCast(at % size);
        const end = if (self.tree == null) len else std.mem.alignForward(usize, before + len, size);
        const all = try self.readUnchecked(buf[0..end], at - before);
        return .{ .all = all, .at = at - before, .before = before, .len = len };
    }

    /// Compares the first `count` bytes with the tree, if there is one, or what is left of them.
    /// Of what is behind them, as much as takes no longer: nobody is told if that is wrong.
    pub fn checkUpTo(self: *const Image, around: *Around, count: usize) sys.Error!void {
        const tree = self.tree orelse return;
        const blocks = std.mem.alignForward(usize, around.before + count, size);
        const end = @min(blocks, around.all.len);
        if (count == 0 or end <= around.checked) return;
        const needed = end - around.checked;
        const rest = around.all[around.checked..];
        const at_once = size * hash_tree.blocksAtOnce(rest.len / size);
        const some = rest[0..@min(std.mem.alignForward(usize, needed, at_once), rest.len)];
        around.checked += try self.compare(tree, some, around.at + around.checked, needed);
    }

    fn readUnchecked(self: *const Image, buf: []u8, at: u64) sys.Error![]u8 {
        if (at >= self.len) return buf[0..0];
        const want: usize = @intCast(@min(buf.len, self.len - at));
        return buf[0..try sys.preadAll(self.fd, buf[0..want], self.start + at)];
    }

    /// Compares bytes that were read at `at` with the tree, if there is one. Its blocks start and
    /// end elsewhere: what is around these bytes is read, too.
    fn check(self: *const Image, bytes: []const u8, at: u64) sys.Error!void {
        _ = try self.compare(self.tree orelse return, bytes, at, bytes.len);
    }

    /// Returns how many bytes are right, if at least the first `needed` are; that may be in the
    /// middle only where the bytes begin with a block.
    noinline fn compare(
        self: *const Image,
        tree: *hash_tree.HashTree,
        bytes: []const u8,
        at: u64,
        needed: usize,
    ) sys.Error!usize {
        if (bytes.len == 0) return 0;
        var ends: [2][size]u8 = undefined;
        const before: usize = @intCast(at % size);
        const after: usize = @intCast(-%(at + bytes.len) % size);
        const count = (before + bytes.len + after) / size;
        const first = at / size;
        if (before > 0 or (count == 1 and after > 0)) {
            const inside = @min(bytes.len, size - before);
            try self.fill(ends[0][0..before], at - before);
            @memcpy(ends[0][before..][0..inside], bytes[0..inside]);
            try self.fill(ends[0][before + inside ..], at + inside);
        }
        if (count > 1 and after > 0) {
            const inside = size - after;
            @memcpy(ends[1][0..inside], bytes[bytes.len - inside ..]);
            try self.fill(ends[1][inside..], at + bytes.len);
        }
        var blocks: [hash_tree.blocks_max]hash_tree.Block = undefined;
        var held: usize = 0;
        for (0..count) |i| {
            blocks[held] = if (i == 0 and (before > 0 or bytes.len < size))
                &ends[0]
            else if (i == count - 1 and after > 0)
                &ends[1]
            else
                bytes[i * size - before ..][0..size];
            held += 1;
            if (held < blocks.len and i + 1 < count) continue;
            const done = i + 1 - held;
            const most = std.mem.alignForward(usize, before + needed, size) / size;
            const right = try tree.check(first + done, blocks[0..held], most -| done);
            if (right < held) return (done + right) * size;
            held = 0;
        }
        return bytes.len;
    }

    fn fill(self: *const Image, part: []u8, at: u64) sys.Error!void {
        if (part.len == 0) return;
        if (try sys.preadAll(self.fd, part, self.start + at) != part.len) return error.IO;
    }
};

const size = hash_tree.block_size;

test "of any range, every byte is checked" {
    const blocks = 5;
    // The payload ends in the middle of its last block.
    const len = blocks * size - 1000;
    const fd: sys.fd_t = @intCast(try sys.call(.memfd_create, .{ "payload", 0 }));
    defer sys.close(fd);
    var tree = try hash_tree.example(fd, blocks);
    tree.said.raw = true;
    const image: Image = .{ .fd = fd, .start = 0, .len = len, .tree = &tree };
    const places = [_]usize{ 0, 1, 4095, 4096, 4097, 8191, 8192, 12288, 16385, len - 1 };
    var buf: [blocks * size + Image.margin]u8 = undefined;
    for (places) |from| for (places) |to| if (from < to) {
        const got = try image.read(buf[0 .. to - from], from);
        try std.testing.expectEqual(to - from, got.len);
        for (0..blocks) |block| {
            const byte: [1]u8 = .{@truncate(block)};
            const changed: [1]u8 = .{byte[0] ^ 0x80};
            const at = block * size + 77;
            try sys.do(.pwrite64, .{ fd, &changed, 1, at });
            const met = block >= from / size and block <= (to - 1) / size;
            const read = image.read(buf[0 .. to - from], from);
            if (met)
                try std.testing.expectError(error.IO, read)
            else
                try std.testing.expectEqual(to - from, (try read).len);
            var around = try image.readAround(&buf, from, to - from);
            try std.testing.expectEqual(to - from, around.bytes().len);
            try std.testing.expectEqual(from / size, around.bytes()[0]);
            const start = image.checkUpTo(&around, 1);
            if (block == from / size) try std.testing.expectError(error.IO, start) else try start;
            const all = image.checkUpTo(&around, to - from);
            if (met) try std.testing.expectError(error.IO, all) else try all;
            try sys.do(.pwrite64, .{ fd, &byte, 1, at });
        }
    };
    try std.testing.expectEqual(len - 5, (try image.read(buf[0..len], 5)).len);
    try std.testing.expectEqual(0, (try image.read(&buf, len)).len);
    for ([_]u64{ len, len + 5, len + size, 1 << 60 }) |at| {
        const around = try image.readAround(&buf, at, 10);
        try std.testing.expectEqual(0, around.bytes().len);
    }
    const last = try image.readAround(&buf, len - 5, 10);
    try std.testing.expectEqual(5, last.bytes().len);
}
