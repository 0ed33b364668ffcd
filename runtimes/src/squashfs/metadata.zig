//! Metadata (inodes, directories, tables) is kept in blocks of at most 8 KiB, each with a 16-bit
//! header: its stored size, and bit 15 for "stored as it is". Decoded blocks are cached in a fixed
//! number of slots; a reader copies what it needs under the slot's lock, so a slot can be reused at
//! any time.
const sys = @import("../base/syscalls.zig");
const futex = @import("../base/futex.zig");
const bytes = @import("../base/bytes.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const Image = @import("image.zig").Image;

pub const block_size = 8192;
const slot_bits = 9;
const slot_count = 1 << slot_bits;

const Slot = struct {
    mutex: futex.Mutex,
    /// The block's position in the image, plus one; 0 is an empty slot.
    tag: u64,
    next: u64,
    len: u32,
    data: [block_size]u8,
};

pub const Error = sys.Error || error{Corrupt};

/// A position in a table, as the image stores it: that of a block, counted from the table's start,
/// << 16 | the offset in the decoded block.
pub const Reference = u64;

/// A position in a chain of metadata blocks.
pub const Cursor = struct {
    block: u64,
    offset: u32,
};

pub const Metadata = struct {
    image: *const Image,
    slots: []Slot,

    pub fn init(image: *const Image) !Metadata {
        const memory = try sys.anonymous(slot_count * @sizeOf(Slot));
        return .{ .image = image, .slots = @as([*]Slot, @ptrCast(memory.ptr))[0..slot_count] };
    }

    /// Fills `out` from the cursor on and moves the cursor behind it.
    pub fn read(self: *const Metadata, decoder: Decoder, cursor: *Cursor, out: []u8) Error!void {
        var done: usize = 0;
        while (done < out.len) {
            const slot = self.slotOf(cursor.block);
            slot.mutex.lock();
            defer slot.mutex.unlock();
            try self.load(decoder, slot, cursor.block);
            if (cursor.offset > slot.len) return error.Corrupt;
            const n = @min(out.len - done, slot.len - cursor.offset);
            @memcpy(out[done..][0..n], slot.data[cursor.offset..][0..n]);
            done += n;
            cursor.offset += @intCast(n);
            advance(cursor, slot);
        }
    }

    /// As much of `out` as the block of the cursor has, but never nothing; moves the cursor.
    pub fn readSome(
        self: *const Metadata,
        decoder: Decoder,
        cursor: *Cursor,
        out: []u8,
    ) Error![]u8 {
        const slot = self.slotOf(cursor.block);
        slot.mutex.lock();
        defer slot.mutex.unlock();
        try self.load(decoder, slot, cursor.block);
        if (cursor.offset >= slot.len) return error.Corrupt;
        const n = @min(out.len, slot.len - cursor.offset);
        @memcpy(out[0..n], slot.data[cursor.offset..][0..n]);
        cursor.offset += @intCast(n);
        advance(cursor, slot);
        return out[0..n];
    }

    pub fn skip(self: *const Metadata, decoder: Decoder, cursor: *Cursor, count: u64) Error!void {
        var left = count;
        while (left > 0) {
            const slot = self.slotOf(cursor.block);
            slot.mutex.lock();
            defer slot.mutex.unlock();
            try self.load(decoder, slot, cursor.block);
            if (cursor.offset > slot.len) return error.Corrupt;
            const n = @min(left, slot.len - cursor.offset);
            left -= n;
            cursor.offset += @intCast(n);
            advance(cursor, slot);
        }
    }

    fn advance(cursor: *Cursor, slot: *const Slot) void {
        if (cursor.offset != slot.len) return;
        cursor.* = .{ .block = slot.next, .offset = 0 };
    }

    fn slotOf(self: *const Metadata, block: u64) *Slot {
        // Fibonacci hashing; the top bits are the well-mixed ones.
        const hash = (block +% 1) *% @as(u64, 0x9e37_79b9_7f4a_7c15);
        return &self.slots[@intCast(hash >> (64 - slot_bits))];
    }

    /// Of a block, which says itself how long it is.
    fn needed(got: []const u8) usize {
        return if (got.len < 2) 0 else 2 + @as(usize, bytes.u16At(got, 0) & 0x7fff);
    }

    fn load(self: *const Metadata, decoder: Decoder, slot: *Slot, block: u64) Error!void {
        if (slot.tag == block + 1) return;
        slot.tag = 0;
        const got = try self.image.readStart(decoder.input, block, 2 + block_size, needed);
        if (got.len < 2) return error.Corrupt;
        const header = bytes.u16At(got, 0);
        const stored = header & 0x7fff;
        if (stored == 0 or stored > block_size or got.len < 2 + @as(usize, stored))
            return error.Corrupt;
        const data = got[2..][0..stored];
        if (header & 0x8000 != 0) {
            @memcpy(slot.data[0..data.len], data);
            slot.len = stored;
        } else {
            slot.len = @intCast(try decoder.decode(&slot.data, data));
        }
        // With empty blocks a reader would loop for ever.
        if (slot.len == 0) return error.Corrupt;
        slot.next = block + 2 + stored;
        slot.tag = block + 1;
    }
};
