//! Entry points for libFuzzer (`make fuzz`). The first byte selects the parser. Where most inputs
//! would be refused at once, the rest are changes to a valid input: positions and values.
const std = @import("std");
const config_test = @import("text_formats_test.zig");
const footer = @import("payload/footer.zig");
const policy = @import("config/policy.zig");
const protocol = @import("fuse/protocol.zig");
const mutation = @import("squashfs/mutation_test.zig");
const request_test = @import("fuse/request_test.zig");
const signed_block = @import("payload/signed_block.zig");
const start_list_test = @import("fuse/prefetch/start_list_test.zig");
const yaml = @import("config/yaml.zig");
const Superblock = @import("squashfs/superblock.zig").Superblock;

var arena_state: std.heap.ArenaAllocator = .init(std.heap.page_allocator);
var file: request_test.File = undefined;
var mount: request_test.Mount = undefined;
var image_buffer: [16384]u8 = undefined;
var image: []u8 = undefined;

/// Zig's counters of executed code (-ffuzz).
extern const __start___sancov_cntrs: u8;
extern const __stop___sancov_cntrs: u8;
extern fn __sanitizer_cov_8bit_counters_init(start: *const u8, stop: *const u8) void;

export fn LLVMFuzzerInitialize(_: *c_int, _: *[*][*:0]u8) c_int {
    __sanitizer_cov_8bit_counters_init(&__start___sancov_cntrs, &__stop___sancov_cntrs);
    file = request_test.File.init() catch unreachable;
    image = mutation.example(&image_buffer);
    return 0;
}

export fn LLVMFuzzerTestOneInput(data: [*]const u8, len: usize) c_int {
    if (len == 0) return 0;
    read(data[0], data[1..len]) catch {};
    _ = arena_state.reset(.retain_capacity);
    return 0;
}

fn read(kind: u8, data: []const u8) !void {
    const arena = arena_state.allocator();
    switch (kind % 11) {
        0 => try config_test.readConfig(arena, data),
        1 => try config_test.readConfig(arena, try changed(arena, config_test.document, data)),
        2 => _ = try yaml.parse(arena, data),
        3 => _ = try yaml.parse(arena, try changed(arena, config_test.devices, data)),
        4 => {
            var compressor: []const u8 = "";
            const held: footer.Memory = .{ .bytes = data };
            const payload = try footer.find(held, data.len, &compressor);
            std.debug.assert(payload.offset + payload.superblock.bytes_used <= data.len);
        },
        5 => if (data.len >= Superblock.length) {
            _ = try mutation.readWhole(data, file.fd);
        },
        6 => _ = try mutation.readWhole(try changed(arena, image, data), file.fd),
        7 => try serve(data),
        8 => {
            var block: [signed_block.length]u8 = @splat(0);
            const some = data[0..@min(data.len, block.len)];
            @memcpy(block[0..some.len], some);
            _ = try signed_block.SignedBlock.parse(&block);
            var valid = signed_block.example();
            const other = try changed(arena, &valid, data);
            _ = try signed_block.SignedBlock.parse(other[0..block.len]);
        },
        9 => {
            var line: usize = 0;
            _ = policy.keysFor(try policy.parse(arena, data, &line), "/opt/some/tool");
        },
        else => {
            const held = try file.holds(image);
            try mount.init(&held, try Superblock.parse(image[0..Superblock.length]));
            defer mount.deinit();
            try start_list_test.work(&mount, data[0..@min(data.len, 160)]);
        },
    }
}

/// Three bytes a change: two are the position.
fn changed(arena: std.mem.Allocator, whole: []const u8, changes: []const u8) ![]u8 {
    const out = try arena.dupe(u8, whole);
    for (0..changes.len / 3) |i|
        out[std.mem.readInt(u16, changes[i * 3 ..][0..2], .little) % out.len] = changes[i * 3 + 2];
    return out;
}

/// Requests to a valid image: a byte for the opcode, one for the node, and the body.
fn serve(data: []const u8) !void {
    const length = 2 + 40;
    const held = try file.holds(image);
    try mount.init(&held, try Superblock.parse(image[0..Superblock.length]));
    defer mount.deinit();
    const nodes = [_]u64{
        protocol.root_id,
        try mount.lookup("file") orelse 0,
        try mount.lookup("link") orelse 0,
        try mount.lookup("dev") orelse 0,
    };
    for (0..@min(64, data.len / length)) |i| {
        const request = data[i * length ..][0..length];
        const node = if (request[1] < 128)
            nodes[request[1] % nodes.len]
        else
            std.mem.readInt(u64, request[2..10], .little);
        const answer = try mount.ask(@fromBackingInt(request[0]), node, request[2..]) orelse
            continue;
        std.debug.assert(answer.err <= 0 and answer.err > -4096);
        try mount.prefetchAll();
    }
}
