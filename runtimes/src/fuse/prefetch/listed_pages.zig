//! What is in the start list, and which of its pages the kernel has got: a hash table of parts of
//! files, and of names.
const std = @import("std");

const slots_log = 15;
const part_pages = 32;
/// Pages of one range.
const range_max = 1 << 16;
/// Slots that are searched for a part.
const probes_max = 8;

const Slot = struct {
    /// 0 if it is free.
    key: u32,
    /// Pages of the part that are in the list, and those that were delivered.
    listed: u32,
    delivered: std.atomic.Value(u32),
    /// Where the part's entry is in the list.
    entry: u32,
};

/// The parts of no page: that there is any page of the file, and that it is named.
const whole_file = std.math.maxInt(u64);
const its_name = whole_file - 1;

pub const ListedPages = struct {
    slots: [1 << slots_log]Slot,

    fn slotOf(self: *ListedPages, number: u32, part: u64, make: bool) ?*Slot {
        const hash = (number +% part *% 0x1_0000_0001) *% 0x9e37_79b9_7f4a_7c15;
        const key: u32 = @truncate(hash >> 8 | 1);
        for (0..probes_max) |i| {
            const slot = &self.slots[@intCast(((hash >> (64 - slots_log)) + i) % self.slots.len)];
            if (make and slot.key == 0) slot.key = key;
            if (slot.key == key) return slot;
            if (slot.key == 0) return null;
        }
        return null;
    }

    fn maskOf(part: u64, first: u64, end: u64) u32 {
        const from: u6 = @intCast(@max(first, part * part_pages) - part * part_pages);
        const to: u6 = @intCast(@min(end, (part + 1) * part_pages) - part * part_pages);
        return @truncate((@as(u64, 1) << to) - (@as(u64, 1) << from));
    }

    pub fn addName(self: *ListedPages, number: u32) void {
        _ = self.slotOf(number, its_name, true);
    }

    pub fn hasName(self: *ListedPages, number: u32) bool {
        return self.slotOf(number, its_name, false) != null;
    }

    /// Whether there is any page of the file.
    pub fn hasFile(self: *ListedPages, number: u32) bool {
        return self.slotOf(number, whole_file, false) != null;
    }

    /// Pages of the entry at `entry` of the list.
    pub fn add(self: *ListedPages, entry: u32, number: u32, first: u64, end: u64) void {
        _ = self.slotOf(number, whole_file, true);
        var part = first / part_pages;
        // More does not fit.
        const last = @min(end, first + range_max);
        while (part * part_pages < last) : (part += 1) {
            const slot = self.slotOf(number, part, true) orelse return;
            slot.listed |= maskOf(part, first, end);
            slot.entry = entry;
        }
    }

    /// Marks pages as delivered. Returns the last of their entries; null if none of them is in the
    /// list.
    pub fn deliver(self: *ListedPages, number: u32, first: u64, end: u64) ?u32 {
        var last: ?u32 = null;
        var part = first / part_pages;
        while (part * part_pages < end) : (part += 1) {
            const slot = self.slotOf(number, part, false) orelse continue;
            const mask = maskOf(part, first, end);
            if (slot.listed & mask != 0) last = @max(last orelse 0, slot.entry);
            _ = slot.delivered.fetchOr(mask, .monotonic);
        }
        return last;
    }

    /// The range without what was delivered at its start and its end.
    pub fn missing(self: *ListedPages, number: u32, first: u64, end: u64) struct { u64, u64 } {
        var from = first;
        while (from < end and self.isDelivered(number, from)) from += 1;
        var to = end;
        while (to > from and self.isDelivered(number, to - 1)) to -= 1;
        return .{ from, to };
    }

    fn isDelivered(self: *ListedPages, number: u32, page: u64) bool {
        const slot = self.slotOf(number, page / part_pages, false) orelse return false;
        return slot.delivered.load(.monotonic) >> @intCast(page % part_pages) & 1 != 0;
    }
};
