//! The machine's network card on QEMU's user network, whose addresses are always the same (QEMU's
//! manual, "Using the user mode network stack"): no client of DHCP is needed.
const std = @import("std");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const sys = @import("../base/syscalls.zig");

const own = [4]u8{ 10, 0, 2, 15 };
const mask = [4]u8{ 255, 255, 255, 0 };
const gateway = [4]u8{ 10, 0, 2, 2 };
/// IPv6 configures itself: QEMU advertises a router.
const resolv_conf = "nameserver 10.0.2.3\n";

// bits/ioctls.h
const siocaddrt = 0x890b;
const siocsifflags = 0x8914;
const siocsifaddr = 0x8916;
const siocsifnetmask = 0x891c;
const up_running = 0x41;

/// struct sockaddr_in
const Address = extern struct {
    family: u16 = 2,
    port: u16 = 0,
    ip: [4]u8 = @splat(0),
    padding: [8]u8 = @splat(0),
};

/// struct ifreq
const Request = extern struct {
    name: [16]u8,
    value: extern union { address: Address, flags: i16, all: [24]u8 },
};

/// struct rtentry
const Route = extern struct {
    padding: usize = 0,
    destination: Address = .{},
    gateway: Address = .{ .ip = gateway },
    mask: Address = .{},
    flags: u16 = 0x3, // RTF_UP | RTF_GATEWAY
    rest: [64]u8 align(8) = @splat(0),
};

/// Loopback, and the card if there is one.
pub fn raise(card: bool) void {
    const socket = sys.call(.socket, .{ 2, 2, 0 }) catch |err|
        return log.say("the kernel has no network: {s}", .{errno.text(err)});
    defer sys.close(@intCast(socket));
    setUp(socket, "lo") catch {};
    if (!card) return;
    configure(socket) catch |err|
        log.say("the network card cannot be used: {s}", .{errno.text(err)});
}

fn configure(socket: usize) sys.Error!void {
    const name = "eth0";
    // The driver's module finds the card at once.
    inline for (.{ .{ siocsifaddr, own }, .{ siocsifnetmask, mask } }) |each| {
        var request = requestFor(name);
        request.value = .{ .address = .{ .ip = each[1] } };
        try sys.do(.ioctl, .{ socket, each[0], &request });
    }
    try setUp(socket, name);
    const route: Route = .{};
    try sys.do(.ioctl, .{ socket, siocaddrt, &route });
    sys.mkdir("/etc", 0o755) catch {};
    const flags: sys.O = .{ .ACCMODE = .WRONLY, .CREAT = true, .CLOEXEC = true };
    const file = try sys.openat(sys.at_fdcwd, "/etc/resolv.conf", flags, 0o644);
    defer sys.close(file);
    try sys.writeAll(file, resolv_conf);
}

fn setUp(socket: usize, name: []const u8) sys.Error!void {
    var request = requestFor(name);
    request.value = .{ .flags = up_running };
    return sys.do(.ioctl, .{ socket, siocsifflags, &request });
}

fn requestFor(name: []const u8) Request {
    var request: Request = .{ .name = @splat(0), .value = .{ .all = @splat(0) } };
    @memcpy(request.name[0..name.len], name);
    return request;
}
