//! What tells a payload from every other: SHA-256 over the SHA-256 digests of its parts, which
//! several threads take, and over its length.
const std = @import("std");
const blocks = @import("../squashfs/blocks.zig");
const sys = @import("../base/syscalls.zig");
const thread = @import("../base/thread.zig");
const Image = @import("../squashfs/image.zig").Image;
const Sha256 = @import("../base/sha256.zig").Sha256;

const part = 1 << 20;

const Parts = struct {
    image: *const Image,
    digests: [][32]u8,
    next: std.atomic.Value(u32) = .init(0),
    failure: std.atomic.Value(u16) = .init(0),

    fn work(self: *Parts) void {
        self.some() catch |err| self.failure.store(@intFromError(err), .release);
    }

    fn some(self: *Parts) !void {
        const buf = try sys.anonymous(part);
        defer sys.release(buf);
        while (true) {
            const i = self.next.fetchAdd(1, .monotonic);
            if (i >= self.digests.len) return;
            const at = @as(u64, i) * part;
            const got = try self.image.read(buf, at);
            if (got.len != @min(part, self.image.len - at)) return error.IO;
            var hash: Sha256 = .{};
            hash.update(got);
            self.digests[i] = hash.final();
        }
    }
};

pub fn of(arena: std.mem.Allocator, image: *const Image) ![32]u8 {
    const count = std.math.cast(u32, image.len / part + 1) orelse return error.FBIG;
    var parts: Parts = .{ .image = image, .digests = try arena.alloc([32]u8, count) };
    var threads: [blocks.threads_max]std.Thread = undefined;
    const running = threads[0..@min(sys.processors(), threads.len)];
    for (running) |*each| each.* = try thread.spawn(arena, Parts.work, .{&parts});
    for (running) |each| each.join();
    const failed = parts.failure.load(.acquire);
    if (failed != 0) return @errorFromInt(failed);
    var hash: Sha256 = .{};
    for (parts.digests) |*digest| hash.update(digest);
    var length: [8]u8 = undefined;
    std.mem.writeInt(u64, &length, image.len, .little);
    hash.update(&length);
    return hash.final();
}
