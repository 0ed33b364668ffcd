//! Requests that no kernel would send, on valid and damaged images: each gets one reply, not larger
//! than was asked for. A socket takes the place of /dev/fuse.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const fuzzing = @import("../base/fuzzing.zig");
const protocol = @import("protocol.zig");
const mutation = @import("../squashfs/mutation_test.zig");
const CpuPolicy = @import("../process/cpu_policy.zig").CpuPolicy;
const Owners = @import("../namespaces/owners.zig").Owners;
const Quiesce = @import("../process/quiesce.zig").Quiesce;
const Prefetcher = @import("prefetch/prefetcher.zig").Prefetcher;
const Image = @import("../squashfs/image.zig").Image;
const ReaddirCache = @import("readdir_cache.zig").ReaddirCache;
const RequestHandler = @import("requests.zig").RequestHandler;
const Reader = @import("../squashfs/reader.zig").Reader;
const Superblock = @import("../squashfs/superblock.zig").Superblock;

const Answer = struct { err: i32, body: []const u8 };

/// A mount without a kernel.
pub const Mount = struct {
    kernel: sys.fd_t,
    device: sys.fd_t,
    reader: Reader,
    readdir_cache: ReaddirCache = .{},
    cpus: CpuPolicy = .{ .caller_mask = .{} },
    quiesce: Quiesce = .{},
    prefetcher: Prefetcher = undefined,
    handler: RequestHandler = undefined,
    answer: [1 << 18]u8 = undefined,

    pub fn init(self: *Mount, image: *const Image, superblock: Superblock) !void {
        const unix = 1;
        const sequenced_packets = 5;
        var pair: [2]sys.fd_t = undefined;
        try sys.do(.socketpair, .{ unix, sequenced_packets, 0, &pair });
        self.* = .{ .kernel = pair[0], .device = pair[1], .reader = undefined };
        try self.reader.init(image, superblock);
        self.prefetcher = .init(
            &self.reader,
            &self.cpus,
            &self.quiesce,
            try .init(self.device),
            &self.readdir_cache,
            -1,
        );
        self.handler = .{
            .channel = try .init(self.device),
            .reader = &self.reader,
            .owners = &Owners.all,
            .readdir_cache = &self.readdir_cache,
            .prefetcher = &self.prefetcher,
            .decoder = try self.reader.newDecoder(),
        };
    }

    pub fn deinit(self: *Mount) void {
        sys.close(self.kernel);
        sys.close(self.device);
        sys.release(std.mem.sliceAsBytes(self.reader.metadata.slots));
        sys.release(self.reader.blocks.memory);
        sys.release(std.mem.sliceAsBytes(self.reader.ids));
        sys.release(self.handler.decoder.memory);
        self.prefetcher.channel.deinit();
        self.handler.channel.deinit();
    }

    /// The reply's error and body; null for requests that get none.
    pub fn ask(self: *Mount, opcode: protocol.Opcode, nodeid: u64, body: []const u8) !?Answer {
        const header: protocol.InHeader = .{
            .len = @intCast(@sizeOf(protocol.InHeader) + body.len),
            .opcode = opcode,
            .unique = 7,
            .nodeid = nodeid,
            .uid = 0,
            .gid = 0,
            .pid = 0,
            .extension_len = 0,
            .padding = 0,
        };
        const parts = [_]std.posix.iovec_const{
            .{ .base = std.mem.asBytes(&header), .len = @sizeOf(protocol.InHeader) },
            .{ .base = body.ptr, .len = body.len },
        };
        try sys.do(.writev, .{ self.kernel, &parts, parts.len });
        _ = try self.handler.serveOne();
        const dont_wait = 0x40;
        const n = sys.call(
            .recvfrom,
            .{ self.kernel, &self.answer, self.answer.len, dont_wait, 0, 0 },
        ) catch |err| {
            if (err == error.AGAIN) return null;
            return err;
        };
        const out: *align(1) const protocol.OutHeader = @ptrCast(&self.answer);
        try std.testing.expectEqual(header.unique, out.unique);
        try std.testing.expectEqual(n, out.len);
        return .{ .err = out.err, .body = self.answer[@sizeOf(protocol.OutHeader)..n] };
    }

    fn read(self: *Mount, nodeid: u64, offset: u64, size: u32) !?Answer {
        const in: protocol.ReadIn = .{
            .handle = 0,
            .offset = offset,
            .size = size,
            .read_flags = 0,
            .lock_owner = 0,
            .flags = 0,
            .padding = 0,
        };
        return self.ask(.read, nodeid, std.mem.asBytes(&in));
    }

    /// Runs all prefetch jobs and drops what they send.
    pub fn prefetchAll(self: *Mount) !void {
        while (self.prefetcher.step(self.handler.decoder)) {}
        const dont_wait = 0x40;
        while (sys.call(
            .recvfrom,
            .{ self.kernel, &self.answer, self.answer.len, dont_wait, 0, 0 },
        )) |_| {} else |_| {}
    }

    pub fn lookup(self: *Mount, name: [:0]const u8) !?u64 {
        const answer = (try self.ask(.lookup, protocol.root_id, name[0 .. name.len + 1])).?;
        if (answer.err != 0) return null;
        return std.mem.readInt(u64, answer.body[0..8], .little);
    }
};

pub const File = struct {
    fd: sys.fd_t,

    pub fn init() !File {
        return .{ .fd = @intCast(try sys.call(.memfd_create, .{ "image", 0 })) };
    }

    pub fn holds(self: File, bytes: []const u8) !Image {
        try sys.do(.pwrite64, .{ self.fd, bytes.ptr, bytes.len, 0 });
        return .{ .fd = self.fd, .start = 0, .len = bytes.len };
    }
};

const interesting = [_]u64{
    0,
    1,
    2,
    3,
    4095,
    4096,
    8192,
    8200,
    1 << 17,
    (1 << 32) - 1,
    1 << 47,
    (1 << 63) - 1,
    1 << 63,
    std.math.maxInt(u64),
};

fn anyNumber(random: std.Random) u64 {
    return if (random.boolean())
        interesting[random.uintLessThan(usize, interesting.len)]
    else
        random.int(u64) >> random.int(u6);
}

test "requests of all kinds, on whole and damaged images" {
    var buf: [16384]u8 = undefined;
    const whole = mutation.example(&buf);
    const file = try File.init();
    defer sys.close(file.fd);
    var prng = std.Random.DefaultPrng.init(fuzzing.seed());
    const random = prng.random();
    const opcodes = std.enums.values(protocol.Opcode);
    const mount = try std.testing.allocator.create(Mount);
    defer std.testing.allocator.destroy(mount);

    for (0..@max(1, fuzzing.rounds(20_000) / 100)) |round| {
        var bytes: [16384]u8 = undefined;
        @memcpy(bytes[0..whole.len], whole);
        if (round > 0) mutation.damage(bytes[0..whole.len], random);
        const superblock = Superblock.parse(bytes[0..Superblock.length]) catch continue;
        const image = try file.holds(bytes[0..whole.len]);
        mount.init(&image, superblock) catch |err|
            if (err == error.Corrupt) continue else return err;
        defer mount.deinit();
        var nodes = [_]u64{
            protocol.root_id,
            2,
            try mount.lookup("file") orelse 0,
            try mount.lookup("link") orelse 0,
            try mount.lookup("dev") orelse 0,
            try mount.lookup("dir") orelse 0,
            0,
        };
        for (0..100) |_| {
            nodes[nodes.len - 1] = anyNumber(random);
            var body: [512]u8 = undefined;
            random.bytes(&body);
            // Where sizes and offsets stand in requests.
            for ([_]usize{ 0, 8, 16 }) |at|
                std.mem.writeInt(u64, body[at..][0..8], anyNumber(random), .little);
            const opcode = if (random.uintLessThan(u8, 16) == 0)
                @as(protocol.Opcode, @fromBackingInt(random.int(u32)))
            else
                opcodes[random.uintLessThan(usize, opcodes.len)];
            const answer = try mount.ask(opcode, nodes[
                random.uintLessThan(
                    usize,
                    nodes.len,
                )
            ], body[0..random.uintLessThan(usize, body.len)]) orelse {
                try std.testing.expect(opcode == .forget or
                    opcode == .batch_forget or opcode == .destroy or opcode == .interrupt);
                continue;
            };
            try std.testing.expect(answer.err <= 0 and answer.err > -4096);
            if (opcode == .read and answer.err == 0) try std.testing.expect(
                answer.body.len <= std.mem.readInt(u32, body[16..20], .little),
            );
            if (random.uintLessThan(u8, 8) == 0) try mount.prefetchAll();
            mount.prefetcher.directories.go(
                mount.handler.decoder,
                nodes[random.uintLessThan(usize, nodes.len)] -| (protocol.root_id + 1),
            ) catch {};
        }
    }
}

test "a corrupt block is an error for its readers only" {
    var buf: [16384]u8 = undefined;
    const whole = mutation.example(&buf);
    // The block's size word without its bit "stored as it is": its content is not zstd.
    const word = std.mem.find(u8, whole, &.{ 0, 0x10, 0, 1 }).?;
    whole[word + 3] = 0;
    const file = try File.init();
    defer sys.close(file.fd);
    const image = try file.holds(whole);
    const mount = try std.testing.allocator.create(Mount);
    defer std.testing.allocator.destroy(mount);
    try mount.init(&image, try Superblock.parse(whole[0..Superblock.length]));
    defer mount.deinit();

    const node = (try mount.lookup("file")).?;
    const input_output_error = -5;
    const block = mutation.block_size;
    for (0..40) |_| {
        try std.testing.expectEqual(input_output_error, (try mount.read(node, block, block)).?.err);
        try std.testing.expectEqual(input_output_error, (try mount.read(node, 0, 3 * block)).?.err);
        const hole = (try mount.read(node, 0, block)).?;
        try std.testing.expectEqual(0, hole.err);
        try std.testing.expectEqualSlices(u8, &(@as([block]u8, @splat(0))), hole.body);
        try std.testing.expectEqualStrings(
            "fragment",
            (try mount.read(node, 2 * block, block)).?.body,
        );
        try mount.prefetchAll();
    }
}
