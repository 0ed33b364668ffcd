//! A cache of decoded data blocks, bounded, each decoded once while it is in use. A thread that
//! needs a block that another thread is decoding waits until the part that it needs is decoded.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const futex = @import("../base/futex.zig");
const zstd = @import("../base/zstd.zig");
const Decoder = zstd.Decoder;
const Around = @import("image.zig").Around;
const Image = @import("image.zig").Image;
const metadata = @import("metadata.zig");

const memory_bound = 16 << 20;
/// A request spans at most 128 KiB, so a thread that answers it holds at most 33 slots of the
/// smallest blocks, and two of those of 128 KiB and more; a prefetching thread holds one. With
/// these limits there is always a free slot for each.
const slots_min = 12;
const slots_max = 256;
pub const threads_max = 4;

/// A stored block: where, and its size word (bit 24: stored as it is).
pub const Stored = struct {
    at: u64,
    word: u32,

    pub fn len(self: Stored) u32 {
        return self.word & 0xff_ffff;
    }

    pub fn isPlain(self: Stored) bool {
        return self.word & (1 << 24) != 0;
    }
};

pub const Slot = struct {
    key: u64 = none,
    /// Bytes decoded so far, and how it ended.
    progress: std.atomic.Value(u32) = .init(0),
    waiting: std.atomic.Value(u32) = .init(0),
    pins: u32 = 0,
    used: u64 = 0,
    memory: []u8 = &.{},
    /// The state of the decoding thread, and what is stored.
    frame: zstd.Frame = undefined,
    stored: Around = undefined,

    const none = std.math.maxInt(u64);
    const left = 1 << 29;
    const whole = 1 << 30;
    const corrupt = 1 << 31;

    /// What is decoded so far.
    pub fn data(self: *const Slot) []const u8 {
        return self.memory[0 .. self.progress.load(.acquire) & (left - 1)];
    }

    fn has(self: *const Slot, need: u32) metadata.Error!bool {
        const word = self.progress.load(.acquire);
        if (word & corrupt != 0) return error.Corrupt;
        return word & whole != 0 or word & (left - 1) >= need;
    }

    /// Decoding has stopped before the end.
    fn isLeft(self: *const Slot) bool {
        return self.progress.load(.acquire) & left != 0;
    }

    // Either the waiter sees the new word, or the publisher sees the waiter: all four accesses are
    // sequentially consistent.
    fn publish(self: *Slot, word: u32) void {
        self.progress.store(word, .seq_cst);
        if (self.waiting.load(.seq_cst) > 0) futex.wake(&self.progress, std.math.maxInt(i32));
    }

    fn wait(self: *Slot, need: u32) void {
        _ = self.waiting.fetchAdd(1, .seq_cst);
        defer _ = self.waiting.fetchSub(1, .seq_cst);
        const word = self.progress.load(.seq_cst);
        if (word & (left | whole | corrupt) == 0 and word < need) futex.wait(&self.progress, word);
    }
};

/// A pinned slot; `unfinished` when the caller has still to decode the rest, `fresh` when the block
/// was not there before.
pub const Held = struct { slot: *Slot, unfinished: bool = false, fresh: bool = true };

/// A value of `need`: the whole block.
const everything = std.math.maxInt(u32);

pub const Blocks = struct {
    image: *const Image,
    mutex: futex.Mutex = .{},
    clock: u64 = 0,
    slots: [slots_max]Slot = undefined,
    count: usize,
    memory: []align(4096) u8,

    pub fn init(image: *const Image, block_size: usize) !Blocks {
        const count = std.math.clamp(memory_bound / block_size, slots_min, slots_max);
        var self: Blocks = .{
            .image = image,
            .count = count,
            .memory = try sys.anonymous(count * block_size),
        };
        sys.wantHugePages(self.memory);
        for (self.slots[0..count], 0..) |*slot, i|
            slot.* = .{ .memory = self.memory[i * block_size ..][0..block_size] };
        return self;
    }

    /// Before a fork: forgets blocks, which can be read again. The first of all takes a huge page;
    /// if a child had that, too, the kernel would copy it page by page as others are decoded into
    /// it.
    pub fn forget(self: *Blocks) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        for (self.slots[0..self.count]) |*slot| if (slot.pins != 0) return;
        for (self.slots[0..self.count]) |*slot| slot.key = Slot.none;
        sys.discard(self.memory);
    }

    /// The whole block, pinned until `release`.
    pub fn get(self: *Blocks, decoder: Decoder, stored: Stored) metadata.Error!*Slot {
        return (try self.begin(decoder, stored, everything)).slot;
    }

    /// The block with at least its first `need` bytes decoded, pinned until `release`. If it is
    /// left unfinished, `finish` or `leave` it before the decoder is used for anything else.
    pub fn begin(self: *Blocks, decoder: Decoder, stored: Stored, need: u32) metadata.Error!Held {
        self.mutex.lock();
        self.clock += 1;
        while (self.find(stored.at)) |slot| {
            slot.pins += 1;
            slot.used = self.clock;
            self.mutex.unlock();
            errdefer self.release(slot);
            while (!try slot.has(need) and !slot.isLeft()) slot.wait(need);
            if (try slot.has(need)) return .{ .slot = slot, .fresh = false };
            // A decoder cannot continue the work of another: decode from the start, into another
            // slot, for this one may still be in use.
            self.mutex.lock();
            slot.pins -= 1;
            slot.key = Slot.none;
        }
        const slot = self.victim();
        // One pin is for the caller, one for the decoding.
        slot.* = .{ .key = stored.at, .pins = 2, .used = self.clock, .memory = slot.memory };
        self.mutex.unlock();
        return self.load(decoder, slot, stored, need) catch |err| {
            self.abandon(slot);
            self.release(slot);
            return err;
        };
    }

    pub fn release(self: *Blocks, slot: *Slot) void {
        self.mutex.lock();
        slot.pins -= 1;
        self.mutex.unlock();
    }

    /// Releases a block that will hardly be needed again: its slot is reused first.
    pub fn retire(self: *Blocks, slot: *Slot) void {
        self.mutex.lock();
        slot.pins -= 1;
        slot.used = 0;
        self.mutex.unlock();
    }

    /// Decodes the rest of a block that `begin` left unfinished.
    pub fn finish(self: *Blocks, decoder: Decoder, slot: *Slot) void {
        _ = self.advance(decoder, slot, everything) catch self.abandon(slot);
    }

    /// Leaves the rest undecoded: a thread that needs more decodes the block again.
    pub fn leave(self: *Blocks, slot: *Slot) void {
        slot.publish(@as(u32, @intCast(slot.frame.produced)) | Slot.left);
        self.release(slot);
    }

    fn find(self: *Blocks, key: u64) ?*Slot {
        for (self.slots[0..self.count]) |*slot| if (slot.key == key) return slot;
        return null;
    }

    /// The least recently used slot that is not pinned.
    fn victim(self: *Blocks) *Slot {
        var best: ?*Slot = null;
        for (self.slots[0..self.count]) |*slot| {
            if (slot.pins == 0 and (best == null or slot.used < best.?.used)) best = slot;
        }
        return best.?;
    }

    fn load(
        self: *Blocks,
        decoder: Decoder,
        slot: *Slot,
        stored: Stored,
        need: u32,
    ) metadata.Error!Held {
        const size = stored.len();
        if (size == 0 or size > slot.memory.len) return error.Corrupt;
        if (stored.isPlain()) {
            const got = try self.image.read(slot.memory[0..size], stored.at);
            if (got.len != size) return error.Corrupt;
            self.complete(slot, size);
            return .{ .slot = slot };
        }
        slot.stored = try self.image.readAround(decoder.input, stored.at, size);
        const got = slot.stored.bytes();
        if (got.len != size) return error.Corrupt;
        slot.frame = try .init(decoder, got);
        return .{ .slot = slot, .unfinished = try self.advance(decoder, slot, need) };
    }

    /// Has the image check what the decoder is to see, and no more: hashing takes time, too.
    const Check = struct {
        blocks: *const Blocks,
        slot: *Slot,

        pub fn upTo(self: Check, count: usize) metadata.Error!void {
            return self.blocks.image.checkUpTo(&self.slot.stored, count);
        }
    };

    /// Decodes up to `need` bytes; returns whether some may be left.
    fn advance(self: *Blocks, decoder: Decoder, slot: *Slot, need: u32) metadata.Error!bool {
        while (slot.frame.produced < need) {
            if (!try slot.frame.step(decoder, slot.memory, Check{ .blocks = self, .slot = slot })) {
                self.complete(slot, @intCast(slot.frame.produced));
                return false;
            }
            slot.publish(@intCast(slot.frame.produced));
            if (decoder.yields_while) |so| if (so.load(.monotonic)) {
                _ = sys.raw(.sched_yield, .{});
            };
        }
        return true;
    }

    fn complete(self: *Blocks, slot: *Slot, len: u32) void {
        slot.publish(len | Slot.whole);
        self.release(slot);
    }

    /// After an error: the slot is not found any more, waiting threads get the error, and those
    /// that need only what is decoded keep it.
    fn abandon(self: *Blocks, slot: *Slot) void {
        slot.publish(slot.progress.load(.monotonic) & (Slot.left - 1) | Slot.corrupt);
        self.mutex.lock();
        slot.key = Slot.none;
        slot.pins -= 1;
        self.mutex.unlock();
    }
};

test "a block that is damaged after what its readers need" {
    // RFC 8878: a frame with a window of 128 KiB, a raw block of 8 bytes, one of a type that there
    // is not.
    const frame = [_]u8{ 0x28, 0xb5, 0x2f, 0xfd, 0, 0x38 } ++
        [_]u8{ 8 << 3, 0, 0 } ++ "is there".* ++ [_]u8{ 3 << 1, 0, 0 };
    const fd: sys.fd_t = @intCast(try sys.call(.memfd_create, .{ "image", 0 }));
    defer sys.close(fd);
    try sys.do(.pwrite64, .{ fd, &frame, frame.len, 0 });
    const image: Image = .{ .fd = fd, .start = 0, .len = frame.len };
    const decoder = try Decoder.init(4096);
    defer sys.release(decoder.memory);
    var blocks = try Blocks.init(&image, 4096);
    defer sys.release(blocks.memory);
    const stored: Stored = .{ .at = 0, .word = frame.len };

    const first = try blocks.begin(decoder, stored, 8);
    try std.testing.expect(first.unfinished);
    const second = try blocks.begin(decoder, stored, 4);
    blocks.finish(decoder, first.slot);
    // Both keep what they need; a reader of more gets the error.
    try std.testing.expectEqualStrings("is there", first.slot.data());
    try std.testing.expectEqualStrings("is there", second.slot.data());
    for ([_]Held{ first, second }) |held| blocks.release(held.slot);
    try std.testing.expectError(error.Corrupt, blocks.get(decoder, stored));
    for (blocks.slots[0..blocks.count]) |slot| try std.testing.expectEqual(0, slot.pins);
}
