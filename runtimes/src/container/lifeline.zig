//! The socket between the runtime and the app's process until that is the app: that the root file
//! system is mounted, what is executed, and why that failed.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const first_socket = @import("../config/service.zig").first_socket;
const log = @import("../base/log.zig");
const socket = @import("../base/socket.zig");

pub const Lifeline = struct {
    ours: sys.fd_t,
    theirs: sys.fd_t,

    pub fn open() !Lifeline {
        const ends = try socket.pair();
        return .{ .ours = ends[0], .theirs = ends[1] };
    }

    /// By the runtime, which no longer needs the other end.
    pub fn goOn(self: Lifeline, message: []const u8) void {
        socket.send(self.ours, message, &.{}) catch {};
        sys.close(self.theirs);
    }

    /// By the app's process. Closes the runtime's descriptors, and those that the caller had open:
    /// a working directory or program of /proc/self/fd/N must not lead to the machine's files (as
    /// in runc, CVE-2024-21626). Only the lifeline stays until the exec, behind the sockets that
    /// are the app's.
    pub fn keepAlone(self: *Lifeline, sockets: u8) sys.Error!void {
        const first: sys.fd_t = first_socket + @as(sys.fd_t, sockets);
        if (self.theirs != first) {
            const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
            try sys.do(.dup3, .{ self.theirs, first, cloexec });
            self.theirs = first;
        }
        sys.closeRange(first + 1, std.math.maxInt(sys.fd_t));
    }

    /// By the app's process: SIGKILL when the runtime dies, or now if it already has. The app may
    /// clear this; then the watchdog kills it.
    pub fn dieWithRuntime(self: Lifeline) sys.Error!void {
        const set_pdeathsig = 1;
        const sigkill = 9;
        try sys.do(.prctl, .{ set_pdeathsig, sigkill, 0, 0, 0 });
        const hung_up = std.os.linux.POLL.HUP;
        var poll: std.os.linux.pollfd = .{ .fd = self.theirs, .events = 0, .revents = 0 };
        var at_once: std.os.linux.timespec = .{ .sec = 0, .nsec = 0 };
        // The kernel writes the remaining time back.
        _ = try sys.call(.ppoll, .{ &poll, 1, &at_once, 0, 0 });
        if (poll.revents & hung_up != 0) sys.exit(log.failed);
    }
};
