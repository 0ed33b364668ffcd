//! System calls that the kernel asks us about (seccomp_unotify(2), linux/seccomp.h).
const std = @import("std");
const linux = std.os.linux;
const sys = @import("syscalls.zig");

/// struct seccomp_notif, with struct seccomp_data in it.
pub const Notification = extern struct {
    id: u64,
    /// The thread, as we number it; 0 if we do not see it.
    tid: i32,
    flags: u32,
    number: i32,
    arch: u32,
    instruction: u64,
    arguments: [6]u64,
};

/// struct seccomp_notif_resp.
const Response = extern struct { id: u64, value: i64 = 0, failure: i32 = 0, flags: u32 = 0 };

/// struct seccomp_notif_addfd.
const AddedFile = extern struct {
    id: u64,
    flags: u32,
    source: u32,
    as: u32 = 0,
    file_flags: u32,
};

/// The file that a filter's installation has returned.
pub const Listener = struct {
    fd: sys.fd_t,

    const receive = 0xc050_2100;
    const respond = 0xc018_2101;
    const id_valid = 0x4008_2102;
    const add_file = 0x4018_2103;
    const set_flags = 0x4008_2104;

    /// The thread that waits and the one that answers take turns: they do so on one processor
    /// (Linux 6.6).
    pub fn shareProcessor(self: Listener) void {
        const sync_wake_up: u64 = 1;
        // By value (kernel/seccomp.c, seccomp_notify_set_flags).
        _ = sys.raw(.ioctl, .{ self.fd, set_flags, sync_wake_up });
    }

    /// NOENT: the thread has got a signal meanwhile, or nobody has the filter any more.
    pub fn next(self: Listener) sys.Error!Notification {
        // The kernel refuses other content.
        var notification = std.mem.zeroes(Notification);
        try sys.do(.ioctl, .{ self.fd, receive, &notification });
        return notification;
    }

    pub fn isOver(self: Listener) bool {
        var polled: linux.pollfd = .{ .fd = self.fd, .events = 0, .revents = 0 };
        const at_once: linux.timespec = .{ .sec = 0, .nsec = 0 };
        _ = sys.raw(.ppoll, .{ &polled, 1, &at_once, 0, 0 });
        return polled.revents & linux.POLL.HUP != 0;
    }

    /// Whether the thread still waits: its number cannot have been used again.
    pub fn isValid(self: Listener, id: u64) bool {
        return if (sys.do(.ioctl, .{ self.fd, id_valid, &id })) |_| true else |_| false;
    }

    /// With the result of a system call.
    pub fn answer(self: Listener, id: u64, result: usize) void {
        const value: i64 = @bitCast(result);
        const failed = value < 0 and value >= -4095;
        self.send(.{
            .id = id,
            .value = if (failed) 0 else value,
            .failure = if (failed) @intCast(value) else 0,
        });
    }

    /// The kernel goes on with the call, as if it had not asked.
    pub fn goOn(self: Listener, id: u64) void {
        const flag_continue = 1;
        self.send(.{ .id = id, .flags = flag_continue });
    }

    /// A descriptor of its own for a file of ours: its number, which is still to be answered, or a
    /// negative errno.
    pub fn give(self: Listener, id: u64, fd: sys.fd_t, cloexec: bool) usize {
        const added: AddedFile = .{
            .id = id,
            .flags = 0,
            .source = @intCast(fd),
            .file_flags = if (cloexec) @bitCast(sys.O{ .CLOEXEC = true }) else 0,
        };
        return sys.raw(.ioctl, .{ self.fd, add_file, &added });
    }

    fn send(self: Listener, response: Response) void {
        // It fails if the thread has ended, or got a signal.
        _ = sys.raw(.ioctl, .{ self.fd, respond, &response });
    }
};
