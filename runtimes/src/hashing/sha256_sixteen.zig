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
        var words: [16]Vector = undefined;
        for (&words, messages) |*each, message| {
            const block: *align(1) const Vector = @ptrCast(message[64 * number ..]);
            each.* = @byteSwap(block.*);
        }
        transpose(&words);
        var state = states.*;
        var done: usize = 0;
        while (true) {
            inline for (words, 0..) |word, i| {
                const constant: Vector = @splat(constants[done + i]);
                round(&state, i, word +% constant);
            }
            done += words.len;
            if (done == constants.len) break;
            extend(&words);
        }
        inline for (states, state) |*sum, more| sum.* +%= more;
    }
}

/// One of the 64, in which the names of the state's words have moved on by as many places.
inline fn round(state: *[8]Vector, comptime number: usize, word: Vector) void {
    const at = struct {
        fn at(comptime name: usize) usize {
            return (name + 16 - number) % 8;
        }
    }.at;
    const a, const b, const c = .{ state[at(0)], state[at(1)], state[at(2)] };
    const e, const f, const g = .{ state[at(4)], state[at(5)], state[at(6)] };
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const first = state[at(7)] +% word +% ((e & f) ^ (~e & g)) +% s1;
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    state[at(3)] +%= first;
    state[at(7)] = first +% (s0 +% ((a & b) ^ (a & c) ^ (b & c)));
}

/// From sixteen words of a schedule to the next sixteen.
inline fn extend(words: *[16]Vector) void {
    inline for (words, 0..) |*word, i| {
        const x = words[(i + 1) % 16];
        const y = words[(i + 14) % 16];
        const s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >> @splat(3));
        const s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >> @splat(10));
        word.* +%= s0 +% words[(i + 9) % 16] +% s1;
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
