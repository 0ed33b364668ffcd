//! A process of ours that waits for the stub's end, when the stub was killed and can do nothing any
//! more. It ends the app where the kernel would not: executing a set-id program takes the
//! parent-death signal back (prctl(2)), and such programs may be allowed (no no_new_privs). And it
//! removes what the app has written to a disk.
const std = @import("std");
const sys = @import("sys.zig");
const Tree = @import("remove.zig").Tree;

pub const Watcher = struct {
    pid: i32,
    pipe: sys.fd_t,

    /// Before a process namespace is entered, so that it is outside of the app's. `lifeline` is the
    /// app's, if there is one already.
    pub fn start(written: ?Tree, lifeline: ?sys.fd_t) !Watcher {
        const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
        var pipe: [2]sys.fd_t = undefined;
        try sys.do(.pipe2, .{ &pipe, cloexec });
        const pid = try sys.fork();
        if (pid == 0) {
            sys.close(pipe[1]);
            if (lifeline) |fd| sys.close(fd);
            sys.closeStandard();
            // Who kills the stub's whole process group spares us.
            _ = sys.raw(.setsid, .{});
            endApp(pipe[0]);
            if (written) |tree| tree.discard();
            sys.exit(0);
        }
        sys.close(pipe[0]);
        return .{ .pid = pid, .pipe = pipe[1] };
    }

    pub fn watchOver(self: Watcher, app: i32) !void {
        try sys.do(.write, .{ self.pipe, &app, @sizeOf(i32) });
    }

    /// When nothing is left to be done. It must not outlive us: our file would still be in use, and
    /// there may be nobody to reap it (the first process of a container).
    pub fn dismiss(self: Watcher) void {
        _ = sys.raw(.write, .{ self.pipe, "", 1 });
        _ = sys.wait(self.pid, 0) catch {};
    }

    /// Returns when the stub and the app are gone.
    fn endApp(pipe: sys.fd_t) void {
        var app: i32 = undefined;
        // No pid: the stub is gone already, and the app never was.
        if (sys.raw(.read, .{ pipe, &app, @sizeOf(i32) }) != @sizeOf(i32)) return;
        // A descriptor, for the number may be another's by then.
        const handle: ?usize = sys.call(.pidfd_open, .{ app, 0 }) catch null;
        var byte: [1]u8 = undefined;
        // All signals are blocked: this returns when the stub dismisses us, or with its end.
        if (sys.raw(.read, .{ pipe, &byte, 1 }) == 1) sys.exit(0);
        const opened = handle orelse return;
        const kill = 9;
        _ = sys.raw(.pidfd_send_signal, .{ opened, kill, 0, 0 });
        // Until then it may write.
        var dead: std.os.linux.pollfd = .{ .fd = @intCast(opened), .events = std.os.linux.POLL.IN, .revents = 0 };
        _ = sys.raw(.ppoll, .{ &dead, 1, 0, 0, 0 });
    }
};
