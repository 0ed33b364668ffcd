//! The end of an executable says where its payload starts. There are two formats: 16 bytes (u64
//! little-endian offset, flags with bit 0 `require_mapped_uids`, padding), and the older one of 8
//! bytes (u64 big-endian offset). The right one is that whose offset leads to a superblock.
const std = @import("std");
const Superblock = @import("../squashfs/superblock.zig").Superblock;

pub const Payload = struct {
    /// Of the file that it is in.
    file_size: u64,
    offset: u64,
    require_mapped_uids: bool,
    superblock: Superblock,
};

/// `file` has `size` bytes and is read by its `readAt(buffer, offset) !usize`. With
/// error.Compressor, `compressor` is the name of the one that is not supported.
pub fn find(file: anytype, size: u64, compressor: *[]const u8) !Payload {
    var tail: [16]u8 = undefined;
    if (size < tail.len + Superblock.length) return error.NoPayload;
    if (try file.readAt(&tail, size - tail.len) != tail.len) return error.NoPayload;

    const second = std.mem.readInt(u64, tail[0..8], .little);
    const found = superblockAt(file, second, size - 16, compressor);
    if (found catch null) |superblock| return .{
        .file_size = size,
        .offset = second,
        .require_mapped_uids = tail[8] & 1 == 1,
        .superblock = superblock,
    };
    // The offset of one format may lead to bytes of the other's payload.
    const first = std.mem.readInt(u64, tail[8..16], .big);
    if (try superblockAt(file, first, size - 8, compressor)) |superblock| return .{
        .file_size = size,
        .offset = first,
        .require_mapped_uids = false,
        .superblock = superblock,
    };
    _ = try found;
    return error.NoPayload;
}

/// Null if there is no squashfs at the offset; an error if it cannot be read.
fn superblockAt(file: anytype, offset: u64, end: u64, compressor: *[]const u8) !?Superblock {
    if (offset > end or end - offset < Superblock.length) return null;
    var bytes: [Superblock.length]u8 = undefined;
    if (try file.readAt(&bytes, offset) != bytes.len) return null;
    if (!Superblock.hasMagic(&bytes)) return null;
    const superblock = Superblock.parse(&bytes) catch |err| {
        if (err == error.Compressor) compressor.* = Superblock.compressorName(&bytes);
        return err;
    };
    if (superblock.bytes_used > end - offset) return error.Truncated;
    return superblock;
}

pub const Memory = struct {
    bytes: []const u8,

    pub fn readAt(self: Memory, buf: []u8, offset: u64) error{}!usize {
        if (offset >= self.bytes.len) return 0;
        const n = @min(buf.len, self.bytes.len - offset);
        @memcpy(buf[0..n], self.bytes[@intCast(offset)..][0..n]);
        return n;
    }
};

test "both generations are found by evidence" {
    var compressor: []const u8 = "";
    var file: [4096 + 96 + 16]u8 = @splat(0);
    @memcpy(file[4096..][0..96], &Superblock.example);
    std.mem.writeInt(u64, file[4192..][0..8], 4096, .little);
    file[4200] = 1;
    @memset(file[4201..], 0xaa);
    const new = try find(Memory{ .bytes = &file }, file.len, &compressor);
    try std.testing.expectEqual(4096, new.offset);
    try std.testing.expect(new.require_mapped_uids);

    std.mem.writeInt(u64, file[4192..][0..8], 0xffff_ffff_ffff, .little);
    std.mem.writeInt(u64, file[4200..][0..8], 4096, .big);
    const old = try find(Memory{ .bytes = &file }, file.len, &compressor);
    try std.testing.expectEqual(4096, old.offset);
    try std.testing.expect(!old.require_mapped_uids);
}

test "no payload, and a truncated one" {
    var compressor: []const u8 = "";
    var file: [512]u8 = @splat(0);
    try std.testing.expectError(
        error.NoPayload,
        find(Memory{ .bytes = &file }, file.len, &compressor),
    );
    try std.testing.expectError(
        error.NoPayload,
        find(Memory{ .bytes = file[0..20] }, 20, &compressor),
    );
    @memcpy(file[64..][0..96], &Superblock.example);
    std.mem.writeInt(u64, file[64 + 40 ..][0..8], 10_000, .little);
    std.mem.writeInt(u64, file[496..][0..8], 64, .little);
    try std.testing.expectError(
        error.Truncated,
        find(Memory{ .bytes = &file }, file.len, &compressor),
    );
}
