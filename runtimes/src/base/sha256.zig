//! SHA-256 (FIPS 180-4): in loops, as the standard library's takes 7 kB of every executable; or by
//! the processor's own instructions, where it has them.
const std = @import("std");
const builtin = @import("builtin");

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

const constants align(16) = blk: {
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

    pub noinline fn update(self: *Sha256, bytes: []const u8) void {
        var rest = bytes;
        const held: usize = @intCast(self.len % 64);
        self.len += bytes.len;
        if (held > 0) {
            const n = @min(64 - held, rest.len);
            @memcpy(self.block[held..][0..n], rest[0..n]);
            rest = rest[n..];
            if (held + n < 64) return;
            self.rounds(&self.block);
        }
        const whole = rest.len - rest.len % 64;
        self.rounds(rest[0..whole]);
        @memcpy(self.block[0 .. rest.len - whole], rest[whole..]);
    }

    pub noinline fn final(self: *Sha256) [32]u8 {
        var length: [8]u8 = undefined;
        std.mem.writeInt(u64, &length, self.len * 8, .big);
        self.update(&.{0x80});
        while (self.len % 64 != 56) self.update(&.{0});
        self.update(&length);
        return bytesOf(&self.state);
    }

    /// Of whole blocks.
    noinline fn rounds(self: *Sha256, bytes: []const u8) void {
        const count = bytes.len / 64;
        if (count > 0 and processor.has(.rounds))
            return processor.rounds(1, @ptrCast(&self.state), .{bytes.ptr}, count, &constants);
        for (0..count) |i| round(&self.state, bytes[64 * i ..][0..64]);
    }
};

pub const page_size = 4096;
pub const Page = *const [page_size]u8;
/// Pages that are hashed at once.
pub const pages_max = 16;
/// From so many pages on, sixteen at once take less time than two and two (measured on AMD's fifth
/// generation of Zen).
const worth_sixteen = 10;

/// How many of so many there are take as long as one, or hardly longer.
pub fn pagesAtOnce(there_are: usize) usize {
    if (processor.has(.sixteen) and there_are >= few()) return pages_max;
    return if (processor.has(.rounds)) 2 else 1;
}

/// The fewest that are worth the time of sixteen.
fn few() usize {
    return if (processor.has(.rounds)) worth_sixteen else 2;
}

/// Of a prefix and each page, of which there are at most `pages_max`.
pub noinline fn ofPages(
    prefix: *const [32]u8,
    pages: []const Page,
    digests: *[pages_max][32]u8,
) void {
    if (builtin.cpu.arch == .x86_64 and pages.len >= few() and processor.has(.sixteen)) {
        var all: [pages_max][*]const u8 = @splat(pages[0]);
        for (all[0..pages.len], pages) |*each, page| each.* = page;
        return processor.dockerc_sha256_of_sixteen(prefix, &all, &initial, &constants, digests);
    }
    var done: usize = 0;
    while (done < pages.len) : (done += 1) {
        const rest = pages[done..];
        if (processor.has(.rounds) and rest.len > 1) {
            digests[done..][0..2].* = ofTwo(prefix, rest[0..2].*);
            done += 1;
        } else {
            var hash: Sha256 = .{};
            hash.update(prefix);
            hash.update(rest[0]);
            digests[done] = hash.final();
        }
    }
}

pub fn ofPage(prefix: *const [32]u8, page: Page) [32]u8 {
    var digests: [pages_max][32]u8 = undefined;
    ofPages(prefix, &.{page}, &digests);
    return digests[0];
}

fn ofTwo(prefix: *const [32]u8, pages: [2]Page) [2][32]u8 {
    var states: [2][8]u32 = @splat(initial);
    var starts: [2][64]u8 = undefined;
    var ends: [2][64]u8 = undefined;
    const length = (prefix.len + page_size) * 8;
    for (&starts, &ends, pages) |*start, *end, page| {
        start.* = prefix.* ++ page[0..32].*;
        end.* = page[page_size - 32 ..].* ++ [_]u8{0x80} ++
            @as([31 - 8]u8, @splat(0)) ++ std.mem.toBytes(std.mem.nativeToBig(u64, length));
    }
    const from = [3][2][*]const u8{
        .{ &starts[0], &starts[1] },
        .{ pages[0][32..], pages[1][32..] },
        .{ &ends[0], &ends[1] },
    };
    for (from, [_]usize{ 1, page_size / 64 - 1, 1 }) |messages, blocks|
        processor.rounds(2, &states, messages, blocks, &constants);
    return .{ bytesOf(&states[0]), bytesOf(&states[1]) };
}

fn bytesOf(state: *const [8]u32) [32]u8 {
    var out: [32]u8 = undefined;
    for (state, 0..) |word, i| std.mem.writeInt(u32, out[4 * i ..][0..4], word, .big);
    return out;
}

fn round(state: *[8]u32, block: *const [64]u8) void {
    var schedule: [64]u32 = undefined;
    for (schedule[0..16], 0..) |*word, i|
        word.* = std.mem.readInt(u32, block[4 * i ..][0..4], .big);
    for (16..64) |i| {
        const a = schedule[i - 15];
        const b = schedule[i - 2];
        const s0 = rotate(a, 7) ^ rotate(a, 18) ^ (a >> 3);
        const s1 = rotate(b, 17) ^ rotate(b, 19) ^ (b >> 10);
        schedule[i] = schedule[i - 16] +% s0 +% schedule[i - 7] +% s1;
    }
    var a, var b, var c, var d, var e, var f, var g, var h = state.*;
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
    for (state, [8]u32{ a, b, c, d, e, f, g, h }) |*word, more| word.* +%= more;
}

fn rotate(word: u32, comptime bits: u5) u32 {
    return std.math.rotr(u32, word, bits);
}

const processor = @import("sha256_processor.zig");

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

test "the processor's is the same" {
    if (!processor.has(.rounds)) return;
    var one = initial;
    var other = initial;
    var block: [64]u8 = undefined;
    for (0..100) |i| {
        for (&block, 0..) |*byte, j| byte.* = @truncate(i *% 31 +% j *% 7);
        round(&one, &block);
        processor.rounds(1, @ptrCast(&other), .{&block}, 1, &constants);
        try std.testing.expectEqual(one, other);
    }
}

test "any number of pages at once" {
    const prefix: [32]u8 = @splat(9);
    var bytes: [pages_max][page_size]u8 = undefined;
    for (std.mem.asBytes(&bytes), 0..) |*byte, i| byte.* = @truncate(i *% 31 +% i / 251);
    var pages: [pages_max]Page = undefined;
    for (&pages, &bytes) |*page, *each| page.* = each;
    for (1..pages_max + 1) |count| {
        var digests: [pages_max][32]u8 = undefined;
        ofPages(&prefix, pages[0..count], &digests);
        for (pages[0..count], digests[0..count]) |page, digest| {
            var hash: Sha256 = .{};
            hash.update(&prefix);
            hash.update(page);
            try std.testing.expectEqual(hash.final(), digest);
            try std.testing.expectEqual(digest, ofPage(&prefix, page));
        }
    }
}

test "each way of the processor's, and none" {
    const prefix: [32]u8 = @splat(1);
    const page: [page_size]u8 = @splat(2);
    const pages: [pages_max]Page = @splat(&page);
    const able = processor.known.load(.monotonic);
    defer processor.known.store(able, .monotonic);
    var hash: Sha256 = .{};
    hash.update(&prefix);
    hash.update(&page);
    const expected = hash.final();
    // As on processors that have less.
    for (0..4) |less| {
        processor.known.store(able & ~@as(u8, @intCast(less)), .monotonic);
        var digests: [pages_max][32]u8 = undefined;
        ofPages(&prefix, &pages, &digests);
        for (digests) |digest| try std.testing.expectEqual(expected, digest);
    }
}
