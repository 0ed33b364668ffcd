//! Places in directory listings that readers will come back to: a listing can only be walked from
//! its start, and without these a huge directory would be walked anew for every bufferful.
const sys = @import("../sys.zig");
const Iterator = @import("../squashfs/directory.zig").Iterator;

pub const Listings = struct {
    mutex: sys.Mutex = .{},
    places: [16]Place = @splat(.{}),
    next: usize = 0,

    const Place = struct { nodeid: u64 = 0, iterator: Iterator = undefined };

    pub fn keep(self: *Listings, nodeid: u64, iterator: Iterator) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        self.places[self.next] = .{ .nodeid = nodeid, .iterator = iterator };
        self.next = (self.next + 1) % self.places.len;
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
