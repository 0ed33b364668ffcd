//! Signals by name or number, as an image's StopSignal has them (OCI image-spec, config.md).
const std = @import("std");
const quantity = @import("../cli/quantity.zig");

/// By their numbers from 1 on (signal(7)), the same on both architectures.
const names = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT " ++
    "CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

/// The C library keeps two of the kernel's 32 real-time signals for itself.
const first_real_time = 34;
const last_real_time = 64;

/// SIGTERM, TERM, 15, SIGRTMIN+3, SIGRTMAX-2.
pub fn parse(given: []const u8) ?u32 {
    const name = std.mem.cutPrefix(u8, given, "SIG") orelse given;
    if (quantity.number(u32, name)) |number|
        return if (number >= 1 and number <= last_real_time) number else null;
    if (std.mem.cutPrefix(u8, name, "RTMIN")) |rest| {
        const beyond = offset(rest, '+') orelse return null;
        return first_real_time + beyond;
    }
    if (std.mem.cutPrefix(u8, name, "RTMAX")) |rest| {
        const below = offset(rest, '-') orelse return null;
        return last_real_time - below;
    }
    var each = std.mem.tokenizeScalar(u8, names, ' ');
    var number: u32 = 1;
    while (each.next()) |known| : (number += 1) if (std.mem.eql(u8, known, name)) return number;
    return null;
}

fn offset(rest: []const u8, sign: u8) ?u32 {
    if (rest.len == 0) return 0;
    if (rest[0] != sign) return null;
    const number = quantity.number(u32, rest[1..]) orelse return null;
    return if (number <= last_real_time - first_real_time) number else null;
}

test "names and numbers" {
    const known = [_]struct { []const u8, u32 }{
        .{ "SIGTERM", 15 },     .{ "QUIT", 3 },      .{ "SIGWINCH", 28 }, .{ "SYS", 31 },
        .{ "9", 9 },            .{ "64", 64 },       .{ "SIGRTMIN", 34 }, .{ "RTMIN+3", 37 },
        .{ "SIGRTMAX-30", 34 }, .{ "SIGRTMAX", 64 },
    };
    for (known) |each| try std.testing.expectEqual(each[1], parse(each[0]).?);
    const wrong = "0 65 SIGTER SIG RTMIN-1 RTMIN+31 RTMAX-31 -1 RTMIN+ sigterm";
    var each = std.mem.splitScalar(u8, wrong, ' ');
    while (each.next()) |word| try std.testing.expect(parse(word) == null);
    try std.testing.expect(parse("") == null);
}
