//! Numbers as `docker run` takes them.
const std = @import("std");

pub const unlimited = std.math.maxInt(u64);

/// A number in decimal digits, and nothing but them: no sign, no `_` as Zig's own parser has it.
pub fn number(comptime T: type, given: []const u8) ?T {
    return std.math.cast(T, decimal(given) orelse return null);
}

noinline fn decimal(given: []const u8) ?u64 {
    if (given.len == 0) return null;
    var value: u64 = 0;
    for (given) |digit| {
        if (!std.ascii.isDigit(digit)) return null;
        value = std.math.mul(u64, value, 10) catch return null;
        value = std.math.add(u64, value, digit - '0') catch return null;
    }
    return value;
}

/// A resource limit; -1 and "unlimited" are none.
pub fn limit(given: []const u8) ?u64 {
    if (std.mem.eql(u8, given, "-1") or std.mem.eql(u8, given, "unlimited")) return unlimited;
    return decimal(given);
}

/// Bytes: 512m, 2g, 1024, with a `b` or `ib` behind the letter if one likes.
pub fn bytes(given: []const u8) ?u64 {
    const digits = std.mem.findNone(u8, given, "0123456789") orelse given.len;
    const count = decimal(given[0..digits]) orelse return null;
    if (digits == given.len) return count;
    var unit: [3]u8 = undefined;
    if (given.len - digits > unit.len) return null;
    const name = std.ascii.lowerString(&unit, given[digits..]);
    const power: u6 = for ("bkmgt", 0..) |letter, i| {
        if (name[0] == letter) break @intCast(i);
    } else return null;
    if (name.len > 1 and !(power > 0 and
        (std.mem.eql(u8, name[1..], "b") or std.mem.eql(u8, name[1..], "ib")))) return null;
    return std.math.mul(u64, count, @as(u64, 1) << (10 * power)) catch null;
}

/// A decimal fraction in thousandths: 1.5 is 1500.
pub fn thousandths(given: []const u8) ?u64 {
    const whole, const fraction = std.mem.cutScalar(u8, given, '.') orelse .{ given, "" };
    if (whole.len + fraction.len == 0 or whole.len > 9) return null;
    const high = if (whole.len == 0) 0 else decimal(whole) orelse return null;
    if (fraction.len > 0 and decimal(fraction) == null) return null;
    var low: u64 = 0;
    for (0..3) |i| low = low * 10 + if (i < fraction.len) fraction[i] - '0' else 0;
    return high * 1000 + low;
}

test "numbers" {
    try std.testing.expectEqual(18446744073709551615, number(u64, "18446744073709551615").?);
    try std.testing.expectEqual(7, number(u8, "007").?);
    for ([_][]const u8{ "", "1_0", "+5", "-0", "0x1", " 1", "256", "18446744073709551616" }) |wrong|
        try std.testing.expect(number(u8, wrong) == null);
}

test "quantities" {
    try std.testing.expectEqual(512 << 20, bytes("512m").?);
    try std.testing.expectEqual(2 << 30, bytes("2GiB").?);
    try std.testing.expectEqual(7, bytes("7b").?);
    for ([_][]const u8{ "", "m", "1x", "1mx", "-1", "99999999999t", "1_0m", "+1" }) |wrong|
        try std.testing.expect(bytes(wrong) == null);
    try std.testing.expectEqual(1500, thousandths("1.5").?);
    try std.testing.expectEqual(250, thousandths(".25").?);
    for ([_][]const u8{ "", ".", "x", "1.x", "1.500x", "+1", "1_0" }) |wrong|
        try std.testing.expect(thousandths(wrong) == null);
    try std.testing.expectEqual(unlimited, limit("-1").?);
}
