//! --init: a first process that does what a first process has to. It starts the app as its child,
//! passes signals on, reaps what others leave behind, and ends when the app does.
const sys = @import("sys.zig");
const signals = @import("signals.zig");

/// Returns in the child that becomes the app.
pub fn split() !void {
    var mask = try signals.block();
    const app = try sys.fork();
    if (app == 0) return signals.restore(&mask);
    sys.closeStandard();
    while (true) {
        const signal = signals.next() catch continue;
        if (signal.number != signals.SIG.chld) {
            // What the kernel sent to the terminal's process group has reached the app.
            if (!signal.from_kernel) _ = sys.raw(.kill, .{ app, signal.number });
            continue;
        }
        while (true) {
            const nohang = 1;
            const end = sys.wait(-1, nohang) catch break;
            if (end.pid == 0) break;
            if (end.pid != app) continue;
            const killed = end.status & 0x7f;
            sys.exit(if (killed == 0) @truncate(end.status >> 8) else @intCast(128 + killed));
        }
    }
}
