//! The serial ports that lead to `dockerc vm`: one for each stream of the app, and one for what the
//! two say to each other.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");

pub const Ports = struct {
    control: sys.fd_t,
    /// The app's standard streams.
    streams: [3]sys.fd_t,

    /// Each tells the token first. They appear one by one, after the driver was loaded.
    pub fn open(token: []const u8) Ports {
        const deadline = sys.monotonic() + 10_000;
        return .{
            .control = openOne("/dev/vport0p1", token, deadline),
            .streams = .{
                openOne("/dev/vport0p2", token, deadline),
                openOne("/dev/vport0p3", token, deadline),
                openOne("/dev/vport0p4", token, deadline),
            },
        };
    }

    fn openOne(path: [*:0]const u8, token: []const u8, deadline: i64) sys.fd_t {
        const flags: sys.O = .{ .ACCMODE = .RDWR, .NONBLOCK = true, .CLOEXEC = true };
        while (sys.monotonic() < deadline) : (sys.sleep(1)) {
            const fd = sys.openat(sys.at_fdcwd, path, flags, 0) catch |err| {
                if (err == error.NOENT or err == error.NXIO or err == error.NODEV) continue;
                log.die("cannot open {s}: {s}", .{ path, errno.text(err) });
            };
            while (sys.monotonic() < deadline) : (sys.sleep(1)) {
                if (isConnected(fd) and tell(fd, token)) return fd;
            }
        }
        log.die("nobody is connected to {s}", .{path});
    }

    /// Until QEMU has told the kernel of the connection, a port looks as if it had none.
    pub fn isConnected(fd: sys.fd_t) bool {
        var poll: linux.pollfd = .{ .fd = fd, .events = linux.POLL.OUT, .revents = 0 };
        const now: linux.timespec = .{ .sec = 0, .nsec = 0 };
        if (sys.raw(.ppoll, .{ &poll, 1, &now, 0, 0 }) != 1) return false;
        return poll.revents & linux.POLL.HUP == 0 and poll.revents & linux.POLL.OUT != 0;
    }

    fn tell(fd: sys.fd_t, text: []const u8) bool {
        return if (sys.writeAll(fd, text)) |_| true else |_| false;
    }

    /// A line to `dockerc vm`, which always reads.
    pub fn say(self: *const Ports, line: []const u8) void {
        var rest = line;
        while (rest.len > 0) {
            const n = sys.call(.write, .{ self.control, rest.ptr, rest.len }) catch |err| {
                if (err != error.AGAIN and err != error.INTR) return;
                if (!isConnected(self.control)) sys.sleep(1);
                continue;
            };
            rest = rest[n..];
        }
    }
};
