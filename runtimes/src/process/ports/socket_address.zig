//! Addresses of bind(2) and connect(2): ip(7), ipv6(7).
const std = @import("std");
const Ip = @import("../../base/ip.zig").Ip;

pub const SocketAddress = extern union {
    family: u16,
    v4: extern struct { family: u16, port: u16, ip: [4]u8, zero: [8]u8 = @splat(0) },
    v6: extern struct { family: u16, port: u16, flow: u32, ip: [16]u8, scope: u32 },
    /// struct sockaddr_storage: the kernel takes no longer ones.
    bytes: [128]u8 align(8),

    pub const inet = 2;
    pub const inet6 = 10;

    /// Without sin6_scope_id, which the kernel does not ask for (SIN6_LEN_RFC2133).
    const v6_len = 24;

    pub const empty: SocketAddress = .{ .bytes = @splat(0) };

    /// Null if `len` bytes are no address of these families.
    pub fn ip(self: *const SocketAddress, len: usize) ?Ip {
        if (self.family == inet and len >= @sizeOf(@TypeOf(self.v4))) return .of4(self.v4.ip);
        if (self.family == inet6 and len >= v6_len) return .{ .bytes = self.v6.ip };
        return null;
    }

    /// At the same place in both.
    pub fn port(self: *const SocketAddress) u16 {
        return std.mem.bigToNative(u16, self.v4.port);
    }

    pub fn setPort(self: *SocketAddress, number: u16) void {
        self.v4.port = std.mem.nativeToBig(u16, number);
    }

    /// `takes_v4`: whether a socket of IPv6 may have a mapped address. An address of the other
    /// family becomes the loopback address of this one.
    pub fn setIp(self: *SocketAddress, wanted: Ip, takes_v4: bool) void {
        const wanted4 = wanted.to4();
        if (self.family == inet) {
            self.v4.ip = wanted4 orelse .{ 127, 0, 0, 1 };
        } else {
            const fits = wanted4 == null or takes_v4;
            self.v6.ip = if (fits) wanted.bytes else Ip.loopback6.bytes;
            self.v6.scope = 0;
        }
    }

    pub fn make(wanted: ?Ip, number: u16, family: u16) SocketAddress {
        var self = empty;
        self.family = family;
        if (wanted) |given| self.setIp(given, true);
        self.setPort(number);
        return self;
    }

    pub fn length(self: *const SocketAddress) u32 {
        return if (self.family == inet) @sizeOf(@TypeOf(self.v4)) else @sizeOf(@TypeOf(self.v6));
    }
};

test "addresses of sockets" {
    var address: SocketAddress = .make(null, 80, SocketAddress.inet6);
    try std.testing.expectEqual(28, address.length());
    try std.testing.expect(address.ip(28).?.isAny() and address.ip(23) == null);
    try std.testing.expectEqualSlices(u8, &.{ 0, 80 }, address.bytes[2..4]);
    address.setIp(Ip.parse("1.2.3.4").?, false);
    try std.testing.expectEqual(Ip.loopback6, address.ip(28).?);
    address.setIp(Ip.parse("1.2.3.4").?, true);
    try std.testing.expectEqual(Ip.parse("::ffff:1.2.3.4").?, address.ip(28).?);
    var old: SocketAddress = .make(Ip.parse("10.0.0.1").?, 8080, SocketAddress.inet);
    try std.testing.expectEqual(16, old.length());
    try std.testing.expectEqual(8080, old.port());
    old.setIp(Ip.parse("2001:db8::1").?, true);
    try std.testing.expect(old.ip(16).?.isLoopback());
}
