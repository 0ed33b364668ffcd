//! --dockerc-mount: the image's files on a directory of the machine, for whoever may mount there:
//! fusermount3(1), a set-uid program, makes the mount and ends it.
const std = @import("std");
const linux = std.os.linux;
const errno = @import("base/errno.zig");
const log = @import("base/log.zig");
const path = @import("squashfs/path.zig");
const payload_mount = @import("rootfs/payload_mount.zig");
const signals = @import("process/signals.zig");
const socket = @import("base/socket.zig");
const sys = @import("base/syscalls.zig");
const text = @import("base/text.zig");
const CpuPolicy = @import("process/cpu_policy.zig").CpuPolicy;
const Environment = @import("cli/environment.zig").Environment;
const Owners = @import("namespaces/owners.zig").Owners;
const Quiesce = @import("process/quiesce.zig").Quiesce;
const Reader = @import("squashfs/reader.zig").Reader;
const Server = @import("fuse/server.zig").Server;

/// Serves the files of `root`, a directory of the payload, until a signal or umount(8) ends it.
pub fn run(
    arena: std.mem.Allocator,
    reader: *Reader,
    callers: *const Environment,
    root: []const u8,
    directory: []const u8,
) !u8 {
    signals.resetSigchld();
    const found = try path.find(
        reader,
        try reader.newDecoder(),
        reader.superblock.root_inode,
        root,
    ) orelse log.die("the payload has no root file system: {s} is missing", .{root});
    reader.superblock.root_inode = found.inode.reference;
    const helper = callers.findProgram(arena, "fusermount3") orelse
        callers.findProgram(arena, "fusermount") orelse
        log.die("fusermount3, which mounts for others than root, is not installed (package " ++
            "fuse3)", .{});
    var mount: Mount = .{ .helper = helper, .target = try absolute(arena, directory) };
    _ = try signals.block(signals.ignored());
    const queue: signals.Queue = try .open();
    const device = mount.make(arena) catch |err|
        log.die("cannot mount on {s}: {s}", .{ directory, errno.text(err) });
    mount.id = (try sys.statCached(sys.at_fdcwd, mount.target)).mnt_id;
    const guard = try mount.guard();
    // Ours, which tells when the mount has gone; the server closes its own in this thread.
    const watched: sys.fd_t = @intCast(try sys.call(.fcntl, .{ device, dup_cloexec, 0 }));
    try serve(arena, reader, device);
    try sys.writeAll(1, try text.alloc(arena, "{s}\n", .{mount.target}));
    if (sys.isTerminal(2)) log.note("mounted on {s}; Ctrl-C unmounts it", .{directory});
    if (waitForEnd(queue, watched)) {
        if (mount.isOnTop())
            try mount.remove()
        else
            log.note("something else is mounted on {s}, or it was moved: the mount is left " ++
                "there, without files", .{directory});
    }
    // The guard has nothing to do.
    _ = sys.raw(.write, .{ guard, "x", 1 });
    return 0;
}

/// Without links: where it was mounted, whatever they lead to later.
fn absolute(arena: std.mem.Allocator, directory: []const u8) ![:0]const u8 {
    const flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
    const name = try arena.dupeSentinel(u8, directory, 0);
    const fd = sys.openat(sys.at_fdcwd, name, flags, 0) catch |err|
        log.die("cannot mount on {s}: {s}", .{ directory, errno.text(err) });
    defer sys.close(fd);
    var link: [32:0]u8 = undefined;
    const buf = try arena.alloc(u8, std.posix.PATH_MAX);
    const from = sys.fdPath(&link, fd);
    const len = try sys.call(.readlinkat, .{ sys.at_fdcwd, from, buf.ptr, buf.len });
    return arena.dupeSentinel(u8, buf[0..len], 0);
}

const dup_cloexec = 1030;

fn serve(arena: std.mem.Allocator, reader: *Reader, device: sys.fd_t) !void {
    const server = try arena.create(Server);
    const cpus = try arena.create(CpuPolicy);
    cpus.* = .init();
    const quiesce = try arena.create(Quiesce);
    quiesce.* = .{};
    // Its root stays closed: else umount(8) finds the mount busy.
    server.* = .{
        .arena = arena,
        .reader = reader,
        .owners = &Owners.all,
        .device = device,
        .cpus = cpus,
        .quiesce = quiesce,
    };
    try server.start(payload_mount.threadCount());
}

const Mount = struct {
    helper: [:0]const u8,
    target: [:0]const u8,
    id: u64 = 0,

    /// Whether removing what is mounted there removes ours. Our server may have ended.
    fn isOnTop(self: Mount) bool {
        const there = sys.statCached(sys.at_fdcwd, self.target) catch return false;
        return there.mnt_id == self.id;
    }

    /// fusermount3 sends the device over the socket.
    fn make(self: Mount, arena: std.mem.Allocator) !sys.fd_t {
        const ends = try socket.pairOf(socket.stream);
        const child = try sys.fork();
        if (child == 0) {
            // Without close-on-exec.
            const theirs = sys.call(.dup, .{ends[1]}) catch sys.exit(1);
            const variable = text.alloc(arena, "_FUSE_COMMFD={d}", .{theirs}) catch sys.exit(1);
            self.execute(&.{ self.helper, "-o", mount_options, "--", self.target }, variable);
        }
        sys.close(ends[1]);
        defer sys.close(ends[0]);
        var byte: [1]u8 = undefined;
        const received = try socket.receive(ends[0], &byte, true);
        _ = try sys.wait(child, 0);
        // It has said on standard error why.
        return received.files[0] orelse sys.exit(log.failed);
    }

    /// A busy one is detached: our end leaves it without a server.
    fn remove(self: Mount) !void {
        const child = try sys.fork();
        if (child == 0) self.unmount();
        _ = try sys.wait(child, 0);
    }

    fn unmount(self: Mount) noreturn {
        self.execute(&.{ self.helper, "-u", "-q", "-z", "--", self.target }, "_=");
    }

    fn execute(self: Mount, words: []const ?[*:0]const u8, variable: [*:0]const u8) noreturn {
        var argv: [8:null]?[*:0]const u8 = @splat(null);
        @memcpy(argv[0..words.len], words);
        const envp = [_:null]?[*:0]const u8{ variable, "PATH=/usr/sbin:/usr/bin:/sbin:/bin" };
        _ = sys.raw(.execve, .{ self.helper.ptr, &argv, &envp });
        sys.exit(127);
    }

    /// A process that removes the mount if we are killed. It holds nothing of the caller's.
    /// (fusermount3's own auto_unmount leaves a mount whose server has been killed.)
    fn guard(self: Mount) !sys.fd_t {
        var pipe: [2]sys.fd_t = undefined;
        const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
        try sys.do(.pipe2, .{ &pipe, cloexec });
        if (try sys.fork() != 0) {
            sys.close(pipe[0]);
            return pipe[1];
        }
        try sys.do(.setsid, .{});
        sys.do(.chdir, .{"/"}) catch {};
        sys.closeAllBut(&.{ pipe[0], pipe[0], pipe[0], pipe[0] });
        var byte: [1]u8 = undefined;
        if ((sys.call(.read, .{ pipe[0], &byte, 1 }) catch 0) > 0) sys.exit(0);
        // Only a mount without a server is ours. The threads that serve may end a little later.
        for (0..200) |_| {
            if (sys.stat(sys.at_fdcwd, self.target)) |_| {} else |err| {
                if (err == error.NOTCONN and self.isOnTop()) self.unmount();
            }
            const hundredth: linux.timespec = .{ .sec = 0, .nsec = 10_000_000 };
            _ = sys.raw(.nanosleep, .{ &hundredth, 0 });
        }
        sys.exit(0);
    }
};

const mount_options = std.fmt.comptimePrint(
    "ro,nosuid,nodev,fsname=dockerc,subtype=dockerc,max_read={d}",
    .{@import("fuse/channel.zig").read_max},
);

/// For a signal that ends programs (true), or for an umount(8) by somebody else.
fn waitForEnd(queue: signals.Queue, device: sys.fd_t) bool {
    while (true) {
        var polled = [2]linux.pollfd{
            .{ .fd = queue.fd, .events = linux.POLL.IN, .revents = 0 },
            // Requests are others' to read: only an error counts.
            .{ .fd = device, .events = 0, .revents = 0 },
        };
        _ = sys.raw(.ppoll, .{ &polled, polled.len, 0, 0, 0 });
        if (polled[1].revents != 0) return false;
        while (queue.next()) |signal| switch (signal.number) {
            signals.SIG.hup, signals.SIG.int, signals.SIG.quit, signals.SIG.term => return true,
            else => {},
        };
    }
}
