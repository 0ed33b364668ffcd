//! The loopback interface, which is down in a new network namespace.
const std = @import("std");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const sys = @import("../base/syscalls.zig");

pub fn raise() void {
    const inet = 2;
    const datagram = 2;
    const cloexec = 0o2000000;
    const set_flags = 0x8914;
    const up_running: i16 = 0x41;
    const Request = extern struct { name: [16]u8, flags: i16, padding: [22]u8 };
    var request: Request = std.mem.zeroes(Request);
    @memcpy(request.name[0..2], "lo");
    request.flags = up_running;
    const socket = sys.call(.socket, .{ inet, datagram | cloexec, 0 }) catch return;
    sys.do(.ioctl, .{ socket, set_flags, &request }) catch |err|
        log.debug("loopback: {s}", .{errno.text(err)});
    sys.close(@intCast(socket));
}
