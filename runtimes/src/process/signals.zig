//! Signals of the runtime's own processes: blocked and fetched one by one, never handled.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const Status = @import("status.zig").Status;

pub const Set = u64;

pub const SIG = struct {
    pub const hup = 1;
    pub const int = 2;
    pub const quit = 3;
    pub const kill = 9;
    pub const pipe = 13;
    pub const term = 15;
    pub const chld = 17;
    pub const cont = 18;
    pub const stop = 19;
    pub const tstp = 20;
    pub const ttin = 21;
    pub const ttou = 22;
    pub const urg = 23;
    pub const winch = 28;
};

/// Not blocked: they report a fault of the thread itself.
const synchronous = bit(4) | bit(5) | bit(7) | bit(8) | bit(11) | bit(31);

pub fn bit(signal: u32) u64 {
    return @as(u64, 1) << @intCast(signal - 1);
}

/// Blocks the signals that the runtime fetches, for all threads that are started later; returns the
/// previous mask. Those in `but` are ignored by it (nohup(1), a shell's `&`): blocked ones would be
/// fetched nevertheless.
pub fn block(but: Set) sys.Error!Set {
    const setmask = 2;
    var old: Set = 0;
    const new: Set = ~(synchronous | but);
    try sys.do(.rt_sigprocmask, .{ setmask, &new, &old, 8 });
    return old;
}

/// What the caller has set to be ignored, which execve(2) keeps.
pub fn ignored() Set {
    var status: Status = .{};
    status.readOwn();
    return status.set("SigIgn");
}

/// For the app, which gets every signal's default action, as in docker's containers.
pub fn resetHandlers(set: Set) void {
    for (1..65) |signal| if (set & bit(@intCast(signal)) != 0) resetHandler(@intCast(signal));
}

/// An ignored SIGCHLD is inherited from the caller (execve(2)), and the kernel would then report no
/// child's end.
pub fn resetSigchld() void {
    resetHandler(SIG.chld);
}

pub fn resetHandler(signal: u32) void {
    const action = std.mem.zeroes(linux.k_sigaction);
    _ = sys.raw(.rt_sigaction, .{ signal, &action, 0, 8 });
}

pub fn restore(mask: *const Set) sys.Error!void {
    const setmask = 2;
    return sys.do(.rt_sigprocmask, .{ setmask, mask, 0, 8 });
}

pub const Signal = struct {
    number: u32,
    /// `from_kernel`, or below 1 if a process sent it (sigaction(2), si_code).
    code: i32,
    /// Who sent it.
    pid: i32,
};

/// SI_KERNEL: one of the terminal's keys. Only the kernel can give it, where other positive codes
/// may come of files that an app has set up to send signals (fcntl(2), F_SETSIG).
pub const from_kernel = 0x80;

/// Waits for a blocked signal.
pub fn next() sys.Error!Signal {
    const all: Set = ~@as(Set, synchronous);
    var info: linux.siginfo_t = undefined;
    const number = try sys.call(.rt_sigtimedwait, .{ &all, &info, 0, 8 });
    return .{
        .number = @intCast(number),
        .code = info.code,
        .pid = info.fields.common.first.piduid.pid,
    };
}

/// A descriptor that blocked signals can be read from (signalfd(2)).
pub const Queue = struct {
    fd: sys.fd_t,

    pub fn open() sys.Error!Queue {
        const all: Set = ~@as(Set, synchronous);
        const nonblocking_cloexec: u32 = @bitCast(sys.O{ .NONBLOCK = true, .CLOEXEC = true });
        return .{ .fd = @intCast(try sys.call(.signalfd4, .{ -1, &all, 8, nonblocking_cloexec })) };
    }

    /// Null if there is none.
    pub fn next(self: Queue) ?Signal {
        var info: linux.signalfd_siginfo = undefined;
        if (sys.raw(.read, .{ self.fd, &info, @sizeOf(@TypeOf(info)) }) != @sizeOf(@TypeOf(info)))
            return null;
        return .{ .number = info.signo, .code = info.code, .pid = @bitCast(info.pid) };
    }
};

/// Ends as the signal would end a program that does not handle it.
pub fn dieFrom(signal: u32) void {
    const none: [2]u64 = .{ 0, 0 };
    const core = 4;
    // The app's end is no crash of ours: no core file.
    _ = sys.raw(.prlimit64, .{ 0, core, &none, 0 });
    raiseDefault(signal);
}

/// Raises the signal with its default action.
fn raiseDefault(signal: u32) void {
    sendToSelf(signal);
    admit(signal);
}

pub fn sendToSelf(signal: u32) void {
    resetHandler(signal);
    _ = sys.raw(.kill, .{ sys.raw(.getpid, .{}), signal });
}

/// To our process group, which is the caller's, as a key of its terminal would.
pub fn sendToOwnGroup(signal: u32) void {
    resetHandler(signal);
    _ = sys.raw(.kill, .{ 0, signal });
}

/// Delivers a pending signal.
pub fn admit(signal: u32) void {
    const all_others = ~bit(signal);
    restore(&all_others) catch {};
    _ = block(0) catch {};
}
