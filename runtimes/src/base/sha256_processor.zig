//! SHA-256 by instructions that not every processor has: SHA-NI of x86-64, and those of ARMv8's
//! cryptographic extension. The stub is made for processors without, so it asks at run time.
const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;

const Vector = @Vector(4, u32);

/// What is asked of the processor.
pub const Ability = enum(u8) {
    /// Instructions for SHA-256.
    rounds = 1 << 0,
    /// AVX-512, for sixteen messages at once.
    sixteen = 1 << 1,
};

/// Asking costs a microsecond, and many in a virtual machine: once, and only where something is
/// hashed. Threads that ask at the same time find the same. Tests make it less.
pub var known: std.atomic.Value(u8) = .init(0);
const asked = 1 << 7;

const at_hwcap = 16;
const hwcap_sha2 = 1 << 6;

pub fn has(ability: Ability) bool {
    var found = known.load(.monotonic);
    if (found == 0) {
        found = asked | switch (builtin.cpu.arch) {
            .x86_64 => abilities(),
            .aarch64 => @as(u8, @intFromBool(linux.getauxval(at_hwcap) & hwcap_sha2 != 0)),
            else => 0,
        };
        known.store(found, .monotonic);
    }
    return found & @backingInt(ability) != 0;
}

/// By leaf 7 of cpuid: in EBX bit 29 is SHA-NI, with which a processor has SSE4.1, too; bits 16 and
/// 30 are AVX-512's F and BW. The kernel must have enabled these (Intel's manual, volume 1, 15.2).
noinline fn abilities() u8 {
    if (cpuid(0).a < 7) return 0;
    const leaf = cpuid(7);
    var found: u8 = 0;
    if (leaf.b & 1 << 29 != 0) found |= @backingInt(Ability.rounds);
    const wide = 1 << 16 | 1 << 30;
    const osxsave = 1 << 27;
    if (leaf.b & wide == wide and cpuid(1).c & osxsave != 0 and xgetbv() & 0xe6 == 0xe6)
        found |= @backingInt(Ability.sixteen);
    return found;
}

fn xgetbv() u32 {
    return asm volatile ("xgetbv"
        : [a] "={eax}" (-> u32),
        : [_] "{ecx}" (@as(u32, 0)),
        : .{ .edx = true });
}

fn cpuid(leaf: u32) struct { a: u32, b: u32, c: u32 } {
    var a: u32 = undefined;
    var b: u32 = undefined;
    var c: u32 = undefined;
    asm volatile ("cpuid"
        : [a] "={eax}" (a),
          [b] "={ebx}" (b),
          [c] "={ecx}" (c),
        : [_] "{eax}" (leaf),
          [_] "{ecx}" (@as(u32, 0)),
        : .{ .edx = true });
    return .{ .a = a, .b = b, .c = c };
}

/// So many blocks of each of several messages: the processor can begin an instruction before
/// another is done, so two messages take hardly more time than one. The 64 constants are those of
/// FIPS 180-4.
pub fn rounds(
    comptime lanes: usize,
    states: *[lanes][8]u32,
    messages: [lanes][*]const u8,
    count: usize,
    constants: *align(16) const [64]u32,
) void {
    const four: *const [16]Vector = @ptrCast(constants);
    switch (builtin.cpu.arch) {
        .x86_64 => roundsShaNi(lanes, states, messages, count, four),
        .aarch64 => inline for (states, messages) |*state, message|
            for (0..count) |i| roundsArm(state, message[64 * i ..][0..64], four),
        else => unreachable,
    }
}

/// hashing/sha256_sixteen.zig, a program's part of its own, for x86-64 only.
pub extern fn dockerc_sha256_of_sixteen(
    prefix: *const [32]u8,
    pages: *const [16][*]const u8,
    initial: *const [8]u32,
    constants: *const [64]u32,
    digests: *[16][32]u8,
) void;

fn roundsShaNi(
    comptime lanes: usize,
    states: *[lanes][8]u32,
    messages: [lanes][*]const u8,
    count: usize,
    constants: *const [16]Vector,
) void {
    var x: [lanes]Vector = undefined;
    var y: [lanes]Vector = undefined;
    inline for (states, 0..) |*state, lane| {
        x[lane] = .{ state[5], state[4], state[1], state[0] };
        y[lane] = .{ state[7], state[6], state[3], state[2] };
    }
    for (0..count) |i| {
        const before = .{ x, y };
        // The last four vectors of each schedule.
        var words: [lanes][4]Vector = undefined;
        var turn: usize = 0;
        while (turn < 4) : (turn = counted(turn + 1)) inline for (0..4) |k| {
            var sums: [lanes]Vector = undefined;
            inline for (&words, messages, 0..) |*each, message, lane| {
                each[k] = if (turn == 0)
                    bigEndian(message[64 * i + 16 * k ..][0..16])
                else
                    next(each[k], each[(k + 1) % 4], each[(k + 2) % 4], each[(k + 3) % 4]);
                sums[lane] = each[k] +% constants[4 * turn + k];
            }
            inline for (0..lanes) |lane| y[lane] = rounds2(y[lane], x[lane], sums[lane]);
            inline for (0..lanes) |lane| {
                const high = @shuffle(u32, sums[lane], undefined, [4]i32{ 2, 3, 2, 3 });
                x[lane] = rounds2(x[lane], y[lane], high);
            }
        };
        inline for (0..lanes) |lane| {
            x[lane] +%= before[0][lane];
            y[lane] +%= before[1][lane];
        }
    }
    inline for (states, x, y) |*state, a, b|
        state.* = .{ a[3], a[2], b[3], b[2], a[1], a[0], b[1], b[0] };
}

/// Hides the number, for a loop that is not to be written out four times.
inline fn counted(number: usize) usize {
    return asm volatile (""
        : [out] "=r" (-> usize),
        : [_] "0" (number),
    );
}

/// Four words of a message. A processor with SHA-NI has SSSE3's instruction for it.
inline fn bigEndian(bytes: *const [16]u8) Vector {
    const words: *align(1) const Vector = @ptrCast(bytes);
    const order: @Vector(16, u8) = .{ 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12 };
    return asm ("pshufb %[order], %[out]"
        : [out] "=x" (-> Vector),
        : [_] "0" (words.*),
          [order] "x" (order),
    );
}

/// The next four words of a schedule, after those.
inline fn next(first: Vector, second: Vector, third: Vector, last: Vector) Vector {
    const shifted = asm ("palignr $4, %[third], %[out]"
        : [out] "=x" (-> Vector),
        : [_] "0" (last),
          [third] "x" (third),
    );
    const sum = asm ("sha256msg1 %[second], %[out]"
        : [out] "=x" (-> Vector),
        : [_] "0" (first),
          [second] "x" (second),
    ) +% shifted;
    return asm ("sha256msg2 %[last], %[out]"
        : [out] "=x" (-> Vector),
        : [_] "0" (sum),
          [last] "x" (last),
    );
}

inline fn rounds2(state: Vector, other: Vector, words: Vector) Vector {
    return asm ("sha256rnds2 %[other], %[out]"
        : [out] "=x" (-> Vector),
        : [_] "0" (state),
          [other] "x" (other),
          [_] "{xmm0}" (words),
    );
}

fn roundsArm(state: *[8]u32, block: *const [64]u8, constants: *const [16]Vector) void {
    var schedule: [16]Vector = undefined;
    const words: *align(1) const [4]Vector = @ptrCast(block);
    inline for (0..4) |i| schedule[i] = @byteSwap(words[i]);
    var x: Vector = state[0..4].*;
    var y: Vector = state[4..8].*;
    inline for (0..16) |k| {
        if (k >= 4) schedule[k] = asm (
            \\.arch_extension sha2
            \\sha256su0.4s %[out], %[second]
            \\sha256su1.4s %[out], %[third], %[last]
            : [out] "=&w" (-> Vector),
            : [_] "0" (schedule[k - 4]),
              [second] "w" (schedule[k - 3]),
              [third] "w" (schedule[k - 2]),
              [last] "w" (schedule[k - 1]),
        );
        asm volatile (
            \\.arch_extension sha2
            \\mov.4s v0, %[x]
            \\sha256h.4s %[x], %[y], %[words]
            \\sha256h2.4s %[y], v0, %[words]
            : [x] "=&w" (x),
              [y] "=&w" (y),
            : [_] "0" (x),
              [_] "1" (y),
              [words] "w" (schedule[k] +% constants[k]),
            : .{ .v0 = true });
    }
    state[0..4].* = @as(Vector, state[0..4].*) +% x;
    state[4..8].* = @as(Vector, state[4..8].*) +% y;
}
