//! The FUSE server: threads that take requests from /dev/fuse and answer them from a squashfs
//! image. Nothing is ever written, so every answer may be kept by the kernel for ever; nothing is
//! allocated to give one.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../sys.zig");
const log = @import("../log.zig");
const protocol = @import("protocol.zig");
const Ahead = @import("ahead.zig").Ahead;
const Operations = @import("operations.zig").Operations;
const Reader = @import("../squashfs/reader.zig").Reader;
const Channel = @import("channel.zig").Channel;
const Listings = @import("listings.zig").Listings;

/// The ids that every file is reported with when only one of each is mapped: what the kernel
/// cannot map it cannot copy up.
pub const Owner = struct { uid: u32, gid: u32 };

pub const Server = struct {
    reader: *Reader,
    owner: ?Owner,
    device: sys.fd_t,
    listings: Listings = .{},
    ahead: *Ahead = undefined,
    own: Ahead = undefined,

    /// Answers the kernel's greeting, then serves from `count` threads, while one less, but one at
    /// least, works ahead.
    pub fn start(self: *Server, count: usize) !void {
        var ahead_count = @max(count - 1, 1);
        if (Ahead.begun) |begun| {
            self.ahead = begun;
            ahead_count -= 1;
        } else {
            self.own = .{ .reader = self.reader };
            self.ahead = &self.own;
        }
        self.ahead.channel = try .init(self.device);
        var first = try self.operations(self.device);
        try first.serveOne();
        for (0..ahead_count) |_| try Ahead.spawn(Ahead.loop, .{ self.ahead, try self.reader.newDecoder() });
        for (0..count) |i| try Ahead.spawn(serve, .{if (i == 0) first else try self.operations(try self.clone())});
    }

    fn operations(self: *Server, device: sys.fd_t) !Operations {
        return .{
            .channel = try Channel.init(device),
            .reader = self.reader,
            .owner = self.owner,
            .listings = &self.listings,
            .ahead = self.ahead,
            .decoder = try self.reader.newDecoder(),
        };
    }

    /// A second queue of the same mount, so that threads do not share one lock.
    fn clone(self: *Server) !sys.fd_t {
        const fd = try sys.openat(sys.at_fdcwd, "/dev/fuse", .{ .ACCMODE = .RDWR, .CLOEXEC = true }, 0);
        sys.do(.ioctl, .{ fd, protocol.clone_ioctl, &self.device }) catch {
            // A kernel before 4.2: share.
            sys.close(fd);
            return self.device;
        };
        return fd;
    }

    fn serve(worker: Operations) void {
        var own = worker;
        while (true) own.serveOne() catch |err| {
            // The mount is gone, and so is the work.
            if (err == error.NODEV) return;
            log.debug("fuse: {s}", .{sys.text(err)});
            return;
        };
    }
};
