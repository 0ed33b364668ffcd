//! Processes that this run has made. What may only be done to such a process takes a value that
//! only a successful clone(2) makes.
const sys = @import("../base/syscalls.zig");

/// The calling process is a child that `clone` made.
pub const ChildProcess = struct {
    made: *const Made,
    /// Whether a chroot(2) would be our parent's, too.
    shares_root: bool,

    const Made = opaque {};

    /// Makes the root and the working directory this process's own.
    pub fn ownRoot(self: ChildProcess) sys.Error!OwnRoot {
        if (self.shares_root) try sys.do(.unshare, .{sys.CLONE.fs});
        return .{ .made = @ptrCast(self.made) };
    }
};

/// The calling process shares its root directory with no other.
pub const OwnRoot = struct {
    made: *const Made,

    const Made = opaque {};

    /// To the working directory.
    pub fn chroot(_: OwnRoot) sys.Error!void {
        return sys.do(.chroot, .{"."});
    }
};

/// A process that `clone` made and that was not waited for: its number cannot be reused yet.
pub const Process = struct {
    pid: i32,

    pub fn kill(self: Process, signal: u32) void {
        _ = sys.raw(.kill, .{ self.pid, signal });
    }

    pub fn waitForEnd(self: Process) void {
        _ = sys.wait(self.pid, 0) catch {};
    }

    /// Signals its process group, which it leads or is about to.
    pub fn killGroup(self: Process, signal: u32) void {
        sys.do(.kill, .{ -self.pid, signal }) catch self.kill(signal);
    }
};

pub const Cloned = union(enum) { parent: Process, child: ChildProcess };

/// Like fork(2), with flags of clone(2).
pub fn clone(flags: u32) sys.Error!Cloned {
    const pid = try sys.clone(flags);
    if (pid != 0) return .{ .parent = .{ .pid = pid } };
    return .{ .child = .{ .made = @ptrCast(&any), .shares_root = flags & sys.CLONE.fs != 0 } };
}

/// What `made` points to: nothing reads it.
const any: u8 = 0;
