//! A process of ours in the app's process group. The kernel sends that group the signals of the
//! terminal's keys, and stops it when it reads in the background (termios(3)); but the app, as
//! process 1 of its namespace, ignores signals that it does not handle. The listener gets the same
//! signals and reports them to the runtime, which then ends or stops the app, or gives it the
//! terminal.
const sys = @import("../base/syscalls.zig");
const Message = @import("control_message.zig").Message;
const own_process = @import("own_process.zig");
const signals = @import("signals.zig");
const SIG = signals.SIG;

/// Joins `group` and reports over `control`. Called by the session's leader: a group without a
/// parent in its session is orphaned, and gets EIO instead of SIGTTIN (setpgid(2)).
pub fn start(control: sys.fd_t, group: i32) !own_process.Process {
    const leader = sys.raw(.getpid, .{});
    switch (try own_process.clone(0)) {
        .parent => |process| return process,
        .child => {
            // Dies with the watchdog.
            const set_pdeathsig = 1;
            sys.do(.prctl, .{ set_pdeathsig, SIG.kill, 0, 0, 0 }) catch sys.exit(1);
            if (sys.raw(.getppid, .{}) != leader) sys.exit(1);
            sys.do(.setpgid, .{ 0, group }) catch sys.exit(1);
            sys.closeAllBut(&.{control});
            tell(control, .{ .kind = .listen });
            listen(control);
        },
    }
}

fn listen(control: sys.fd_t) noreturn {
    while (true) {
        const signal = signals.next() catch continue;
        // Signals sent by processes are no keys: the app's to its own group, and ours to the app's.
        if (signal.code != signals.from_kernel) continue;
        switch (signal.number) {
            SIG.hup, SIG.int, SIG.quit, SIG.tstp, SIG.ttin, SIG.ttou => {},
            else => continue,
        }
        tell(control, .{ .kind = .heard, .value = @intCast(signal.number) });
    }
}

fn tell(control: sys.fd_t, message: Message) void {
    _ = sys.raw(.write, .{ control, &message, @sizeOf(Message) });
}
