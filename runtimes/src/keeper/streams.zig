//! Standard streams of processes that outlive the caller.
const sys = @import("../base/syscalls.zig");

/// What is written there is discarded, and there is nothing to read.
pub fn discard(streams: []const sys.fd_t) sys.Error!void {
    const flags: sys.O = .{ .ACCMODE = .RDWR, .CLOEXEC = true };
    const nothing = try sys.openat(sys.at_fdcwd, "/dev/null", flags, 0);
    defer sys.close(nothing);
    for (streams) |stream| try sys.do(.dup3, .{ nothing, stream, 0 });
}
