//! The caller's standard error, for a sentence after the app was started. By then the runtime has
//! closed its streams: readers of pipes and sockets wait for the end of what the app writes. Such a
//! stream is taken back from the app, as long as the app has it.
const sys = @import("../base/syscalls.zig");
const Statx = @import("std").os.linux.Statx;

pub const StandardError = struct {
    what: ?Statx,
    held: ?sys.fd_t = null,

    const stream = 2;

    pub fn remember() StandardError {
        const what = sys.stat(stream, "") catch return .{ .what = null };
        return switch (what.mode & 0o170000) {
            // A file or a device has no end that somebody waits for.
            0o100000, 0o020000 => .{ .what = what, .held = sys.dupAbove(stream) catch null },
            else => .{ .what = what },
        };
    }

    /// Before the app, a child of ours, is killed.
    pub fn takeFrom(self: *StandardError, app: i32) void {
        const expected = self.what orelse return;
        if (self.held != null) return;
        const handle = sys.call(.pidfd_open, .{ app, 0 }) catch return;
        defer sys.close(@intCast(handle));
        const fd: sys.fd_t = @intCast(sys.call(.pidfd_getfd, .{ handle, stream, 0 }) catch return);
        const found = sys.stat(fd, "") catch return;
        if (found.ino == expected.ino and found.dev_major == expected.dev_major and
            found.dev_minor == expected.dev_minor)
        {
            self.held = fd;
        } else sys.close(fd);
    }

    pub fn reopen(self: *const StandardError) void {
        if (self.held) |fd| sys.do(.dup3, .{ fd, stream, 0 }) catch {};
    }
};
