//! What the runtime exits with when the program could not be executed.
const std = @import("std");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");

/// Docker's: the program is there but cannot be run; it is not there.
pub const not_executable = 126;
pub const not_found = 127;

/// Why the app's file was not executed, to the caller; gives the status to exit with.
pub fn explain(path: []const u8, number: u8) u8 {
    // The file is there: what is missing is what it names as its interpreter.
    if (number == @backingInt(std.os.linux.E.NOENT)) {
        log.note("{s} needs an interpreter that the image has not", .{path});
        return not_found;
    }
    log.note("cannot run {s}: {s}", .{ path, errno.textOf(number) });
    return not_executable;
}
