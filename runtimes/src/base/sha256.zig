//! SHA-256 (FIPS 180-4) in loops: the standard library's takes 7 kB of every executable.
const std = @import("std");

/// Of the fractional parts of the square and cube roots of the first primes (FIPS 180-4, 4.2.2).
const primes = blk: {
    @setEvalBranchQuota(20_000);
    var list: [64]u32 = undefined;
    var count = 0;
    var candidate = 2;
    while (count < list.len) : (candidate += 1) {
        for (list[0..count]) |prime| {
            if (candidate % prime == 0) break;
        } else {
            list[count] = candidate;
            count += 1;
        }
    }
    break :blk list;
};

const initial = blk: {
    @setEvalBranchQuota(100_000);
    var words: [8]u32 = undefined;
    for (&words, primes[0..8]) |*word, prime| word.* = @truncate(root(prime, 2));
    break :blk words;
};

const constants = blk: {
    @setEvalBranchQuota(1_000_000);
    var words: [64]u32 = undefined;
    for (&words, primes) |*word, prime| word.* = @truncate(root(prime, 3));
    break :blk words;
};

/// The root with 32 binary places, rounded down.
fn root(comptime number: comptime_int, comptime degree: comptime_int) comptime_int {
    var found = 0;
    var bit = 1 << 40;
    while (bit > 0) : (bit >>= 1) {
        const larger = found + bit;
        const power = if (degree == 2) larger * larger else larger * larger * larger;
        if (power <= number << (32 * degree)) found = larger;
    }
    return found;
}

pub const Sha256 = struct {
    state: [8]u32 = initial,
    block: [64]u8 = undefined,
    /// Of all bytes so far; those of the last, unfinished block are in `block`.
    len: u64 = 0,

    pub fn update(self: *Sha256, bytes: []const u8) void {
        var rest = bytes;
        while (rest.len > 0) {
            const at: usize = @intCast(self.len % 64);
            const n = @min(64 - at, rest.len);
            @memcpy(self.block[at..][0..n], rest[0..n]);
            self.len += n;
            rest = rest[n..];
            if (at + n == 64) self.round();
        }
    }

    pub fn final(self: *Sha256) [32]u8 {
        var length: [8]u8 = undefined;
        std.mem.writeInt(u64, &length, self.len * 8, .big);
        self.update(&.{0x80});
        while (self.len % 64 != 56) self.update(&.{0});
        self.update(&length);
        var out: [32]u8 = undefined;
        for (self.state, 0..) |word, i| std.mem.writeInt(u32, out[4 * i ..][0..4], word, .big);
        return out;
    }

    fn round(self: *Sha256) void {
        var schedule: [64]u32 = undefined;
        for (schedule[0..16], 0..) |*word, i|
            word.* = std.mem.readInt(u32, self.block[4 * i ..][0..4], .big);
        for (16..64) |i| {
            const a = schedule[i - 15];
            const b = schedule[i - 2];
            const s0 = rotate(a, 7) ^ rotate(a, 18) ^ (a >> 3);
            const s1 = rotate(b, 17) ^ rotate(b, 19) ^ (b >> 10);
            schedule[i] = schedule[i - 16] +% s0 +% schedule[i - 7] +% s1;
        }
        var a, var b, var c, var d, var e, var f, var g, var h = self.state;
        for (schedule, constants) |word, constant| {
            const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
            const first = h +% s1 +% ((e & f) ^ (~e & g)) +% constant +% word;
            const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
            const second = s0 +% ((a & b) ^ (a & c) ^ (b & c));
            h = g;
            g = f;
            f = e;
            e = d +% first;
            d = c;
            c = b;
            b = a;
            a = first +% second;
        }
        for (&self.state, [8]u32{ a, b, c, d, e, f, g, h }) |*word, more| word.* +%= more;
    }
};

fn rotate(word: u32, comptime bits: u5) u32 {
    return std.math.rotr(u32, word, bits);
}

test "it is the standard library's" {
    var bytes: [300]u8 = undefined;
    for (&bytes, 0..) |*byte, i| byte.* = @truncate(i *% 7);
    for (0..bytes.len) |len| {
        var expected: [32]u8 = undefined;
        std.crypto.hash.sha2.Sha256.hash(bytes[0..len], &expected, .{});
        var ours: Sha256 = .{};
        ours.update(bytes[0 .. len / 3]);
        ours.update(bytes[len / 3 .. len]);
        try std.testing.expectEqual(expected, ours.final());
    }
}
