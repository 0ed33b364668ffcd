//! The FUSE server: threads that take requests from /dev/fuse and answer them from a squashfs
//! image. Nothing is ever written, so every answer may be kept by the kernel for ever; nothing is
//! allocated to give one.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const protocol = @import("protocol.zig");
const blocks = @import("../squashfs/blocks.zig");
const Affinity = @import("../process/cpu_policy.zig").Affinity;
const Ahead = @import("prefetch/prefetcher.zig").Ahead;
const Operations = @import("requests.zig").Operations;
const Reader = @import("../squashfs/reader.zig").Reader;
const Superblock = @import("../squashfs/superblock.zig").Superblock;
const Channel = @import("channel.zig").Channel;
const Listings = @import("readdir_cache.zig").Listings;
const startup = @import("prefetch/startup.zig");
const thread = @import("../base/thread.zig");

/// The ids that every file is reported with when only one of each is mapped: what the kernel
/// cannot map it cannot copy up.
pub const Owner = struct { uid: u32, gid: u32 };

/// The mount's devices, and its root.
var files: [3 + blocks.threads_max]sys.fd_t = undefined;
var file_count: usize = 0;

/// For all that is not a server, this process's first thread and what it forks: as long as they
/// held the devices, the mount would outlive the servers, and a request of their own, made when the
/// runtime is killed, would wait for ever.
fn forget() void {
    for (files[0..file_count]) |file| sys.close(file);
}

fn remember(file: sys.fd_t) void {
    files[file_count] = file;
    file_count += 1;
}

pub const Server = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    owner: ?Owner,
    device: sys.fd_t,
    /// Of the mount.
    root: sys.fd_t,
    /// Where threads may run when the app has started; until then they are bound, as who starts them is.
    anywhere: Affinity,
    listings: Listings = .{},
    ahead: Ahead = undefined,

    /// Answers the kernel's greeting, then serves from `count` threads, while one less, but one at
    /// least, works ahead.
    pub fn start(self: *Server, count: usize) !void {
        remember(self.device);
        remember(self.root);
        const device = try self.clone();
        self.ahead = .{
            .reader = self.reader,
            .anywhere = self.anywhere,
            .channel = try .init(device),
            .scout = .{
                .reader = self.reader,
                .listings = &self.listings,
                .root = self.root,
                // Who waits for the mount must not hold the device of whoever is to answer (channel.zig).
                .given_up = device == self.device or self.reader.superblock.export_table == Superblock.absent,
            },
        };
        var first = try self.operations(self.device);
        _ = try first.serveOne();
        for (0..@max(count - 1, 1)) |_| try self.spawn(Ahead.loop, .{ &self.ahead, try self.reader.newDecoder() });
        try self.spawn(serve, .{ first, self.anywhere });
        for (1..count) |_| try self.spawn(serveLater, .{ try self.operations(try self.clone()), self.anywhere });
        // This thread goes on to make requests of its own: see `forget`.
        try sys.do(.unshare, .{sys.CLONE.files});
        forget();
    }

    fn spawn(self: *Server, comptime function: anytype, arguments: anytype) !void {
        (try thread.spawn(self.arena, function, arguments)).detach();
    }

    fn operations(self: *Server, device: sys.fd_t) !Operations {
        return .{
            .channel = try Channel.init(device),
            .reader = self.reader,
            .owner = self.owner,
            .listings = &self.listings,
            .ahead = &self.ahead,
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
        remember(fd);
        return fd;
    }

    /// A program that starts makes one request after the other: two who take turns to answer are
    /// woken up once more for each.
    fn serveLater(worker: Operations, anywhere: Affinity) void {
        startup.wait();
        serve(worker, anywhere);
    }

    fn serve(worker: Operations, anywhere: Affinity) void {
        var own = worker;
        var bound = true;
        own.channel.standAlone(.{ own.reader.image.fd, own.reader.image.fd });
        while (true) {
            const opcode = own.serveOne() catch |err| {
                // The mount is gone, and so is the work.
                if (err != error.NODEV) log.debug("fuse: {s}", .{sys.text(err)});
                return;
            };
            // Nothing is read before the app is executed.
            if (!bound or opcode != .read) continue;
            startup.setting_up.store(false, .monotonic);
            if (startup.isUnderWay()) continue;
            anywhere.set();
            bound = false;
        }
    }
};
