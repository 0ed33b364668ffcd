//! The keeper of a mount that several runs share: a process in a session of its own that starts the
//! payload's server, hands its namespaces to runs, and ends with the last of them, or some time
//! after. It has no capability and stays in the caller's namespaces: there a run can prove which
//! file it executes (peer.zig), and no app, whatever it may do in its own, can trace it. A
//! connection that stays open is a run.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const messages = @import("messages.zig");
const own_process = @import("../process/own_process.zig");
const payload_server = @import("payload_server.zig");
const signals = @import("../process/signals.zig");
const socket = @import("../base/socket.zig");
const streams = @import("streams.zig");
const Address = @import("address.zig").Address;
const Kin = @import("peer.zig").Kin;
const Request = @import("request.zig").Request;
const SIG = signals.SIG;

/// More runs mount the payload themselves.
const runs_max = 4096;
/// Descriptors that are not those of runs.
const other_files = 16;

const Run = struct {
    connection: sys.fd_t,
    linger: u32 = 0,
    /// Whether it has the namespaces.
    served: bool = false,
};

/// Of the run that has started us: its connection and its lock on the address.
pub const First = struct { connection: sys.fd_t, lock: sys.fd_t };

pub fn run(request: *const Request, kin: *const Kin, address: Address, first: First) noreturn {
    const self = Keeper.start(request, kin, address, first) catch |err| {
        const reply: messages.Reply = .{ .kind = .unavailable, .failure = errno.numberOf(err) };
        socket.send(first.connection, std.mem.asBytes(&reply), &.{}) catch {};
        sys.exit(0);
    };
    self.loop();
}

const Keeper = struct {
    kin: *const Kin,
    address: Address,
    listening: sys.fd_t = -1,
    /// Of the socket.
    inode: u64 = 0,
    server: sys.fd_t,
    queue: signals.Queue,
    reply: messages.Reply = .{ .kind = .unavailable },
    files: [socket.files_max]sys.fd_t = undefined,
    file_count: usize = 0,
    runs: []Run,
    polled: []linux.pollfd,
    count: usize = 0,
    /// When to end, if there is no run (milliseconds).
    end: i64 = 0,

    fn start(
        request: *const Request,
        kin: *const Kin,
        address: Address,
        first: First,
    ) !*Keeper {
        const image = request.reader.image.fd;
        try leaveCaller(&.{ 0, 1, 2, first.connection, first.lock, address.dir, image });
        const arena = request.arena;
        const ends = try socket.pair();
        const server = switch (try own_process.clone(0)) {
            .parent => |process| process,
            .child => {
                sys.close(ends[0]);
                for ([_]sys.fd_t{ first.connection, first.lock, address.dir }) |fd| sys.close(fd);
                payload_server.run(request, ends[1]);
            },
        };
        sys.close(ends[1]);
        _ = try signals.block(0);
        const runs = @min(runs_max, raiseFileLimit() -| other_files);
        const self = try arena.create(Keeper);
        self.* = .{
            .kin = kin,
            .address = address,
            .server = ends[0],
            .queue = try .open(),
            .runs = try arena.alloc(Run, runs),
            .polled = try arena.alloc(linux.pollfd, runs + 3),
        };
        try self.awaitServer(server);
        if (self.reply.kind != .ready) {
            try socket.send(first.connection, std.mem.asBytes(&self.reply), &.{});
            sys.exit(0);
        }
        const own = try address.listen();
        self.listening = own.socket;
        self.inode = own.inode;
        errdefer address.removeOwn(own.inode);
        sys.close(image);
        // From here on nothing is said: the streams are the caller's.
        log.debugging = false;
        try streams.discard(&.{2});
        self.runs[0] = .{ .connection = first.connection, .linger = request.linger };
        self.count = 1;
        sys.close(first.lock);
        if (!self.serve(&self.runs[0])) self.drop(0);
        return self;
    }

    /// Until there is a mount, or none.
    fn awaitServer(self: *Keeper, server: own_process.Process) !void {
        const got = try socket.receive(self.server, std.mem.asBytes(&self.reply), true);
        if (got.bytes.len != @sizeOf(messages.Reply)) {
            // After a sentence of its own, so does the first run.
            if ((try sys.wait(server.pid, 0)).status == @as(u32, log.failed) << 8)
                sys.exit(log.failed);
            return error.SRCH;
        }
        for (got.files) |file| if (file) |fd| {
            self.files[self.file_count] = fd;
            self.file_count += 1;
        };
    }

    fn loop(self: *Keeper) noreturn {
        while (true) {
            if (self.count == 0 and self.end <= sys.monotonic()) self.finish();
            const fixed = self.polled[0..3];
            const room = self.count < self.runs.len;
            fixed[0] = waiting(self.server);
            fixed[1] = waiting(self.queue.fd);
            fixed[2] = waiting(if (room) self.listening else -1);
            for (self.runs[0..self.count], self.polled[3..][0..self.count]) |each, *poll|
                poll.* = waiting(each.connection);
            self.wait();
            if (fixed[0].revents != 0) self.leave(log.failed);
            while (self.queue.next()) |signal| switch (signal.number) {
                SIG.hup, SIG.int, SIG.quit, SIG.term => self.leave(0),
                else => {},
            };
            var i = self.count;
            while (i > 0) {
                i -= 1;
                if (self.polled[3 + i].revents != 0) self.hear(i);
            }
            if (fixed[2].revents != 0) _ = self.accept();
        }
    }

    fn waiting(fd: sys.fd_t) linux.pollfd {
        return .{ .fd = fd, .events = linux.POLL.IN, .revents = 0 };
    }

    fn wait(self: *Keeper) void {
        const left = @max(self.end - sys.monotonic(), 0);
        var time: linux.timespec = .{
            .sec = @divTrunc(left, 1000),
            .nsec = @rem(left, 1000) * 1_000_000,
        };
        const timeout: ?*linux.timespec = if (self.count == 0) &time else null;
        _ = sys.raw(.ppoll, .{ self.polled.ptr, 3 + self.count, timeout, 0, 0 });
    }

    /// Whether there was one.
    fn accept(self: *Keeper) bool {
        const connection = socket.accept(self.listening) catch return false;
        if (self.kin.prove(connection)) |_| {
            self.runs[self.count] = .{ .connection = connection };
            self.count += 1;
        } else |_| sys.close(connection);
        return true;
    }

    fn hear(self: *Keeper, i: usize) void {
        const each = &self.runs[i];
        var hello: messages.Hello = undefined;
        // Files that come with it are not taken.
        const len = sys.call(.read, .{ each.connection, &hello, @sizeOf(messages.Hello) }) catch 0;
        if (len == @sizeOf(messages.Hello) and !each.served) {
            each.linger = hello.linger;
            if (self.serve(each)) return;
        }
        self.drop(i);
    }

    /// Gives it the namespaces; false if it has ended.
    fn serve(self: *Keeper, each: *Run) bool {
        const files = self.files[0..self.file_count];
        socket.send(each.connection, std.mem.asBytes(&self.reply), files) catch return false;
        each.served = true;
        return true;
    }

    fn drop(self: *Keeper, i: usize) void {
        const each = self.runs[i];
        sys.close(each.connection);
        if (each.served)
            self.end = @max(self.end, sys.monotonic() + @as(i64, each.linger) * 1000);
        self.count -= 1;
        self.runs[i] = self.runs[self.count];
    }

    /// After the last run. One that has just found us by the name, which goes first, is not left.
    fn finish(self: *Keeper) void {
        if (self.listening >= 0) self.address.removeOwn(self.inode);
        while (self.listening >= 0 and self.count < self.runs.len and self.accept()) {}
        if (self.count == 0) sys.exit(0);
        if (self.listening >= 0) sys.close(self.listening);
        self.listening = -1;
    }

    fn leave(self: *Keeper, status: u8) noreturn {
        if (self.listening >= 0) self.address.removeOwn(self.inode);
        sys.exit(status);
    }
};

/// Nothing of the caller's is kept: session, terminal, files, working directory. Messages go to its
/// standard error until the mount is ready.
fn leaveCaller(kept: []const sys.fd_t) !void {
    try sys.do(.setsid, .{});
    try streams.discard(&.{ 0, 1 });
    sys.closeAllBut(kept);
    try sys.do(.chdir, .{"/"});
    _ = sys.raw(.umask, .{0o077});
    const set_name = 15;
    _ = sys.raw(.prctl, .{ set_name, "dockerc-keeper", 0, 0, 0 });
}

/// As many files as we may open: there is one for each run.
fn raiseFileLimit() u64 {
    const files = 7;
    var limit: [2]u64 = .{ 0, 0 };
    sys.do(.prlimit64, .{ 0, files, 0, &limit }) catch return 1024;
    const most: [2]u64 = .{ limit[1], limit[1] };
    sys.do(.prlimit64, .{ 0, files, &most, 0 }) catch return limit[0];
    return limit[1];
}
