//! A process of ours in the app's process group. The kernel sends a terminal's keys to that group,
//! and stops it when it reads from a terminal that is not its own (termios(3)); but the app, being
//! the first process of its namespace, ignores what it has no handler for. The listener hears the
//! same and tells the runtime, which then ends, stops or gives the terminal to the app.
const sys = @import("../base/syscalls.zig");
const Message = @import("control_message.zig").Message;
const own_process = @import("own_process.zig");
const signals = @import("signals.zig");
const SIG = signals.SIG;

/// Of `group`, and told over `control`. Called by the leader of the group's session: a group none
/// of whose parents are in that session would get an error and no signal (setpgid(2), orphaned
/// groups).
pub fn start(control: sys.fd_t, group: i32) !own_process.Process {
    const leader = sys.raw(.getpid, .{});
    switch (try own_process.clone(0)) {
        .parent => |process| return process,
        .child => {
            // With the watchdog.
            const set_pdeathsig = 1;
            sys.do(.prctl, .{ set_pdeathsig, SIG.kill, 0, 0, 0 }) catch sys.exit(1);
            if (sys.raw(.getppid, .{}) != leader) sys.exit(1);
            sys.do(.setpgid, .{ 0, group }) catch sys.exit(1);
            sys.closeAllBut(&@splat(control));
            tell(control, .{ .kind = .listen });
            listen(control);
        },
    }
}

fn listen(control: sys.fd_t) noreturn {
    while (true) {
        const signal = signals.next() catch continue;
        // What a process sends is no key: the app's to its own group, our own to the app's.
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
