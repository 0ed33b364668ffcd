//! A thread of the app whose system call we answer: its memory and its sockets. The runtime may use
//! them because it may trace the process (ptrace(2)).
const sys = @import("../../base/syscalls.zig");
const memory = @import("../memory.zig");
const Status = @import("../status.zig").Status;

pub const RemoteProcess = struct {
    /// /proc of the machine.
    proc: sys.fd_t,
    thread: i32,

    /// Fills `buf` from an address in its memory; false if there is none.
    pub fn read(self: RemoteProcess, address: u64, buf: []u8) bool {
        return if (memory.read(self.thread, address, buf)) |_| true else |_| false;
    }

    /// A duplicate of one of its descriptors: the same open file.
    pub fn take(self: RemoteProcess, fd: sys.fd_t) sys.Error!sys.fd_t {
        const handle = try self.open();
        defer sys.close(handle);
        return @intCast(try sys.call(.pidfd_getfd, .{ handle, fd, 0 }));
    }

    fn open(self: RemoteProcess) sys.Error!sys.fd_t {
        // PIDFD_THREAD, Linux 6.9.
        const of_thread = 0o200;
        const opened = sys.call(.pidfd_open, .{ self.thread, of_thread }) catch |err| blk: {
            if (err != error.INVAL) return err;
            break :blk try sys.call(.pidfd_open, .{ try self.leader(), 0 });
        };
        return @intCast(opened);
    }

    /// The process id: that of the thread group's first thread.
    fn leader(self: RemoteProcess) sys.Error!i32 {
        var status: Status = .{};
        status.read(self.proc, self.thread);
        return status.number("Tgid") orelse error.SRCH;
    }
};
