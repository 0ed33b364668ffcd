//! Ends the app when the stub was killed, where the kernel would not: executing a set-id program
//! takes the parent-death signal back (prctl(2)), so with such programs allowed (no
//! no_new_privs) a process of ours waits for the stub's end.
const sys = @import("sys.zig");

pub const Watcher = struct {
    pipe: sys.fd_t,

    /// Before the app is there, so that it is outside of the app's process namespace.
    pub fn start() !Watcher {
        const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
        var pipe: [2]sys.fd_t = undefined;
        try sys.do(.pipe2, .{ &pipe, cloexec });
        if (try sys.fork() == 0) watch(pipe);
        sys.close(pipe[0]);
        return .{ .pipe = pipe[1] };
    }

    pub fn watchOver(self: Watcher, app: i32) !void {
        try sys.do(.write, .{ self.pipe, &app, @sizeOf(i32) });
    }

    fn watch(pipe: [2]sys.fd_t) noreturn {
        sys.close(pipe[1]);
        sys.closeStandard();
        var app: i32 = undefined;
        // No pid: the stub is gone already, and the app never was.
        if ((sys.call(.read, .{ pipe[0], &app, @sizeOf(i32) }) catch 0) != @sizeOf(i32)) sys.exit(0);
        // A descriptor, for the number may be another's by then.
        const handle = sys.call(.pidfd_open, .{ app, 0 }) catch sys.exit(0);
        var byte: [1]u8 = undefined;
        // All signals are blocked: this returns when the other end is closed by the stub's end.
        _ = sys.raw(.read, .{ pipe[0], &byte, 1 });
        const kill = 9;
        _ = sys.raw(.pidfd_send_signal, .{ handle, kill, 0, 0 });
        sys.exit(0);
    }
};
