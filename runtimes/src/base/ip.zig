//! IP addresses: as text (RFC 4291, section 2.2), and as 16 bytes, an IPv4 address mapped into IPv6
//! (section 2.5.5.2).
const std = @import("std");

pub const Ip = extern struct {
    bytes: [16]u8,

    const mapped_prefix = [_]u8{ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

    pub const loopback6: Ip = .{ .bytes = .{ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 } };

    pub fn of4(bytes: [4]u8) Ip {
        return .{ .bytes = mapped_prefix ++ bytes };
    }

    /// The IPv4 address; null for one of IPv6.
    pub fn to4(self: *const Ip) ?[4]u8 {
        if (!std.mem.startsWith(u8, &self.bytes, &mapped_prefix)) return null;
        return self.bytes[12..].*;
    }

    /// Without a zone, such as %eth0.
    pub fn parse(given: []const u8) ?Ip {
        if (std.mem.findScalar(u8, given, ':') == null) return .of4(parse4(given) orelse
            return null);
        return parse6(given);
    }

    pub fn isAny(self: *const Ip) bool {
        const v4 = self.to4() orelse return std.mem.allEqual(u8, &self.bytes, 0);
        return std.mem.allEqual(u8, &v4, 0);
    }

    pub fn isLoopback(self: *const Ip) bool {
        const v4 = self.to4() orelse return std.mem.eql(u8, &self.bytes, &loopback6.bytes);
        return v4[0] == 127;
    }
};

fn parse4(given: []const u8) ?[4]u8 {
    var out: [4]u8 = undefined;
    var parts = std.mem.splitScalar(u8, given, '.');
    for (&out) |*byte| {
        const part = parts.next() orelse return null;
        // A zero in front means an octal number to some readers.
        if (part.len > 1 and part[0] == '0') return null;
        byte.* = std.math.cast(u8, digits(part, 10, 3) orelse return null) orelse return null;
    }
    return if (parts.next() == null) out else null;
}

fn digits(part: []const u8, base: u8, most: usize) ?u16 {
    if (part.len == 0 or part.len > most) return null;
    var value: u16 = 0;
    for (part) |letter| {
        const digit = std.fmt.charToDigit(letter, base) catch return null;
        value = value * base + digit;
    }
    return value;
}

fn parse6(given: []const u8) ?Ip {
    const before, const after = blk: {
        const at = std.mem.find(u8, given, "::") orelse break :blk .{ given, null };
        break :blk .{ given[0..at], @as(?[]const u8, given[at + 2 ..]) };
    };
    var front: [16]u8 = undefined;
    var back: [16]u8 = undefined;
    const front_len = groups(before, &front) orelse return null;
    const back_len = groups(after orelse "", &back) orelse return null;
    const len = front_len + back_len;
    // "::" stands for one group of zeros at least.
    if (if (after == null) len != 16 else len > 14) return null;
    var out: Ip = .{ .bytes = @splat(0) };
    @memcpy(out.bytes[0..front_len], front[0..front_len]);
    @memcpy(out.bytes[16 - back_len ..], back[0..back_len]);
    return out;
}

/// Of two bytes each, the last perhaps an IPv4 address; the bytes that they take.
fn groups(given: []const u8, out: *[16]u8) ?usize {
    if (given.len == 0) return 0;
    var len: usize = 0;
    var parts = std.mem.splitScalar(u8, given, ':');
    while (parts.next()) |part| {
        if (parts.peek() == null and std.mem.findScalar(u8, part, '.') != null) {
            if (len > 12) return null;
            out[len..][0..4].* = parse4(part) orelse return null;
            return len + 4;
        }
        if (len > 14) return null;
        const value = digits(part, 16, 4) orelse return null;
        std.mem.writeInt(u16, out[len..][0..2], value, .big);
        len += 2;
    }
    return len;
}

test "addresses" {
    const one = Ip.parse("::1").?;
    try std.testing.expect(one.isLoopback() and one.to4() == null);
    try std.testing.expect(Ip.parse("0.0.0.0").?.isAny() and Ip.parse("::").?.isAny());
    try std.testing.expectEqual([4]u8{ 127, 0, 2, 255 }, Ip.parse("127.0.2.255").?.to4().?);
    try std.testing.expect(Ip.parse("::ffff:127.0.0.1").?.isLoopback());
    const long = Ip.parse("2001:db8:0:1:2:3:4:ffff").?;
    try std.testing.expectEqual(0xff, long.bytes[15]);
    try std.testing.expectEqual(Ip.parse("fe80:0:0:0:0:0:0:1").?, Ip.parse("fe80::1").?);
    const malformed = "|1.2.3|1.2.3.4.5|256.1.1.1|01.2.3.4|1.2.3.+4|:|:::|1::2::3|1:2:3:4:5:6:7|" ++
        "1:2:3:4:5:6:7:8:9|1:2:3:4:5:6:7::8|g::|12345::|fe80::1%lo|::1.2.3|localhost|" ++
        "1:2:3:4:5:6:7:1.2.3.4";
    var words = std.mem.splitScalar(u8, malformed, '|');
    while (words.next()) |wrong| try std.testing.expect(Ip.parse(wrong) == null);
}
