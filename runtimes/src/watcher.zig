//! A process of ours that waits for the stub's end, when the stub was killed and can do nothing any
//! more. It ends the app where the kernel would not: executing a set-id program takes the
//! parent-death signal back (prctl(2)), and such programs may be allowed (no no_new_privs). And it
//! removes what the app has written to a disk.
const std = @import("std");
const sys = @import("sys.zig");
const Child = @import("container.zig").Child;
const Tree = @import("remove.zig").Tree;

pub const Watcher = struct {
    pid: i32,
    pipe: sys.fd_t,

    /// Before the app's process has become the app.
    pub fn start(written: ?Tree, app: Child) !Watcher {
        const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
        var pipe: [2]sys.fd_t = undefined;
        try sys.do(.pipe2, .{ &pipe, cloexec });
        const pid = try sys.fork();
        if (pid == 0) {
            sys.close(pipe[1]);
            sys.close(app.lifeline);
            sys.closeStandard();
            // Who kills the stub's whole process group spares us.
            _ = sys.raw(.setsid, .{});
            endApp(pipe[0], app.pid) catch {};
            if (written) |tree| tree.discard();
            sys.exit(0);
        }
        sys.close(pipe[0]);
        return .{ .pid = pid, .pipe = pipe[1] };
    }

    /// When nothing is left to be done. It must not outlive us: our file would still be in use, and
    /// there may be nobody to reap it (the first process of a container).
    pub fn dismiss(self: Watcher) void {
        _ = sys.raw(.write, .{ self.pipe, "", 1 });
        _ = sys.wait(self.pid, 0) catch {};
    }

    fn endApp(pipe: sys.fd_t, app: i32) !void {
        // A descriptor, for the number may be another's by then.
        const handle = try sys.call(.pidfd_open, .{ app, 0 });
        var byte: [1]u8 = undefined;
        // All signals are blocked: this returns when the stub dismisses us, or with its end.
        if (sys.raw(.read, .{ pipe, &byte, 1 }) == 1) sys.exit(0);
        const kill = 9;
        _ = sys.raw(.pidfd_send_signal, .{ handle, kill, 0, 0 });
        // Until then it may write.
        var dead: std.os.linux.pollfd = .{ .fd = @intCast(handle), .events = std.os.linux.POLL.IN, .revents = 0 };
        _ = sys.raw(.ppoll, .{ &dead, 1, 0, 0, 0 });
    }
};
