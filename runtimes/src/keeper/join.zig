//! A run's way to a shared mount: it asks the keeper that is there, or starts one.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const keeper = @import("keeper.zig");
const log = @import("../base/log.zig");
const messages = @import("messages.zig");
const own_process = @import("../process/own_process.zig");
const payload_mount = @import("../rootfs/payload_mount.zig");
const quantity = @import("../cli/quantity.zig");
const socket = @import("../base/socket.zig");
const userns = @import("../namespaces/userns.zig");
const Address = @import("address.zig").Address;
const Kin = @import("peer.zig").Kin;
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const Options = @import("../cli/options.zig").Options;
const Reader = @import("../squashfs/reader.zig").Reader;
const Request = @import("request.zig").Request;

/// How long a keeper may take to answer, and another run to start one.
const patience_seconds = 10;

/// Seconds to linger; null if the mount is the run's own, as that of a run which is recorded or
/// verified: others would be in its profile, and may not be verified.
pub fn wanted(options: *const Options, reader: *const Reader) ?u32 {
    if (options.last(.record) != null or reader.image.tree != null) return null;
    const linger = options.last(.linger);
    const seconds = if (linger) |given|
        quantity.number(u32, given) orelse
            log.die("--linger {s}: write a number of seconds", .{given})
    else
        0;
    const share = options.last(.share) orelse return if (linger == null) null else seconds;
    return if (std.mem.eql(u8, share, "true")) seconds else null;
}

pub const Joined = struct {
    /// Open as long as this run lives; its other end closes when the keeper ends.
    connection: sys.fd_t,
    mounts: sys.fd_t,
    shared: userns.Shared,
    /// Of the payload's mount.
    device: u64,
    /// The payload's mount, for one place in our own namespace.
    tree: ?sys.fd_t = null,

    /// Enters its user namespace, with mounts of our own, and takes the payload's mount there.
    pub fn enter(self: *Joined, caller: userns.Caller, ids: userns.Wanted) userns.Entered {
        const entered = userns.join(caller, ids, self.shared) catch |err|
            log.die("cannot enter the namespaces of the shared mount: {s}", .{errno.text(err)});
        self.tree = self.takeTree(entered.mounts.?) catch |err| blk: {
            log.note("the payload's mount is not shared: {s}", .{errno.text(err)});
            sys.close(self.connection);
            self.connection = -1;
            break :blk null;
        };
        sys.close(self.mounts);
        return entered;
    }

    fn takeTree(self: *const Joined, own: MountNamespace) sys.Error!sys.fd_t {
        const tree = try own.treeOf(self.mounts, messages.payload_path);
        errdefer sys.close(tree);
        // A filter may have kept us in our own namespace, where that path leads elsewhere.
        if (messages.deviceOf(try sys.stat(tree, "")) != self.device) return error.PERM;
        return tree;
    }

    /// Whether the payload's server has ended: the kernel knows before the keeper does, and so does
    /// an app that reads.
    pub fn isLost(self: *const Joined) bool {
        if (!payload_mount.isServed(self.tree orelse return false)) return true;
        var polled: std.os.linux.pollfd = .{ .fd = self.connection, .events = 0, .revents = 0 };
        const at_once: std.os.linux.timespec = .{ .sec = 0, .nsec = 0 };
        return sys.raw(.ppoll, .{ &polled, 1, &at_once, 0, 0 }) == 1;
    }
};

/// Null, after a note, if this run has to mount the payload itself.
pub fn begin(request: *const Request) ?Joined {
    const readable_and_writable = 6;
    sys.do(.faccessat, .{ sys.at_fdcwd, "/dev/fuse", readable_and_writable }) catch |err| {
        log.debug("no mount to share, as /dev/fuse: {s}", .{errno.text(err)});
        return null;
    };
    return attempt(request) catch |err| {
        const why = switch (err) {
            error.Unproven => "the socket there is not of a keeper of this file",
            error.Silent => "its keeper does not answer",
            else => errno.text(err),
        };
        log.note("the payload's mount is not shared: {s}", .{why});
        return null;
    };
}

fn attempt(request: *const Request) !Joined {
    const arena = request.arena;
    const file = request.reader.image.fd;
    const kin: Kin = try .ofSelf();
    const address: Address = try .of(arena, request.callers, file, request.ids);
    defer sys.close(address.dir);
    var pause: u32 = 1;
    const end = sys.monotonic() + patience_seconds * 1000;
    while (true) {
        if (try ask(&kin, address, request.linger)) |joined| return joined;
        if (try address.lock()) |lock| {
            defer sys.close(lock);
            // Another run may have started one meanwhile.
            if (try ask(&kin, address, request.linger)) |joined| return joined;
            try address.removeLeftover();
            return start(request, &kin, address, lock);
        }
        if (sys.monotonic() > end) return error.Silent;
        sys.sleep(pause);
        pause = @min(pause * 2, 16);
    }
}

/// Null if there is no keeper, or no longer.
fn ask(kin: *const Kin, address: Address, linger: u32) !?Joined {
    const connection = try socket.open();
    errdefer sys.close(connection);
    try socket.setPatience(connection, patience_seconds);
    try socket.tellSenders(connection);
    const hello: messages.Hello = .{ .linger = linger };
    const joined = askOver(connection, kin, address, hello) catch |err| switch (err) {
        error.NOENT, error.CONNREFUSED, error.CONNRESET, error.PIPE => null,
        error.AGAIN => return error.Silent,
        else => return err,
    };
    if (joined == null) sys.close(connection);
    return joined;
}

fn askOver(
    connection: sys.fd_t,
    kin: *const Kin,
    address: Address,
    hello: messages.Hello,
) !?Joined {
    try address.connect(connection);
    const pid = kin.prove(connection) catch |err|
        return if (err == error.PERM) error.Unproven else err;
    try socket.send(connection, std.mem.asBytes(&hello), &.{});
    var reply: messages.Reply = undefined;
    const got = try socket.receiveAttested(connection, std.mem.asBytes(&reply));
    if (got.bytes.len == 0) return null;
    // A child of it may hold the socket, too.
    if (got.sender != pid) return error.Unproven;
    log.debug("joined keeper {d}", .{pid});
    return try take(connection, got, reply);
}

fn take(connection: sys.fd_t, got: socket.Received, reply: messages.Reply) !Joined {
    if (got.bytes.len != @sizeOf(messages.Reply)) return error.IO;
    return .{
        .connection = connection,
        .mounts = got.files[0] orelse return error.IO,
        .device = reply.device,
        .shared = .{ .user = got.files[1], .ids = reply.idsOf() orelse return error.IO },
    };
}

/// It is a child of ours, but in a session of its own, and may live longer.
fn start(request: *const Request, kin: *const Kin, address: Address, lock: sys.fd_t) !Joined {
    const ends = try socket.pair();
    const process = switch (try own_process.clone(0)) {
        .parent => |process| process,
        .child => {
            sys.close(ends[0]);
            keeper.run(request, kin, address, .{ .connection = ends[1], .lock = lock });
        },
    };
    sys.close(ends[1]);
    errdefer sys.close(ends[0]);
    var reply: messages.Reply = undefined;
    const got = try socket.receive(ends[0], std.mem.asBytes(&reply), true);
    if (got.bytes.len == 0) {
        const status = (try sys.wait(process.pid, 0)).status;
        // It has said why.
        if (status == @as(u32, log.failed) << 8) sys.exit(log.failed);
        return error.SRCH;
    }
    if (reply.kind != .ready) return errno.of(0 -% @as(usize, reply.failure));
    log.debug("started keeper {d}", .{process.pid});
    return take(ends[0], got, reply);
}
