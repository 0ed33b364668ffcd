//! What the runtime exits with when the program could not be executed.
const std = @import("std");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");

/// Docker's: the program exists but cannot be executed; it does not exist.
pub const not_executable = 126;
pub const not_found = 127;

/// Reports why the app's file was not executed; returns the exit status.
pub fn explain(path: []const u8, number: u8) u8 {
    // The file exists: its interpreter does not.
    if (number == @backingInt(std.os.linux.E.NOENT)) {
        log.say("the interpreter of {s} is not in the image", .{path});
        return not_found;
    }
    log.say("cannot run {s}: {s}", .{ path, errno.textOf(number) });
    return not_executable;
}
