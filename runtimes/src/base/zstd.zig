//! libzstd's decoder, one context a thread, in memory of ours: it never allocates.
const std = @import("std");
const builtin = @import("builtin");
const sys = @import("syscalls.zig");

extern fn ZSTD_estimateDCtxSize() usize;
extern fn ZSTD_initStaticDCtx(workspace: [*]u8, size: usize) ?*anyopaque;
extern fn ZSTD_decompressDCtx(
    ctx: *anyopaque,
    dst: [*]u8,
    capacity: usize,
    src: [*]const u8,
    size: usize,
) usize;
extern fn ZSTD_decompressBegin(ctx: *anyopaque) usize;
extern fn ZSTD_nextSrcSizeToDecompress(ctx: *anyopaque) usize;
extern fn ZSTD_decompressContinue(
    ctx: *anyopaque,
    dst: [*]u8,
    capacity: usize,
    src: [*]const u8,
    size: usize,
) usize;
extern fn ZSTD_isError(code: usize) c_uint;

/// The compressor's half of libzstd refers to these; the linker drops it, but wants the names.
fn noMemory(_: usize) callconv(.c) ?*anyopaque {
    return null;
}
fn noMemoryArray(_: usize, _: usize) callconv(.c) ?*anyopaque {
    return null;
}
fn nothingToFree(_: ?*anyopaque) callconv(.c) void {}

// The fuzzer has a libc.
comptime {
    if (!builtin.link_libc) {
        @export(&noMemory, .{ .name = "malloc" });
        @export(&noMemoryArray, .{ .name = "calloc" });
        @export(&nothingToFree, .{ .name = "free" });
    }
}

pub const Decoder = struct {
    context: *anyopaque,
    /// Where compressed bytes are read to.
    input: []u8,
    memory: []align(4096) u8,
    /// While this is true, its thread yields the processor between two pieces of a frame.
    yields_while: ?*const std.atomic.Value(bool) = null,

    pub fn init(input_size: usize) !Decoder {
        const size = ZSTD_estimateDCtxSize();
        const memory = try sys.anonymous(size + input_size);
        return .{
            .context = ZSTD_initStaticDCtx(memory.ptr, size) orelse return error.NOMEM,
            .input = memory[size..],
            .memory = memory,
        };
    }

    /// The number of bytes that `src` expands to in `dst`.
    pub fn decode(self: Decoder, dst: []u8, src: []const u8) error{Corrupt}!usize {
        const n = ZSTD_decompressDCtx(self.context, dst.ptr, dst.len, src.ptr, src.len);
        if (ZSTD_isError(n) != 0 or n > dst.len) return error.Corrupt;
        return n;
    }
};

/// A frame decoded piece by piece (of 128 KiB at most, zstd's own blocks), so that its start can be
/// used before its end is decoded. Needs the decoder for itself from `init` until it is finished.
pub const Frame = struct {
    src: []const u8,
    consumed: usize = 0,
    produced: usize = 0,

    pub fn init(decoder: Decoder, src: []const u8) error{Corrupt}!Frame {
        if (ZSTD_isError(ZSTD_decompressBegin(decoder.context)) != 0) return error.Corrupt;
        return .{ .src = src };
    }

    /// The next piece, into `dst` behind those before; false when there is none. The decoder sees
    /// no byte of `src` before `check.upTo` has agreed to as many as it will have seen.
    pub fn step(self: *Frame, decoder: Decoder, dst: []u8, check: anytype) !bool {
        while (true) {
            const want = ZSTD_nextSrcSizeToDecompress(decoder.context);
            if (want == 0) return false;
            if (want > self.src.len - self.consumed) return error.Corrupt;
            try check.upTo(self.consumed + want);
            const out = dst[self.produced..];
            const n = ZSTD_decompressContinue(decoder.context, out.ptr, out.len, self.src.ptr +
                self.consumed, want);
            if (ZSTD_isError(n) != 0 or n > out.len) return error.Corrupt;
            self.consumed += want;
            self.produced += n;
            if (n > 0) return true;
        }
    }
};
