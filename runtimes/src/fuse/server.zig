//! The FUSE server: threads that take requests from /dev/fuse and answer them from a squashfs
//! image. The image is read-only, so the kernel may cache every reply for ever. Replies need no
//! allocation.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const protocol = @import("protocol.zig");
const blocks = @import("../squashfs/blocks.zig");
const CpuPolicy = @import("../process/cpu_policy.zig").CpuPolicy;
const Prefetcher = @import("prefetch/prefetcher.zig").Prefetcher;
const StartList = @import("prefetch/prefetcher.zig").StartList;
const Recorder = @import("recorder.zig").Recorder;
const RequestHandler = @import("requests.zig").RequestHandler;
const Owners = @import("../namespaces/owners.zig").Owners;
const Reader = @import("../squashfs/reader.zig").Reader;
const Channel = @import("channel.zig").Channel;
const ReaddirCache = @import("readdir_cache.zig").ReaddirCache;
const Quiesce = @import("../process/quiesce.zig").Quiesce;
const thread = @import("../base/thread.zig");

pub const Server = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    owners: *const Owners,
    device: sys.fd_t = -1,
    /// Of the mount; null where names are not prefetched.
    root: ?sys.fd_t = null,
    cpus: *CpuPolicy,
    quiesce: *Quiesce,
    /// The mount's devices, and its root.
    server_fds: [3 + blocks.threads_max]sys.fd_t = undefined,
    server_fd_count: usize = 0,
    readdir_cache: ReaddirCache = .{},
    prefetcher: Prefetcher = undefined,
    recorder: ?*Recorder = null,
    start_list: ?*StartList = null,

    /// Replies to INIT, then serves with `count` threads; one less, but at least one, prefetch.
    pub fn start(self: *Server, count: usize) !void {
        self.trackServerFd(self.device);
        if (self.root) |root| self.trackServerFd(root);
        const device = try self.clone();
        self.prefetcher = .init(
            self.reader,
            self.cpus,
            self.quiesce,
            try .init(device),
            &self.readdir_cache,
            // A thread that waits for the mount must not hold the device of the thread that replies
            // (channel.zig).
            if (device == self.device) null else self.root,
        );
        self.prefetcher.start_list = self.start_list;
        if (self.start_list) |list| list.mounted.store(true, .monotonic);
        var first = try self.handler(self.device);
        _ = try first.serveOne();
        for (0..@max(count - 1, 1)) |_|
            _ = try self.spawn(
                Prefetcher.loop,
                .{ &self.prefetcher, try self.reader.newDecoder() },
            );
        self.cpus.addServer(try self.spawn(serve, .{ first, self.cpus, true }));
        for (1..count) |_| {
            const handled = try self.handler(try self.clone());
            self.cpus.addServer(try self.spawn(serve, .{ handled, self.cpus, false }));
        }
        // This thread will send requests itself: see `closeServerFds`.
        try sys.do(.unshare, .{sys.CLONE.files});
        self.closeServerFds();
    }

    /// For the first thread and its children. If they held the devices open, the mount would
    /// outlive the servers, and a request of theirs, sent when the runtime is killed, would wait
    /// for ever.
    fn closeServerFds(self: *const Server) void {
        for (self.server_fds[0..self.server_fd_count]) |file| sys.close(file);
    }

    fn trackServerFd(self: *Server, file: sys.fd_t) void {
        self.server_fds[self.server_fd_count] = file;
        self.server_fd_count += 1;
    }

    /// Returns the thread's id.
    fn spawn(self: *Server, comptime function: anytype, arguments: anytype) !i32 {
        const made = try thread.spawn(self.arena, function, arguments);
        defer made.detach();
        return made.getHandle();
    }

    fn handler(self: *Server, device: sys.fd_t) !RequestHandler {
        return .{
            .channel = try Channel.init(device),
            .reader = self.reader,
            .owners = self.owners,
            .readdir_cache = &self.readdir_cache,
            .prefetcher = &self.prefetcher,
            .recorder = self.recorder,
            .decoder = try self.reader.newDecoder(),
        };
    }

    /// Another queue of the same mount (FUSE_DEV_IOC_CLONE), so that threads do not share one lock.
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

    fn serve(worker: RequestHandler, cpus: *CpuPolicy, is_first: bool) void {
        var own = worker;
        var placed = false;
        own.channel.isolateFdTable(.{ own.reader.image.fd, own.reader.image.fd });
        if (!is_first) cpus.waitForStart();
        while (true) {
            const opcode = own.serveOne() catch |err| {
                // The mount is gone.
                if (err != error.NODEV) log.debug("fuse: {s}", .{errno.text(err)});
                return;
            };
            if (!placed) placed = cpus.afterReply(opcode == .read, own.decoded);
        }
    }
};
