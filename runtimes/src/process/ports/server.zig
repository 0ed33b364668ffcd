//! Answers the app's bind(2) and connect(2): a published port of the program becomes the machine's.
//! The call is made here, on a duplicate of the app's socket; everything else goes on in the kernel
//! as it was. It is no security boundary: an address that the app changes after we have read it, in
//! another thread, is used as it is then.
const std = @import("std");
const sys = @import("../../base/syscalls.zig");
const errno = @import("../../base/errno.zig");
const log = @import("../../base/log.zig");
const thread = @import("../../base/thread.zig");
const calls = @import("calls.zig");
const Entry = @import("table.zig").Entry;
const Listener = @import("../../base/notification.zig").Listener;
const Port = @import("../../config/ports.zig").Port;
const Protocol = @import("../../config/ports.zig").Protocol;
const RemoteProcess = @import("remote_process.zig").RemoteProcess;
const Reservation = @import("reservation.zig").Reservation;
const SocketAddress = @import("socket_address.zig").SocketAddress;
const Table = @import("table.zig").Table;

pub const Server = struct {
    table: *Table,
    reservation: *Reservation,
    /// /proc of the machine.
    proc: sys.fd_t,
    listener: Listener = .{ .fd = -1 },

    /// Holds the ports; null if there are none.
    pub fn begin(arena: std.mem.Allocator, proc: sys.fd_t, ports: []const Port) !?*Server {
        if (ports.len == 0) return null;
        const reservation = try arena.create(Reservation);
        reservation.* = .{};
        const self = try arena.create(Server);
        self.* = .{ .table = try .make(), .reservation = reservation, .proc = proc };
        reservation.begin(self.table, ports);
        return self;
    }

    /// For a program in a run whose runtime has that directory in /proc: with its table, which has
    /// the ports that it has chosen. Null if there is none.
    pub fn ofRun(arena: std.mem.Allocator, proc: sys.fd_t, runtime: sys.fd_t) !?*Server {
        const reservation = try arena.create(Reservation);
        reservation.* = .{};
        const self = try arena.create(Server);
        self.* = .{
            .table = try Table.find(runtime) orelse return null,
            .reservation = reservation,
            .proc = proc,
        };
        return self;
    }

    /// Ends the start if this machine does not let us use the sockets of `app`.
    pub fn check(self: *const Server, app: i32) void {
        const process: RemoteProcess = .{ .proc = self.proc, .thread = app };
        // Any descriptor: whether it may be taken is asked first.
        if (process.take(0)) |fd| sys.close(fd) else |err| switch (err) {
            error.BADF => {},
            error.NOSYS => log.die("--publish needs Linux 5.6 or newer (pidfd_getfd(2))", .{}),
            else => log.die("--publish: this machine does not let the runtime use the program's " ++
                "sockets (pidfd_getfd(2): {s}; sysctl kernel.yama.ptrace_scope must be below 3)", .{
                errno.text(err),
            }),
        }
    }

    /// Another process of ours answers, which has the sockets that hold the ports, too.
    pub fn leave(self: *Server) void {
        for (0..self.table.count) |index| self.reservation.release(index);
    }

    /// In a thread of its own.
    pub fn start(self: *Server, listener: sys.fd_t) void {
        self.listener = .{ .fd = listener };
        self.listener.shareProcessor();
        const made = thread.spawn(std.heap.page_allocator, serve, .{self}) catch |err|
            log.die("--publish: cannot make a thread: {s}", .{errno.text(err)});
        made.detach();
    }

    fn serve(self: *Server) void {
        while (true) {
            const asked = self.listener.next() catch |err| switch (err) {
                error.INTR => continue,
                error.NOENT => if (self.listener.isOver()) return else continue,
                else => return,
            };
            const question: Question = .{
                .id = asked.id,
                .tid = asked.tid,
                .arguments = asked.arguments,
                .binds = calls.isBind(asked.arch, asked.number),
            };
            if (self.decide(&question)) |result|
                self.listener.answer(asked.id, result)
            else
                self.listener.goOn(asked.id);
        }
    }

    /// A bind(2) or connect(2) of the app's.
    pub const Question = struct {
        /// Of the notification; null if the thread is stopped.
        id: ?u64,
        tid: i32,
        arguments: [6]u64,
        binds: bool,
    };

    /// What a call that was made here returned. Null if it is to go on.
    pub fn decide(self: *Server, asked: *const Question) ?usize {
        const process: RemoteProcess = .{ .proc = self.proc, .thread = asked.tid };
        const len: u32 = @truncate(asked.arguments[2]);
        var address: SocketAddress = .empty;
        if (len > address.bytes.len) return null;
        if (!process.read(asked.arguments[1], address.bytes[0..len])) return null;
        const ip = address.ip(len) orelse return null;
        if (!self.table.has(address.port())) return null;
        // Of other addresses it is another machine's port.
        if (!asked.binds and !ip.isAny() and !ip.isLoopback()) return null;

        const fd: sys.fd_t = @bitCast(@as(u32, @truncate(asked.arguments[0])));
        const socket = process.take(fd) catch |err| return switch (err) {
            error.BADF, error.SRCH => null,
            else => 0 -% @as(usize, errno.numberOf(err)),
        };
        defer sys.close(socket);
        const protocol = protocolOf(socket) orelse return null;
        const entry = self.table.entryOf(protocol, address.port()) orelse return null;
        // By now the thread may have ended, and its number may be another's.
        if (asked.id) |id| if (!self.listener.isValid(id)) return null;
        address.setPort(entry.outside);
        if (!asked.binds) return connect(socket, entry, &address, len);
        self.reservation.release(entry - &self.table.entries[0]);
        if (ip.isAny()) if (entry.address()) |wanted| address.setIp(wanted, takesV4(socket));
        const done = sys.raw(.bind, .{ socket, &address, len });
        if (done == 0) entry.for_all = ip.isAny();
        return done;
    }

    fn connect(
        socket: sys.fd_t,
        entry: *const Entry,
        address: *SocketAddress,
        len: u32,
    ) ?usize {
        // There the program's socket is, and at no loopback address.
        if (entry.for_all) if (entry.address()) |wanted| if (!wanted.isAny())
            address.setIp(wanted, takesV4(socket));
        const get_flags = 3;
        const set_flags = 4;
        const nonblocking = 0o4000;
        const flags = sys.raw(.fcntl, .{ socket, get_flags });
        if (entry.protocol == .udp or flags & nonblocking != 0)
            return sys.raw(.connect, .{ socket, address, len });
        // We must not wait, for others' sakes. If the connection is only begun, the app's own call
        // goes on: the kernel then waits for it, whatever the address is (net/ipv4/af_inet.c,
        // __inet_stream_connect), for as long and interrupted by the same signals as ever.
        _ = sys.raw(.fcntl, .{ socket, set_flags, flags | nonblocking });
        const done = sys.raw(.connect, .{ socket, address, len });
        _ = sys.raw(.fcntl, .{ socket, set_flags, flags });
        return if (std.os.linux.errno(done) == .INPROGRESS) null else done;
    }
};

const sol_socket = 1;

/// Of sockets whose ports can be published.
fn protocolOf(socket: sys.fd_t) ?Protocol {
    const so_protocol = 38;
    const tcp = 6;
    const udp = 17;
    // Of several TCP connections (MPTCP); Go's listeners are of this kind.
    const mptcp = 262;
    return switch (option(socket, sol_socket, so_protocol) orelse return null) {
        tcp, mptcp => .tcp,
        udp => .udp,
        else => null,
    };
}

/// Whether a socket of IPv6 may have IPv4 addresses (ipv6(7), IPV6_V6ONLY).
fn takesV4(socket: sys.fd_t) bool {
    const ipv6 = 41;
    const v6only = 26;
    return option(socket, ipv6, v6only) != 1;
}

fn option(socket: sys.fd_t, level: u32, name: u32) ?u32 {
    var value: u32 = undefined;
    var len: u32 = @sizeOf(u32);
    sys.do(.getsockopt, .{ socket, level, name, &value, &len }) catch return null;
    return value;
}
