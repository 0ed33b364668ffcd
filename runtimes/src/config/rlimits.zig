//! Names of resource limits, in the order of their numbers (getrlimit(2), RLIMIT_*).
const std = @import("std");

pub const names = [_][]const u8{
    "CPU", "FSIZE", "DATA",       "STACK",    "CORE", "RSS",    "NPROC",  "NOFILE", "MEMLOCK",
    "AS",  "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
};

pub fn isKnown(name: []const u8) bool {
    for (names) |known| if (std.mem.eql(u8, name, known)) return true;
    return false;
}
