//! Start lists that a builder writes, and those that nobody would: whatever they say, the kernel
//! gets only what the files hold.
const std = @import("std");
const sys = @import("../../base/syscalls.zig");
const fuzzing = @import("../../base/fuzzing.zig");
const mutation = @import("../../squashfs/mutation_test.zig");
const protocol = @import("../protocol.zig");
const request_test = @import("../request_test.zig");
const start_list = @import("start_list.zig");
const Superblock = @import("../../squashfs/superblock.zig").Superblock;

/// The number of the example's only file: a hole, a block of b's, and a fragment.
const file_number = 2;

/// The list is worked through; what it stores stays in the socket.
pub fn work(mount: *request_test.Mount, entries: []const u8) !void {
    var list: start_list.StartList = .{};
    try list.begin(entries);
    defer list.deinit();
    list.decode(&mount.reader, mount.handler.decoder) catch {};
    list.run(.{
        .reader = &mount.reader,
        .decoder = mount.handler.decoder,
        .channel = &mount.prefetcher.channel,
        .root = -1,
        .quiesce = &mount.quiesce,
    }, &mount.cpus);
}

const Stored = struct { nodeid: u64, offset: u64, content: []const u8 };

fn stored(mount: *request_test.Mount) ?Stored {
    const dont_wait = 0x40;
    const n = sys.call(
        .recvfrom,
        .{ mount.kernel, &mount.answer, mount.answer.len, dont_wait, 0, 0 },
    ) catch return null;
    const head = @sizeOf(protocol.OutHeader);
    const store: *align(1) const protocol.StoreOut = @ptrCast(mount.answer[head..]);
    return .{
        .nodeid = store.nodeid,
        .offset = store.offset,
        .content = mount.answer[head + @sizeOf(protocol.StoreOut) .. n],
    };
}

fn entry(buf: []u8, use: u16, number: u32, ranges: []const [2]u32) []u8 {
    for ([_]u16{ use, 0, @intCast(ranges.len), 0 }, 0..) |value, i|
        std.mem.writeInt(u16, buf[i * 2 ..][0..2], value, .little);
    std.mem.writeInt(u32, buf[8..12], number, .little);
    for (ranges, 0..) |range, i| for (range, 0..) |value, j|
        std.mem.writeInt(u32, buf[12 + i * 8 + j * 4 ..][0..4], value, .little);
    return buf[0 .. 12 + ranges.len * 8];
}

test "pages of a list are stored once" {
    var buf: [16384]u8 = undefined;
    const whole = mutation.example(&buf);
    const file = try request_test.File.init();
    defer sys.close(file.fd);
    const image = try file.holds(whole);
    const mount = try std.testing.allocator.create(request_test.Mount);
    defer std.testing.allocator.destroy(mount);
    try mount.init(&image, try Superblock.parse(whole[0..Superblock.length]));
    defer mount.deinit();
    const node = (try mount.lookup("file")).?;

    var list: [256]u8 = undefined;
    const read = @backingInt(@import("start_entries.zig").Use.read);
    const first = entry(&list, read, file_number, &.{ .{ 0, 2 }, .{ 2, 9 } });
    const second = entry(list[first.len..], read, file_number, &.{.{ 1, 1 }});
    try work(mount, list[0 .. first.len + second.len]);

    const block = stored(mount).?;
    try std.testing.expectEqual(node, block.nodeid);
    try std.testing.expectEqual(mutation.block_size, block.offset);
    try std.testing.expectEqualSlices(u8, &@as([4096]u8, @splat('b')), block.content);
    const tail = stored(mount).?;
    try std.testing.expectEqual(2 * mutation.block_size, tail.offset);
    try std.testing.expectEqualStrings("fragment", tail.content);
    try std.testing.expect(stored(mount) == null);
}

test "lists of any bytes, for whole and damaged images" {
    var buf: [16384]u8 = undefined;
    const whole = mutation.example(&buf);
    const file = try request_test.File.init();
    defer sys.close(file.fd);
    var prng = std.Random.DefaultPrng.init(fuzzing.seed());
    const random = prng.random();
    const mount = try std.testing.allocator.create(request_test.Mount);
    defer std.testing.allocator.destroy(mount);
    for (0..@max(4, fuzzing.rounds(20_000) / 10)) |round| {
        var bytes: [16384]u8 = undefined;
        @memcpy(bytes[0..whole.len], whole);
        if (round % 2 == 1) mutation.damage(bytes[0..whole.len], random);
        const superblock = Superblock.parse(bytes[0..Superblock.length]) catch continue;
        const image = try file.holds(bytes[0..whole.len]);
        mount.init(&image, superblock) catch |err|
            if (err == error.Corrupt) continue else return err;
        defer mount.deinit();
        var list: [160]u8 = undefined;
        random.bytes(&list);
        // Some of it looks like entries.
        if (random.boolean()) {
            const ranges = [_][2]u32{.{
                random.int(u32) >> random.int(u5),
                random.int(u32) >> random.int(u5),
            }};
            _ = entry(&list, random.uintLessThan(u16, 5), random.uintLessThan(u32, 7), &ranges);
        }
        try work(mount, list[0..random.uintAtMost(usize, list.len)]);
        while (stored(mount)) |page| {
            // Nothing but what the file holds, and nothing beyond its end.
            if (round % 2 == 1) continue;
            try std.testing.expect(page.offset + page.content.len <= 2 * mutation.block_size + 8);
            const known = if (page.offset == mutation.block_size) "b" else "fragment";
            try std.testing.expect(std.mem.startsWith(u8, page.content, known));
        }
    }
}
