//! Ports of the machine, held from the start until the program binds its own: so that a port that
//! is taken ends the start with a sentence, as with docker, and one that was chosen stays free.
const std = @import("std");
const sys = @import("../../base/syscalls.zig");
const errno = @import("../../base/errno.zig");
const log = @import("../../base/log.zig");
const SocketAddress = @import("socket_address.zig").SocketAddress;
const Port = @import("../../config/ports.zig").Port;
const ports_max = @import("../../config/ports.zig").ports_max;
const Protocol = @import("../../config/ports.zig").Protocol;
const Table = @import("table.zig").Table;

/// The sockets that hold the table's ports, in its order.
pub const Reservation = struct {
    sockets: [ports_max]?sys.fd_t = @splat(null),

    /// Ends the start if a port cannot be had. Fills the table. No other thread may share our
    /// files: it would hold the ports, too.
    pub fn begin(self: *Reservation, table: *Table, ports: []const Port) void {
        for (ports, self.sockets[0..ports.len]) |*port, *socket| {
            const held = hold(port) catch |err| refuse(port, err);
            socket.* = held.socket;
            table.add(.{
                .protocol = port.protocol,
                .has_ip = port.ip != null,
                .inside = port.inside,
                .outside = held.number,
                .ip = port.ip orelse .{ .bytes = @splat(0) },
            });
            if (port.first != port.last or port.first == 0) tell(port, held.number);
        }
    }

    pub fn release(self: *Reservation, index: usize) void {
        const socket = self.sockets[index] orelse return;
        sys.close(socket);
        self.sockets[index] = null;
    }
};

pub fn tell(port: *const Port, number: u16) void {
    log.note("port {d}/{s} of the program is port {d} of this machine", .{
        port.inside,
        port.protocol.name(),
        number,
    });
}

pub const Held = struct { socket: sys.fd_t, number: u16 };

/// The first free one of its ports.
pub fn hold(port: *const Port) sys.Error!Held {
    var number = port.first;
    while (true) : (number += 1) return holdOne(port, number) catch |err| {
        if (err == error.ADDRINUSE and number < port.last) continue;
        return err;
    };
}

fn holdOne(port: *const Port, number: u16) sys.Error!Held {
    const inet = SocketAddress.inet;
    const inet6 = SocketAddress.inet6;
    if (port.ip) |ip| return holdAt(port, number, if (ip.to4() != null) inet else inet6);
    // One socket for both families, if the machine has IPv6.
    return holdAt(port, number, inet6) catch |err| switch (err) {
        error.AFNOSUPPORT, error.ADDRNOTAVAIL => holdAt(port, number, inet),
        else => err,
    };
}

fn holdAt(port: *const Port, number: u16, family: u16) sys.Error!Held {
    const cloexec = 0o2000000;
    const kind: u32 = switch (port.protocol) {
        .tcp => 1,
        .udp => 2,
    };
    const socket: sys.fd_t = @intCast(try sys.call(.socket, .{ family, kind | cloexec, 0 }));
    errdefer sys.close(socket);
    if (port.protocol == .tcp) {
        // Connections of an earlier run that are closing do not count (socket(7)).
        const sol_socket = 1;
        const reuse_address = 2;
        const on: u32 = 1;
        try sys.do(.setsockopt, .{ socket, sol_socket, reuse_address, &on, @sizeOf(u32) });
    }
    var address: SocketAddress = .make(port.ip, number, family);
    var len = address.length();
    try sys.do(.bind, .{ socket, &address, len });
    try sys.do(.getsockname, .{ socket, &address, &len });
    return .{ .socket = socket, .number = address.port() };
}

pub fn refuse(port: *const Port, err: sys.Error) noreturn {
    if (err == error.ADDRINUSE)
        log.die("--publish {s}: this port of the machine is in use", .{port.text});
    if (err == error.ACCES)
        log.die("--publish {s}: ports of the machine below " ++
            "net.ipv4.ip_unprivileged_port_start (sysctl; 1024) are for root", .{port.text});
    if (err == error.ADDRNOTAVAIL)
        log.die("--publish {s}: this machine does not have the address", .{port.text});
    log.die("--publish {s}: {s}", .{ port.text, errno.text(err) });
}
