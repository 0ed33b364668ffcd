//! The stub as the app's parent: it passes signals on, ends or stops an app that, being pid 1 of
//! its namespace, would ignore what a program normally dies or stops of, and reports the end.
const std = @import("std");
const linux = std.os.linux;
const pause = @import("fuse/pause.zig");
const sys = @import("sys.zig");
const text = @import("text.zig");
const log = @import("log.zig");

pub const Set = u64;

pub const SIG = struct {
    const hup = 1;
    const int = 2;
    const quit = 3;
    const kill = 9;
    const usr1 = 10;
    const usr2 = 12;
    const pipe = 13;
    const alrm = 14;
    const term = 15;
    pub const chld = 17;
    const cont = 18;
    const stop = 19;
    const tstp = 20;
    const ttin = 21;
    const ttou = 22;
    const urg = 23;
    const winch = 28;
};

/// Left alone: they report a fault of the thread that gets them.
const synchronous = bit(4) | bit(5) | bit(7) | bit(8) | bit(11) | bit(31);

fn bit(signal: u32) u64 {
    return @as(u64, 1) << @intCast(signal - 1);
}

/// Blocks what the stub wants to be told of, for all threads that are started later; gives the
/// mask that was.
pub fn block() sys.Error!Set {
    const setmask = 2;
    var old: Set = 0;
    const new: Set = ~@as(Set, synchronous);
    try sys.do(.rt_sigprocmask, .{ setmask, &new, &old, 8 });
    return old;
}

/// A caller that ignores their ends leaves that to us (execve(2)), and the kernel would tell nothing.
pub fn hearOfChildren() void {
    takeDefault(SIG.chld);
}

fn takeDefault(signal: u32) void {
    const action = std.mem.zeroes(linux.k_sigaction);
    _ = sys.raw(.rt_sigaction, .{ signal, &action, 0, 8 });
}

pub fn restore(mask: *const Set) sys.Error!void {
    const setmask = 2;
    return sys.do(.rt_sigprocmask, .{ setmask, mask, 0, 8 });
}

/// Waits for a blocked signal. One from the kernel is one of the terminal's keys.
pub fn next() sys.Error!struct { number: u32, from_kernel: bool } {
    const all: Set = ~@as(Set, synchronous);
    var info: linux.siginfo_t = undefined;
    const number = try sys.call(.rt_sigtimedwait, .{ &all, &info, 0, 8 });
    return .{ .number = @intCast(number), .from_kernel = info.code > 0 };
}

pub const End = struct {
    status: u8,
    /// The signal that the app was ended for, when that was our doing.
    ended_by: ?u32 = null,

    /// The caller's shell wants to see which signal it was.
    pub fn imitate(self: End) void {
        if (self.ended_by) |by| dieOf(by);
    }
};

/// The app, seen from its parent. `proc` is the machine's /proc.
pub const App = struct {
    pid: i32,
    proc: sys.fd_t,
    /// Whether it is started by init.zig, which takes every signal and passes it on.
    init: bool,
    /// The signal that it was ended for, when that was our doing.
    ended_by: ?u32 = null,

    /// Waits for its end and gives the status to exit with.
    pub fn supervise(self: *App) End {
        while (true) {
            const signal = next() catch continue;
            if (signal.number == SIG.chld) {
                if (self.reap()) |end| return end;
                continue;
            }
            self.pass(signal.number, signal.from_kernel);
        }
    }

    fn reap(self: *App) ?End {
        const wnohang = 1;
        while (true) {
            const end = sys.wait(-1, wnohang) catch return .{ .status = log.failed };
            if (end.pid == 0) return null;
            if (end.pid != self.pid) continue;
            const signal = end.status & 0x7f;
            if (signal == 0) return .{ .status = @truncate(end.status >> 8) };
            return .{ .status = @intCast(128 + (self.ended_by orelse signal)), .ended_by = self.ended_by };
        }
    }

    fn pass(self: *App, signal: u32, from_kernel: bool) void {
        // The terminal has sent it to the whole process group, the app included; but that it is
        // gone it tells the session's leader only, which may be us.
        if (!from_kernel or signal == SIG.hup) self.kill(signal);
        switch (signal) {
            SIG.tstp, SIG.ttin, SIG.ttou => if (self.hasDefault(signal)) self.stop(signal),
            SIG.cont => if (from_kernel) self.kill(SIG.cont),
            SIG.urg, SIG.winch => {},
            else => if (self.hasDefault(signal)) {
                log.debug("signal {d}: the app has no handler", .{signal});
                self.ended_by = signal;
                self.kill(SIG.kill);
            },
        }
    }

    fn stop(self: *App, signal: u32) void {
        self.kill(SIG.stop);
        // Us too, so that the shell sees the job stop; we go on from here when it continues, or at
        // once where there is nobody to continue us (orphaned process groups, setpgid(2)).
        pause.begin();
        suffer(signal);
        pause.end();
        self.kill(SIG.cont);
    }

    fn kill(self: *App, signal: u32) void {
        _ = sys.raw(.kill, .{ self.pid, signal });
    }

    /// Whether the app neither handles nor ignores the signal.
    fn hasDefault(self: *App, signal: u32) bool {
        if (self.init) return signal == SIG.tstp or signal == SIG.ttin or signal == SIG.ttou;
        var path: [32:0]u8 = undefined;
        const name = text.print(&path, "{d}/status", .{self.pid});
        path[name.len] = 0;
        var buf: [8192]u8 = undefined;
        const status = sys.readStart(self.proc, &path, &buf) catch return false;
        return (field(status, "SigIgn:") | field(status, "SigCgt:")) & bit(signal) == 0;
    }
};

fn field(status: []const u8, name: []const u8) u64 {
    const at = std.mem.find(u8, status, name) orelse return 0;
    const rest = std.mem.trim(u8, status[at + name.len ..], " \t");
    const end = std.mem.findScalar(u8, rest, '\n') orelse rest.len;
    return std.fmt.parseInt(u64, rest[0..end], 16) catch 0;
}

fn dieOf(signal: u32) void {
    const none: [2]u64 = .{ 0, 0 };
    const core = 4;
    // The app's death is not a crash of ours worth a core file.
    _ = sys.raw(.prlimit64, .{ 0, core, &none, 0 });
    suffer(signal);
}

/// What the signal does to a program that has no handler is done to us.
fn suffer(signal: u32) void {
    takeDefault(signal);
    _ = sys.raw(.kill, .{ sys.raw(.getpid, .{}), signal });
    const all_others = ~bit(signal);
    restore(&all_others) catch {};
    _ = block() catch {};
}

test "masks of /proc/PID/status" {
    const status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\nSigCgt:\t0000000180004a02\n";
    try std.testing.expectEqual(bit(1), field(status, "SigIgn:"));
    try std.testing.expect(field(status, "SigCgt:") & bit(SIG.int) != 0);
    try std.testing.expectEqual(0, field(status, "SigNone:"));
}
