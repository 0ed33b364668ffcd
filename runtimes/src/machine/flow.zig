//! Bytes on their way from one descriptor to another, neither of which blocks.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");

pub const Flow = struct {
    from: sys.fd_t,
    to: sys.fd_t,
    buf: []u8,
    at: usize = 0,
    end: usize = 0,
    /// Bytes that were read.
    total: u64 = 0,
    /// So many are to come; unknown until the source has ended.
    expected: u64 = std.math.maxInt(u64),

    pub fn init(from: sys.fd_t, to: sys.fd_t) sys.Error!Flow {
        return .{ .from = from, .to = to, .buf = try sys.anonymous(1 << 16) };
    }

    pub fn isEmpty(self: *const Flow) bool {
        return self.at == self.end;
    }

    pub fn isOpen(self: *const Flow) bool {
        return self.from >= 0;
    }

    /// What it waits for: to write what it has, else to read.
    pub fn interest(self: *const Flow) linux.pollfd {
        const events: i16 = if (self.isEmpty()) linux.POLL.IN else linux.POLL.OUT;
        const fd = if (self.isEmpty()) self.from else self.to;
        return .{ .fd = if (self.isOpen()) fd else -1, .events = events, .revents = 0 };
    }

    /// False once there is nothing more to come, or nobody to take it.
    pub fn move(self: *Flow) bool {
        if (self.isEmpty()) {
            const got = sys.call(.read, .{ self.from, self.buf.ptr, self.buf.len }) catch |err|
                return err == error.AGAIN or err == error.INTR;
            if (got == 0) return false;
            self.at = 0;
            self.end = got;
            self.total += got;
        }
        self.at += sys.call(
            .write,
            .{ self.to, self.buf[self.at..].ptr, self.end - self.at },
        ) catch |err| return err == error.AGAIN or err == error.INTR;
        return !(self.isEmpty() and self.total == self.expected);
    }
};
