//! Footers as the builder's tests have them (fixtures/contract).
const std = @import("std");
const footer = @import("payload/footer.zig");
const json = @import("config/json.zig");
const Superblock = @import("squashfs/superblock.zig").Superblock;

test "footers, as the builder has them" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const vectors = try json.parse(arena, @import("build_options").footers);
    for (try vectors.list("cases")) |case| {
        var file: [8192 + 16]u8 = @splat(0);
        @memcpy(file[4096..][0..96], &Superblock.example);
        std.mem.writeInt(u64, file[4096 + 40 ..][0..8], 4096, .little);
        @memcpy(file[1024..][0..96], &Superblock.example);
        std.mem.writeInt(u32, file[1024 + 12 ..][0..4], 0, .little);
        _ = try std.fmt.hexToBytes(file[8192..], try case.get("tail").?.text());
        var compressor: []const u8 = "";
        const found = footer.find(footer.Memory{ .bytes = &file }, file.len, &compressor);
        if (case.get("error") != null) {
            try std.testing.expect(std.meta.isError(found));
            continue;
        }
        const payload = try found;
        try std.testing.expectEqual(try case.get("offset").?.integer(u64), payload.offset);
        const mapped = case.get("mapped").?.boolean;
        try std.testing.expectEqual(mapped, payload.require_mapped_uids);
    }
}
