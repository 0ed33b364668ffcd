//! The FUSE server: threads that take requests from /dev/fuse and answer them from a squashfs
//! image. Nothing is ever written, so every answer may be kept by the kernel for ever; nothing is
//! allocated to give one.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const protocol = @import("protocol.zig");
const blocks = @import("../squashfs/blocks.zig");
const Affinity = @import("../process/cpu_policy.zig").Affinity;
const Prefetcher = @import("prefetch/prefetcher.zig").Prefetcher;
const RequestHandler = @import("requests.zig").RequestHandler;
const Owner = @import("requests.zig").Owner;
const Reader = @import("../squashfs/reader.zig").Reader;
const Superblock = @import("../squashfs/superblock.zig").Superblock;
const Channel = @import("channel.zig").Channel;
const ReaddirCache = @import("readdir_cache.zig").ReaddirCache;
const startup = @import("prefetch/startup.zig");
const Quiesce = @import("../process/quiesce.zig").Quiesce;
const thread = @import("../base/thread.zig");

pub const Server = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    owner: ?Owner,
    device: sys.fd_t = -1,
    /// Of the mount.
    root: sys.fd_t = -1,
    /// Where threads may run when the app has started; until then they are bound, as who starts
    /// them is.
    caller_mask: Affinity,
    startup_state: *startup.State,
    quiesce: *Quiesce,
    /// The mount's devices, and its root.
    server_fds: [3 + blocks.threads_max]sys.fd_t = undefined,
    server_fd_count: usize = 0,
    readdir_cache: ReaddirCache = .{},
    prefetcher: Prefetcher = undefined,

    /// Answers the kernel's greeting, then serves from `count` threads, while one less, but one at
    /// least, works prefetcher.
    pub fn start(self: *Server, count: usize) !void {
        self.trackServerFd(self.device);
        self.trackServerFd(self.root);
        const device = try self.clone();
        self.prefetcher = .{
            .reader = self.reader,
            .caller_mask = self.caller_mask,
            .startup_state = self.startup_state,
            .quiesce = self.quiesce,
            .channel = try .init(device),
            .directories = .{
                .reader = self.reader,
                .readdir_cache = &self.readdir_cache,
                .root = self.root,
                // Who waits for the mount must not hold the device of whoever is to answer
                // (channel.zig).
                .given_up = device == self.device or
                    self.reader.superblock.export_table == Superblock.absent,
            },
        };
        var first = try self.handler(self.device);
        _ = try first.serveOne();
        for (0..@max(count - 1, 1)) |_|
            try self.spawn(Prefetcher.loop, .{ &self.prefetcher, try self.reader.newDecoder() });
        try self.spawn(serve, .{ first, self.caller_mask, self.startup_state });
        for (1..count) |_| try self.spawn(
            serveLater,
            .{ try self.handler(try self.clone()), self.caller_mask, self.startup_state },
        );
        // This thread goes on to make requests of its own: see `closeServerFds`.
        try sys.do(.unshare, .{sys.CLONE.files});
        self.closeServerFds();
    }

    /// For all that is not a server, this process's first thread and what it forks: as long as they
    /// held the devices, the mount would outlive the servers, and a request of their own, made when
    /// the runtime is killed, would wait for ever.
    fn closeServerFds(self: *const Server) void {
        for (self.server_fds[0..self.server_fd_count]) |file| sys.close(file);
    }

    fn trackServerFd(self: *Server, file: sys.fd_t) void {
        self.server_fds[self.server_fd_count] = file;
        self.server_fd_count += 1;
    }

    fn spawn(self: *Server, comptime function: anytype, arguments: anytype) !void {
        (try thread.spawn(self.arena, function, arguments)).detach();
    }

    fn handler(self: *Server, device: sys.fd_t) !RequestHandler {
        return .{
            .channel = try Channel.init(device),
            .reader = self.reader,
            .owner = self.owner,
            .readdir_cache = &self.readdir_cache,
            .prefetcher = &self.prefetcher,
            .decoder = try self.reader.newDecoder(),
        };
    }

    /// A second queue of the same mount, so that threads do not share one lock.
    fn clone(self: *Server) !sys.fd_t {
        const fd = try sys.openat(
            sys.at_fdcwd,
            "/dev/fuse",
            .{ .ACCMODE = .RDWR, .CLOEXEC = true },
            0,
        );
        sys.do(.ioctl, .{ fd, protocol.clone_ioctl, &self.device }) catch {
            // A kernel before 4.2: share.
            sys.close(fd);
            return self.device;
        };
        self.trackServerFd(fd);
        return fd;
    }

    /// A program that starts makes one request after the other: two who take turns to answer are
    /// woken up once more for each.
    fn serveLater(worker: RequestHandler, caller_mask: Affinity, state: *startup.State) void {
        state.wait();
        serve(worker, caller_mask, state);
    }

    fn serve(worker: RequestHandler, caller_mask: Affinity, state: *startup.State) void {
        var own = worker;
        var bound = true;
        own.channel.isolateFdTable(.{ own.reader.image.fd, own.reader.image.fd });
        while (true) {
            const opcode = own.serveOne() catch |err| {
                // The mount is gone, and so is the work.
                if (err != error.NODEV) log.debug("fuse: {s}", .{errno.text(err)});
                return;
            };
            // Nothing is read before the app is executed.
            if (!bound or opcode != .read) continue;
            state.setting_up.store(false, .monotonic);
            if (state.isUnderWay()) continue;
            caller_mask.set();
            bound = false;
        }
    }
};
