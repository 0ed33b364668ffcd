//! SHA-256 of sixteen messages at once, each in a lane of AVX-512's registers (FIPS 180-4, 6.2.2).
//! Compiled by itself, because nothing else may use these instructions.
const Vector = @Vector(16, u32);

const page_size = 4096;
const length = 8 * (32 + page_size);

/// Of a prefix and each page. `initial` and `constants` are those of FIPS 180-4.
export fn dockerc_sha256_of_sixteen(
    prefix: *const [32]u8,
    pages: *const [16][*]const u8,
    initial: *const [8]u32,
    constants: *const [64]u32,
    digests: *align(1) [16][8]u32,
) void {
    var states: [8]Vector = undefined;
    for (&states, initial) |*words, word| words.* = @splat(word);
    var blocks: [16][64]u8 = undefined;
    var messages: [16][*]const u8 = undefined;
    for (&blocks, pages, &messages) |*block, page, *message| {
        block.* = prefix.* ++ page[0..32].*;
        message.* = block;
    }
    rounds(&states, &messages, 1, constants);
    for (pages, &messages) |page, *message| message.* = page + 32;
    rounds(&states, &messages, page_size / 64 - 1, constants);
    for (&blocks, pages, &messages) |*block, page, *message| {
        block.* = page[page_size - 32 ..][0..32].* ++ [_]u8{0x80} ++ @as([29]u8, @splat(0)) ++
            [_]u8{ length >> 8, length & 0xff };
        message.* = block;
    }
    rounds(&states, &messages, 1, constants);
    const words: *const [8][16]u32 = @ptrCast(&states);
    for (digests, 0..) |*digest, lane| for (digest, words) |*word, of_all| {
        word.* = @byteSwap(of_all[lane]);
    };
}

/// So many blocks of each message; `states` has the first words of all states, then the second.
noinline fn rounds(
    states: *[8]Vector,
    messages: *const [16][*]const u8,
    count: usize,
    constants: *const [64]u32,
) void {
    for (0..count) |number| {
        var schedule: [64]Vector = undefined;
        var words: [16]Vector = undefined;
        for (&words, messages) |*each, message| {
            const block: *align(1) const Vector = @ptrCast(message[64 * number ..]);
            each.* = @byteSwap(block.*);
        }
        transpose(&words);
        schedule[0..16].* = words;
        var a, var b, var c, var d, var e, var f, var g, var h = states.*;
        for (constants, 0..) |constant, i| {
            if (i >= 16) {
                const x = schedule[i - 15];
                const y = schedule[i - 2];
                const s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >> @splat(3));
                const s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >> @splat(10));
                schedule[i] = schedule[i - 16] +% s0 +% schedule[i - 7] +% s1;
            }
            const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
            const constants_of_all: Vector = @splat(constant);
            const first = h +% s1 +% ((e & f) ^ (~e & g)) +% constants_of_all +% schedule[i];
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
        inline for (states, [8]Vector{ a, b, c, d, e, f, g, h }) |*word, more| word.* +%= more;
    }
}

/// From words of a message to those of all messages: first in quarters of the vectors, then these.
inline fn transpose(rows: *[16]Vector) void {
    @setEvalBranchQuota(10_000);
    var halves: [16]Vector = undefined;
    inline for (0..8) |i| inline for (0..2) |high| {
        halves[2 * i + high] = mix(rows[2 * i], rows[2 * i + 1], 1, high);
    };
    var quarters: [16]Vector = undefined;
    inline for (0..16) |i| {
        const from = (i & ~@as(usize, 3)) | (i >> 1 & 1);
        quarters[i] = mix(halves[from], halves[from | 2], 2, i & 1);
    }
    inline for (0..4) |i| inline for (0..2) |high| {
        const one = pick(quarters[i], quarters[4 + i], 2 * high, 2 * high + 1);
        const other = pick(quarters[8 + i], quarters[12 + i], 2 * high, 2 * high + 1);
        rows[8 * high + i] = pick(one, other, 0, 2);
        rows[8 * high + 4 + i] = pick(one, other, 1, 3);
    };
}

/// Of each quarter of both the low or the high half, so many words of each in turn.
inline fn mix(a: Vector, b: Vector, comptime unit: usize, comptime high: usize) Vector {
    comptime var mask: [16]i32 = undefined;
    inline for (&mask, 0..) |*lane, i| {
        const source: i32 = (i & ~@as(usize, 3)) + 2 * high + i % 4 / (2 * unit) * unit + i % unit;
        lane.* = if (i / unit % 2 == 0) source else ~source;
    }
    return @shuffle(u32, a, b, mask);
}

/// Two quarters of each.
inline fn pick(a: Vector, b: Vector, comptime first: usize, comptime second: usize) Vector {
    comptime var mask: [16]i32 = undefined;
    inline for (&mask, 0..) |*lane, i| {
        const source: i32 = 4 * (if (i / 4 % 2 == 0) first else second) + i % 4;
        lane.* = if (i < 8) source else ~source;
    }
    return @shuffle(u32, a, b, mask);
}

inline fn rotate(x: Vector, comptime bits: u5) Vector {
    return (x >> @splat(bits)) | (x << @splat(@intCast(32 - @as(u6, bits))));
}
