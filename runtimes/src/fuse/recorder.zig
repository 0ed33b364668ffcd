//! Records what a program uses of the image, in the order of first use: names looked up,
//! directories listed, and pages read (docs/profiles.md). While it records, nothing is prefetched,
//! and the kernel reads no page ahead, so that each page that is used is asked for.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const futex = @import("../base/futex.zig");
const Reference = @import("../squashfs/inode.zig").Reference;

const names_log = 17;
const events_log = 18;
/// Names and events; what comes later is not recorded.
pub const names_max = 1 << (names_log - 1);
pub const events_max = 1 << (events_log - 1);
const text_max = 8 << 20;
pub const page = 4096;
/// Pages of one event.
pub const pages_per_part = 32;

/// A name in a directory. The first is the root of the mount, which has none.
pub const Name = struct {
    /// The number of the directory's name, which is smaller than its own.
    parent: u32,
    start: u32,
    len: u32,
    reference: Reference,
};

pub const Kind = enum(u32) { name, absent, list, read };

pub const Event = struct {
    kind: Kind,
    name: u32,
    /// Of a file that was read: which part of it, and the pages in that part.
    part: u32 = 0,
    pages: u32 = 0,
};

pub const Recorder = struct {
    mutex: futex.Mutex = .{},
    /// The file that is executed.
    program: ?Reference = null,
    names: []Name,
    name_count: u32 = 0,
    events: []Event,
    event_count: u32 = 0,
    text: []u8,
    text_len: u32 = 0,
    /// Hash tables of numbers plus one: a name by its inode, an event by what it is.
    by_inode: []u32,
    by_event: []u32,

    pub fn init(root: Reference) !Recorder {
        var self: Recorder = .{
            .names = try table(Name, names_max),
            .events = try table(Event, events_max),
            .text = try sys.anonymous(text_max),
            .by_inode = try table(u32, 1 << names_log),
            .by_event = try table(u32, 1 << events_log),
        };
        _ = self.addName(0, "", root);
        return self;
    }

    /// After a LOOKUP; `found` is null where there is no such name.
    pub fn lookedUp(
        self: *Recorder,
        directory: Reference,
        name: []const u8,
        found: ?Reference,
    ) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        const parent = self.nameOf(directory) orelse return;
        var hash: u64 = parent;
        for (name) |byte| hash = (hash ^ byte) *% 0x100_0000_01b3;
        const slot = self.eventSlot(hash, .{ .name = .{ .parent = parent, .text = name } });
        if (self.by_event[slot] != 0) return;
        const number = self.addName(parent, name, found) orelse return;
        self.add(slot, .{ .kind = if (found == null) .absent else .name, .name = number });
    }

    /// After a listing was asked for.
    pub fn listed(self: *Recorder, directory: Reference) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        const number = self.nameOf(directory) orelse return;
        const event: Event = .{ .kind = .list, .name = number };
        self.add(self.eventSlot(~@as(u64, number), .{ .event = event }), event);
    }

    /// After a READ of the bytes from `from` to `to`.
    pub fn read(self: *Recorder, file: Reference, from: u64, to: u64) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        const number = self.nameOf(file) orelse return;
        var at = from / page;
        while (at * page < to) : (at += 1) {
            const part: u32 = std.math.cast(u32, at / pages_per_part) orelse return;
            const bit = @as(u32, 1) << @intCast(at % pages_per_part);
            const event: Event = .{ .kind = .read, .name = number, .part = part };
            const slot = self.eventSlot(@as(u64, number) << 32 | part, .{ .event = event });
            self.add(slot, event);
            if (self.by_event[slot] == 0) return;
            self.events[self.by_event[slot] - 1].pages |= bit;
        }
    }

    /// Null where it was reached by no name that is known.
    pub fn nameOf(self: *const Recorder, reference: Reference) ?u32 {
        const number = self.by_inode[self.inodeSlot(reference)];
        return if (number == 0) null else number - 1;
    }

    /// The path from the root of the mount, without a slash at its start; null if it is longer than
    /// any path.
    pub fn pathOf(self: *const Recorder, number: u32, buf: *[std.posix.PATH_MAX]u8) ?[]const u8 {
        var start: usize = buf.len;
        var at = number;
        while (at != 0) : (at = self.names[at].parent) {
            const name = self.names[at];
            if (start < name.len + 1) return null;
            if (start < buf.len) {
                start -= 1;
                buf[start] = '/';
            }
            start -= name.len;
            @memcpy(buf[start..][0..name.len], self.text[name.start..][0..name.len]);
        }
        return buf[start..];
    }

    fn addName(self: *Recorder, parent: u32, name: []const u8, found: ?Reference) ?u32 {
        if (self.name_count == names_max or name.len > text_max - self.text_len) return null;
        const number = self.name_count;
        self.names[number] = .{
            .parent = parent,
            .start = self.text_len,
            .len = @intCast(name.len),
            .reference = found orelse 0,
        };
        @memcpy(self.text[self.text_len..][0..name.len], name);
        self.text_len += @intCast(name.len);
        self.name_count += 1;
        if (found) |reference| {
            // Of several names of a file the first is kept.
            const slot = self.inodeSlot(reference);
            if (self.by_inode[slot] == 0) self.by_inode[slot] = number + 1;
        }
        return number;
    }

    fn add(self: *Recorder, slot: usize, event: Event) void {
        if (self.by_event[slot] != 0 or self.event_count == events_max) return;
        self.events[self.event_count] = event;
        self.event_count += 1;
        self.by_event[slot] = self.event_count;
    }

    // Half of a table stays free, so that each search ends.

    fn inodeSlot(self: *const Recorder, reference: Reference) usize {
        var slot: usize = @intCast(mix(reference) >> (64 - names_log));
        while (true) : (slot = (slot + 1) % self.by_inode.len) {
            const number = self.by_inode[slot];
            if (number == 0 or self.names[number - 1].reference == reference) return slot;
        }
    }

    const Sought = union(enum) {
        event: Event,
        name: struct { parent: u32, text: []const u8 },
    };

    fn eventSlot(self: *const Recorder, hash: u64, sought: Sought) usize {
        var slot: usize = @intCast(mix(hash) >> (64 - events_log));
        while (true) : (slot = (slot + 1) % self.by_event.len) {
            const number = self.by_event[slot];
            if (number == 0 or self.isSought(&self.events[number - 1], sought)) return slot;
        }
    }

    fn isSought(self: *const Recorder, event: *const Event, sought: Sought) bool {
        switch (sought) {
            .event => |like| return event.kind == like.kind and event.name == like.name and
                event.part == like.part,
            .name => |like| {
                const name = self.names[event.name];
                return (event.kind == .name or event.kind == .absent) and
                    name.parent == like.parent and
                    std.mem.eql(u8, self.text[name.start..][0..name.len], like.text);
            },
        }
    }
};

fn mix(hash: u64) u64 {
    const once = (hash ^ hash >> 29) *% 0xbf58_476d_1ce4_e5b9;
    return (once ^ once >> 32) *% 0x9e37_79b9_7f4a_7c15;
}

fn table(comptime T: type, count: usize) ![]T {
    const memory = try sys.anonymous(count * @sizeOf(T));
    return @as([*]T, @ptrCast(memory.ptr))[0..count];
}
