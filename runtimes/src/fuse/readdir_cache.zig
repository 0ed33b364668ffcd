//! Who reads directory listings. Places that readers will come back to: a listing can only be walked
//! from its start, and without these a huge directory would be walked anew for every bufferful.
//! And whether they want more than names: with its attributes, every file of a listing becomes an
//! inode in the kernel, which takes longer than all the rest; without them, those who want them ask
//! for each.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const Iterator = @import("../squashfs/directory.zig").Iterator;

pub const Listings = struct {
    mutex: sys.Mutex = .{},
    places: [16]Place = @splat(.{}),
    next: usize = 0,
    /// Directories whose files have been listed by name only.
    plain: [4]u64 = @splat(0),
    plain_next: usize = 0,
    asked: u32 = 0,
    /// Directories that are listed for the sake of the attributes.
    wanted: [4]u64 = @splat(0),
    wanted_next: usize = 0,

    /// Names that are asked for after a listing, until attributes come with it.
    const asked_max = 8;

    const Place = struct { nodeid: u64 = 0, iterator: Iterator = undefined };

    pub fn keep(self: *Listings, nodeid: u64, iterator: Iterator) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        self.places[self.next] = .{ .nodeid = nodeid, .iterator = iterator };
        self.next = (self.next + 1) % self.places.len;
    }

    /// Whether files are to be listed with their attributes.
    pub fn wantsAttributes(self: *Listings, nodeid: u64) bool {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.asked >= asked_max or std.mem.findScalar(u64, &self.wanted, nodeid) != null) return true;
        self.plain[self.plain_next] = nodeid;
        self.plain_next = (self.plain_next + 1) % self.plain.len;
        return false;
    }

    /// Listings of this directory are to come with attributes, until some others are wanted so.
    pub fn want(self: *Listings, nodeid: u64) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        self.wanted[self.wanted_next] = nodeid;
        self.wanted_next = (self.wanted_next + 1) % self.wanted.len;
    }

    /// A file was found by name.
    pub fn lookedUp(self: *Listings, nodeid: u64) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.asked < asked_max and std.mem.findScalar(u64, &self.plain, nodeid) != null) self.asked += 1;
    }

    pub fn find(self: *Listings, nodeid: u64, position: u64) ?Iterator {
        self.mutex.lock();
        defer self.mutex.unlock();
        for (&self.places) |*place| {
            if (place.nodeid == nodeid and place.iterator.mark.position == position) return place.iterator;
        }
        return null;
    }
};
