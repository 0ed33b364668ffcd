//! The squashfs 4.0 superblock: 96 bytes, little-endian
//! (the kernel's Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h).
const std = @import("std");

const u32At = @import("../base/bytes.zig").u32At;
const u16At = @import("../base/bytes.zig").u16At;
const u64At = @import("../base/bytes.zig").u64At;

pub const Superblock = struct {
    inode_count: u32,
    block_log: u5,
    fragment_count: u32,
    id_count: u16,
    root_inode: u64,
    bytes_used: u64,
    id_table: u64,
    xattr_table: u64,
    inode_table: u64,
    directory_table: u64,
    fragment_table: u64,
    export_table: u64,

    pub const length = 96;
    /// What a table's position is when there is no such table.
    pub const absent = std.math.maxInt(u64);

    const compressors = [_][]const u8{ "none", "gzip", "lzma", "lzo", "xz", "lz4", "zstd" };
    const zstd = 6;

    pub fn hasMagic(bytes: *const [length]u8) bool {
        return std.mem.eql(u8, bytes[0..4], "hsqs");
    }

    /// Of one that `parse` refuses for it.
    pub fn compressorName(bytes: *const [length]u8) []const u8 {
        const number = u16At(bytes, 20);
        return if (number < compressors.len) compressors[number] else "an unknown format";
    }

    pub fn blockSize(self: Superblock) u32 {
        return @as(u32, 1) << self.block_log;
    }

    pub fn parse(bytes: *const [length]u8) error{ Corrupt, Compressor }!Superblock {
        if (u16At(bytes, 28) != 4 or u16At(bytes, 30) != 0) return error.Corrupt;
        if (u16At(bytes, 20) != zstd) return error.Compressor;
        const log = u16At(bytes, 22);
        if (log < 12 or log > 20 or u32At(bytes, 12) != @as(u32, 1) << @intCast(log))
            return error.Corrupt;
        const self: Superblock = .{
            .inode_count = u32At(bytes, 4),
            .block_log = @intCast(log),
            .fragment_count = u32At(bytes, 16),
            .id_count = u16At(bytes, 26),
            .root_inode = u64At(bytes, 32),
            .bytes_used = u64At(bytes, 40),
            .id_table = u64At(bytes, 48),
            .xattr_table = u64At(bytes, 56),
            .inode_table = u64At(bytes, 64),
            .directory_table = u64At(bytes, 72),
            .fragment_table = u64At(bytes, 80),
            .export_table = u64At(bytes, 88),
        };
        // Tables stand in this order; positions are kept below 2^48, as the format's own
        // references are, so that sums of them cannot overflow.
        if (self.bytes_used >= 1 << 48) return error.Corrupt;
        if (self.inode_table >= self.directory_table or self.directory_table >= self.bytes_used)
            return error.Corrupt;
        if (self.id_table >= self.bytes_used or self.id_count == 0) return error.Corrupt;
        if (self.fragment_count != 0 and self.fragment_table >= self.bytes_used)
            return error.Corrupt;
        for ([_]u64{ self.xattr_table, self.export_table }) |table|
            if (table != absent and table >= self.bytes_used) return error.Corrupt;
        return self;
    }

    /// A small well-formed superblock for tests.
    pub const example = blk: {
        var bytes: [length]u8 = @splat(0);
        @memcpy(bytes[0..4], "hsqs");
        std.mem.writeInt(u32, bytes[12..16], 131072, .little);
        std.mem.writeInt(u16, bytes[20..22], zstd, .little);
        std.mem.writeInt(u16, bytes[22..24], 17, .little);
        std.mem.writeInt(u16, bytes[26..28], 1, .little);
        std.mem.writeInt(u16, bytes[28..30], 4, .little);
        std.mem.writeInt(u64, bytes[40..48], 96, .little);
        std.mem.writeInt(u64, bytes[72..80], 1, .little);
        std.mem.writeInt(u64, bytes[56..64], absent, .little);
        break :blk bytes;
    };
};

test "a superblock is checked" {
    const good = try Superblock.parse(&Superblock.example);
    try std.testing.expectEqual(131072, good.blockSize());
    var bytes = Superblock.example;
    bytes[22] = 30;
    try std.testing.expectError(error.Corrupt, Superblock.parse(&bytes));
    bytes = Superblock.example;
    bytes[20] = 1;
    try std.testing.expectError(error.Compressor, Superblock.parse(&bytes));
    try std.testing.expectEqualStrings("gzip", Superblock.compressorName(&bytes));
}
