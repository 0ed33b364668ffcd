//! Messages on standard error: errors and notes of one sentence each, and the steps of a start with
//! DOCKERC_LOG=debug.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("syscalls.zig");
const text = @import("text.zig");

/// File-level, and not passed about, for a panic handler has no argument to find it by. Set once,
/// before there are threads.
pub var debugging = false;
/// Whether something may have to be said while the app runs.
pub var late = false;
var quiet = false;
/// Microseconds of the monotonic clock.
var started: i64 = 0;

/// The exit status of the runtime's own failures, docker's.
pub const failed = 125;

/// By DOCKERC_LOG: `debug`, or `quiet` for errors alone.
pub fn setLevel(level: []const u8) void {
    quiet = std.mem.eql(u8, level, "quiet");
    debugging = std.mem.eql(u8, level, "debug");
    if (debugging) started = now();
}

/// Whether standard error has to stay open after the app was started.
pub fn speaksLate() bool {
    return debugging or late;
}

fn now() i64 {
    var ts: linux.timespec = undefined;
    const monotonic = 1;
    _ = sys.raw(.clock_gettime, .{ monotonic, &ts });
    return @intCast(ts.sec * 1_000_000 + @divTrunc(ts.nsec, 1000));
}

/// One line. What all lines share is put in front here, and not at every call.
noinline fn print(timed: bool, format: []const u8, words: []const text.Word) void {
    var buf: [4096]u8 = undefined;
    const prefix = if (timed)
        text.print(&buf, "dockerc: [{d} us] ", .{now() - started})
    else
        text.print(&buf, "dockerc: ", .{});
    // A sentence too long for the buffer is cut, not lost.
    const line = text.printWords(buf[prefix.len .. buf.len - 1], format, words);
    // It may contain text of the payload, which must not control the terminal.
    for (line) |*byte| {
        if (byte.* < ' ' or byte.* == 0x7f) byte.* = '?';
    }
    const len = prefix.len + line.len;
    buf[len] = '\n';
    _ = sys.raw(.write, .{ 2, &buf, len + 1 });
}

pub fn debug(comptime format: []const u8, args: anytype) void {
    if (debugging) {
        @branchHint(.cold);
        print(true, format, &text.words(format, args));
    }
}

/// What the caller may want to know though the start goes on.
pub fn note(comptime format: []const u8, args: anytype) void {
    if (!quiet) say(format, args);
}

pub fn say(comptime format: []const u8, args: anytype) void {
    print(false, format, &text.words(format, args));
}

pub fn die(comptime format: []const u8, args: anytype) noreturn {
    @branchHint(.cold);
    end(failed, format, &text.words(format, args));
}

pub fn dieWith(status: u8, comptime format: []const u8, args: anytype) noreturn {
    @branchHint(.cold);
    end(status, format, &text.words(format, args));
}

noinline fn end(status: u8, format: []const u8, words: []const text.Word) noreturn {
    print(false, format, words);
    sys.exit(status);
}
