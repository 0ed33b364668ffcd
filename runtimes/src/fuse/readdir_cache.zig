//! Who reads directory listings. Places that readers will come back to: a listing can only be
//! walked from its start, and without these a huge directory would be walked anew for every
//! bufferful. And whether they want more than names: with its attributes, every file of a listing
//! becomes an inode in the kernel, which takes longer than all the rest; without them, those who
//! want them ask for each.
const std = @import("std");
const futex = @import("../base/futex.zig");
const Iterator = @import("../squashfs/directory.zig").Iterator;

pub const ReaddirCache = struct {
    mutex: futex.Mutex = .{},
    places: [16]Place = @splat(.{}),
    next: usize = 0,
    /// Directories whose files have been listed by name only.
    names_only: [4]u64 = @splat(0),
    names_only_next: usize = 0,
    asked: u32 = 0,
    /// Directories that are listed for the sake of the attributes.
    readdirplus: [4]u64 = @splat(0),
    readdirplus_next: usize = 0,

    /// Names that are asked for after a listing, until attributes come with it.
    const asked_max = 8;

    const Place = struct { nodeid: u64 = 0, iterator: Iterator = undefined };

    pub fn keep(self: *ReaddirCache, nodeid: u64, iterator: Iterator) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        self.places[self.next] = .{ .nodeid = nodeid, .iterator = iterator };
        self.next = (self.next + 1) % self.places.len;
    }

    /// Whether files are to be listed with their attributes.
    pub fn wantsReaddirplus(self: *ReaddirCache, nodeid: u64) bool {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.asked >= asked_max or std.mem.findScalar(u64, &self.readdirplus, nodeid) != null)
            return true;
        self.names_only[self.names_only_next] = nodeid;
        self.names_only_next = (self.names_only_next + 1) % self.names_only.len;
        return false;
    }

    /// ReaddirCache of this directory are to come with attributes, until some others are
    /// readdirplus so.
    pub fn wantReaddirplus(self: *ReaddirCache, nodeid: u64) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        self.readdirplus[self.readdirplus_next] = nodeid;
        self.readdirplus_next = (self.readdirplus_next + 1) % self.readdirplus.len;
    }

    /// A file was found by name.
    pub fn lookedUp(self: *ReaddirCache, nodeid: u64) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.asked < asked_max and std.mem.findScalar(u64, &self.names_only, nodeid) != null)
            self.asked += 1;
    }

    pub fn find(self: *ReaddirCache, nodeid: u64, position: u64) ?Iterator {
        self.mutex.lock();
        defer self.mutex.unlock();
        for (&self.places) |*place| {
            if (place.nodeid == nodeid and place.iterator.mark.position == position)
                return place.iterator;
        }
        return null;
    }
};
