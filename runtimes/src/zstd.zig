//! libzstd's decoder, one context a thread, in memory of ours: it never allocates.
const std = @import("std");
const sys = @import("sys.zig");

extern fn ZSTD_estimateDCtxSize() usize;
extern fn ZSTD_initStaticDCtx(workspace: [*]u8, size: usize) ?*anyopaque;
extern fn ZSTD_decompressDCtx(ctx: *anyopaque, dst: [*]u8, capacity: usize, src: [*]const u8, size: usize) usize;
extern fn ZSTD_isError(code: usize) c_uint;

/// The compressor's half of libzstd refers to these; the linker drops it, but wants the names.
fn noMemory(_: usize) callconv(.c) ?*anyopaque {
    return null;
}
fn noMemoryArray(_: usize, _: usize) callconv(.c) ?*anyopaque {
    return null;
}
fn nothingToFree(_: ?*anyopaque) callconv(.c) void {}

comptime {
    @export(&noMemory, .{ .name = "malloc" });
    @export(&noMemoryArray, .{ .name = "calloc" });
    @export(&nothingToFree, .{ .name = "free" });
}

pub const Decoder = struct {
    context: *anyopaque,
    /// Where compressed bytes are read to.
    input: []u8,
    memory: []align(4096) u8,

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
