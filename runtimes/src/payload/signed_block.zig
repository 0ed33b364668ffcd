//! The signed block (docs/format.md): what a payload is by its size, hash tree, flags and
//! config.json, and the signatures over that. Every byte of it means something or must be zero.
const std = @import("std");
const bytes = @import("../base/bytes.zig");
const Shape = @import("../squashfs/hash_tree.zig").Shape;
const block_size = @import("../squashfs/hash_tree.zig").block_size;

/// signatures/ed25519.zig, a program's part of its own.
extern fn dockerc_ed25519_verify(
    key: *const Key,
    value: *const [64]u8,
    signed: [*]const u8,
    len: usize,
) bool;

pub const length = 4096;
const payload_len = 192;
const both_len = 320;
const signature_len = 128;
pub const signatures_max = (length - both_len) / signature_len;
const ed25519 = 1;

pub const Key = [32]u8;

pub const Signature = struct {
    /// What it is over.
    signed: []const u8,
    algorithm: u8,
    key: *const Key,
    value: *const [64]u8,

    pub fn isValid(self: *const Signature) bool {
        if (self.algorithm != ed25519) return false;
        return dockerc_ed25519_verify(self.key, self.value, self.signed.ptr, self.signed.len);
    }
};

/// Slices point into the bytes that it was parsed from.
pub const SignedBlock = struct {
    bytes_used: u64,
    salt: [32]u8,
    root: [32]u8,
    flags: u8,
    config: [32]u8,
    /// Bytes of the stub with its padding.
    stub_len: u64,
    signatures: [signatures_max]Signature = undefined,
    count: usize = 0,

    pub fn all(self: *const SignedBlock) []const Signature {
        return self.signatures[0..self.count];
    }

    pub fn parse(data: *const [length]u8) error{ Absent, Unknown, Corrupt }!SignedBlock {
        if (!std.mem.eql(u8, data[0..8], "dcsigned")) return error.Absent;
        const sha256 = 1;
        if (bytes.u16At(data, 8) != 1 or
            bytes.u16At(data, 10) != sha256 or
            bytes.u32At(data, 12) != block_size) return error.Unknown;
        var self: SignedBlock = .{
            .bytes_used = bytes.u64At(data, 16),
            .salt = data[40..72].*,
            .root = data[72..104].*,
            .flags = data[104],
            .config = data[112..144].*,
            .stub_len = bytes.u64At(data, 192),
        };
        if (self.bytes_used == 0 or self.bytes_used >= 1 << 48) return error.Corrupt;
        const shape: Shape = .of(self.bytes_used);
        if (bytes.u64At(data, 24) != shape.padded() or bytes.u64At(data, 32) != shape.size())
            return error.Corrupt;
        var at: usize = both_len;
        while (self.count < signatures_max and data[at + 1] != 0) : (at += signature_len) {
            const covers = data[at];
            if (covers != 1 and covers != 3) return error.Corrupt;
            self.signatures[self.count] = .{
                .signed = data[0..if (covers == 1) payload_len else both_len],
                .algorithm = data[at + 1],
                .key = data[at + 8 ..][0..32],
                .value = data[at + 40 ..][0..64],
            };
            if (!isZero(data[at + 2 .. at + 8]) or !isZero(data[at + 104 .. at + 128]))
                return error.Corrupt;
            self.count += 1;
        }
        for (&[_][]const u8{ data[105..112], data[144..192], data[264..320], data[at..] }) |gap|
            if (!isZero(gap)) return error.Corrupt;
        for ([_][]const u8{ data[232..248], data[248..264] }) |field|
            if (!isWord(field)) return error.Corrupt;
        return self;
    }
};

noinline fn isZero(gap: []const u8) bool {
    return std.mem.allEqual(u8, gap, 0);
}

fn isWord(field: []const u8) bool {
    const word = std.mem.sliceTo(field, 0);
    for (word) |byte| if (byte <= ' ' or byte >= 0x7f) return false;
    return word.len < field.len and isZero(field[word.len..]);
}

/// A block with a signature over each of both.
pub fn example() [length]u8 {
    var data: [length]u8 = @splat(0);
    @memcpy(data[0..8], "dcsigned");
    std.mem.writeInt(u16, data[8..10], 1, .little);
    std.mem.writeInt(u16, data[10..12], 1, .little);
    std.mem.writeInt(u32, data[12..16], block_size, .little);
    std.mem.writeInt(u64, data[16..24], 8192, .little);
    std.mem.writeInt(u64, data[24..32], 8192, .little);
    std.mem.writeInt(u64, data[32..40], 4096, .little);
    for (data[40..104], 0..) |*byte, i| byte.* = @truncate(i);
    std.mem.writeInt(u64, data[192..200], 4096, .little);
    @memcpy(data[232..238], "x86_64");
    const Ed25519 = std.crypto.sign.Ed25519;
    const keys = Ed25519.KeyPair.generateDeterministic(@splat(5)) catch unreachable;
    for ([_]usize{ payload_len, both_len }, 0..) |len, i| {
        const at = both_len + i * signature_len;
        data[at] = if (len == payload_len) 1 else 3;
        data[at + 1] = ed25519;
        @memcpy(data[at + 8 ..][0..32], &keys.public_key.bytes);
        const signature = keys.sign(data[0..len], null) catch unreachable;
        @memcpy(data[at + 40 ..][0..64], &signature.toBytes());
    }
    return data;
}

/// Whether anything of it is not as its maker wrote it.
fn isRefused(data: *const [length]u8) bool {
    const block = SignedBlock.parse(data) catch return true;
    if (block.count != 2) return true;
    for (block.all()) |*signature| if (!signature.isValid()) return true;
    return false;
}

test "a flipped bit anywhere in the block is refused" {
    var data = example();
    try std.testing.expect(!isRefused(&data));
    for (0..length) |at| {
        data[at] ^= @as(u8, 1) << @intCast(at % 8);
        try std.testing.expect(isRefused(&data));
        data[at] ^= @as(u8, 1) << @intCast(at % 8);
    }
}

test "as many signatures as there is room for" {
    var data = example();
    for (2..signatures_max) |i|
        data[both_len + i * signature_len ..][0..signature_len].* =
            data[both_len..][0..signature_len].*;
    try std.testing.expectEqual(29, (try SignedBlock.parse(&data)).count);
    data[length - 1] = 1;
    try std.testing.expectError(error.Corrupt, SignedBlock.parse(&data));
}
