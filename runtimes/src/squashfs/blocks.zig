//! Decoded data blocks, a bounded number of them, each decoded once while it is wanted: who asks
//! for a block that another thread is decoding waits for it.
const std = @import("std");
const sys = @import("../sys.zig");
const Decoder = @import("../zstd.zig").Decoder;
const Image = @import("image.zig").Image;
const metadata = @import("metadata.zig");
const Stored = @import("data.zig").Stored;

const memory_bound = 8 << 20;
/// A request spans at most 128 KiB, so a thread that answers it holds at most 33 slots of the
/// smallest blocks, and two of those of 128 KiB and more; with these bounds there is always one
/// free for each of `threads_max` threads.
const slots_min = 8;
const slots_max = 256;
pub const threads_max = 4;

pub const Slot = struct {
    key: u64 = none,
    state: std.atomic.Value(u32) = .init(empty),
    pins: u32 = 0,
    used: u64 = 0,
    len: u32 = 0,
    memory: []u8 = &.{},

    const none = std.math.maxInt(u64);
    const empty = 0;
    const loading = 1;
    const ready = 2;
    const corrupt = 3;

    pub fn data(self: *const Slot) []const u8 {
        return self.memory[0..self.len];
    }
};

pub const Blocks = struct {
    image: *const Image,
    mutex: sys.Mutex = .{},
    clock: u64 = 0,
    slots: [slots_max]Slot = @splat(.{}),
    count: usize,
    memory: []align(4096) u8,

    pub fn init(image: *const Image, block_size: usize) !Blocks {
        const count = std.math.clamp(memory_bound / block_size, slots_min, slots_max);
        var self: Blocks = .{ .image = image, .count = count, .memory = try sys.anonymous(count * block_size) };
        for (self.slots[0..count], 0..) |*slot, i| slot.memory = self.memory[i * block_size ..][0..block_size];
        return self;
    }

    /// The decoded block, pinned until `release`.
    pub fn get(self: *Blocks, decoder: Decoder, stored: Stored) metadata.Error!*Slot {
        self.mutex.lock();
        self.clock += 1;
        const slot = self.find(stored.at) orelse {
            const unused = self.victim();
            unused.* = .{ .key = stored.at, .state = .init(Slot.loading), .pins = 1, .used = self.clock, .memory = unused.memory };
            self.mutex.unlock();
            return self.load(decoder, unused, stored);
        };
        slot.pins += 1;
        slot.used = self.clock;
        self.mutex.unlock();
        while (slot.state.load(.acquire) == Slot.loading) sys.futexWait(&slot.state, Slot.loading);
        if (slot.state.load(.acquire) == Slot.ready) return slot;
        self.release(slot);
        return error.Corrupt;
    }

    pub fn release(self: *Blocks, slot: *Slot) void {
        self.mutex.lock();
        slot.pins -= 1;
        self.mutex.unlock();
    }

    fn find(self: *Blocks, key: u64) ?*Slot {
        for (self.slots[0..self.count]) |*slot| if (slot.key == key) return slot;
        return null;
    }

    /// The least recently used slot that nobody holds.
    fn victim(self: *Blocks) *Slot {
        var best: ?*Slot = null;
        for (self.slots[0..self.count]) |*slot| {
            if (slot.pins == 0 and (best == null or slot.used < best.?.used)) best = slot;
        }
        return best.?;
    }

    fn load(self: *Blocks, decoder: Decoder, slot: *Slot, stored: Stored) metadata.Error!*Slot {
        const result = self.decode(decoder, slot, stored);
        if (result) |_| {
            slot.state.store(Slot.ready, .release);
            sys.futexWake(&slot.state, std.math.maxInt(i32));
            return slot;
        } else |err| {
            self.mutex.lock();
            slot.key = Slot.none;
            slot.pins -= 1;
            self.mutex.unlock();
            slot.state.store(Slot.corrupt, .release);
            sys.futexWake(&slot.state, std.math.maxInt(i32));
            return err;
        }
    }

    fn decode(self: *Blocks, decoder: Decoder, slot: *Slot, stored: Stored) metadata.Error!void {
        const size = stored.len();
        if (size == 0 or size > slot.memory.len) return error.Corrupt;
        if (stored.isPlain()) {
            const got = try self.image.read(slot.memory[0..size], stored.at);
            if (got.len != size) return error.Corrupt;
            slot.len = size;
        } else {
            const got = try self.image.read(decoder.input[0..size], stored.at);
            if (got.len != size) return error.Corrupt;
            slot.len = @intCast(try decoder.decode(slot.memory, got));
        }
    }
};
