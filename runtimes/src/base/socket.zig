//! A pair of connected sockets between processes of ours. Each message arrives whole, and may carry
//! open files (unix(7), SCM_RIGHTS).
const std = @import("std");
const sys = @import("syscalls.zig");

pub const files_max = 2;

const Header = extern struct {
    name: ?*anyopaque = null,
    name_len: u32 = 0,
    parts: *const std.posix.iovec,
    part_count: usize = 1,
    control: ?*Control = null,
    control_len: usize = 0,
    flags: u32 = 0,
};

/// cmsg(3).
const Control = extern struct {
    len: usize,
    level: i32 = level_socket,
    kind: i32 = rights,
    files: [files_max]sys.fd_t = @splat(-1),

    const level_socket = 1;
    const rights = 1;
    const head = 16;
};

pub fn pair() sys.Error![2]sys.fd_t {
    const unix = 1;
    const seqpacket = 5;
    const cloexec = 0o2000000;
    var ends: [2]sys.fd_t = undefined;
    try sys.do(.socketpair, .{ unix, seqpacket | cloexec, 0, &ends });
    return ends;
}

pub fn send(socket: sys.fd_t, bytes: []const u8, files: []const sys.fd_t) sys.Error!void {
    const part: std.posix.iovec = .{ .base = @constCast(bytes.ptr), .len = bytes.len };
    var header: Header = .{ .parts = &part };
    var control: Control = .{ .len = Control.head + files.len * @sizeOf(sys.fd_t) };
    if (files.len > 0) {
        @memcpy(control.files[0..files.len], files);
        header.control = &control;
        header.control_len = @sizeOf(Control);
    }
    const no_signal = 0x4000;
    return sys.do(.sendmsg, .{ socket, &header, no_signal });
}

pub const Received = struct {
    /// Empty when the other end is closed.
    bytes: []u8,
    files: [files_max]?sys.fd_t = .{ null, null },
};

/// Waits for a message; error.AGAIN where there is none and `wait` is false.
pub fn receive(socket: sys.fd_t, buf: []u8, wait: bool) sys.Error!Received {
    const part: std.posix.iovec = .{ .base = buf.ptr, .len = buf.len };
    var control: Control = .{ .len = 0 };
    const header: Header = .{
        .parts = &part,
        .control = &control,
        .control_len = @sizeOf(Control),
    };
    const cloexec = 0x4000_0000;
    const dont_wait = 0x40;
    const flags: u32 = cloexec | if (wait) 0 else @as(u32, dont_wait);
    const len = while (true) {
        break sys.call(.recvmsg, .{ socket, &header, flags }) catch |err| {
            if (err == error.INTR) continue;
            return err;
        };
    };
    var received: Received = .{ .bytes = buf[0..len] };
    if (control.len <= Control.head or
        control.level != Control.level_socket or control.kind != Control.rights) return received;
    const count = (control.len - Control.head) / @sizeOf(sys.fd_t);
    for (control.files[0..@min(
        count,
        files_max,
    )], received.files[0..@min(count, files_max)]) |file, *out| out.* = file;
    return received;
}

test "messages carry files" {
    const ends = try pair();
    try send(ends[0], "x", &.{ends[0]});
    var buf: [8]u8 = undefined;
    const got = try receive(ends[1], &buf, true);
    try std.testing.expectEqualStrings("x", got.bytes);
    try send(got.files[0].?, "yz", &.{});
    try std.testing.expectEqualStrings("yz", (try receive(ends[1], &buf, true)).bytes);
    try std.testing.expectError(error.AGAIN, receive(ends[1], &buf, false));
    sys.close(ends[0]);
    sys.close(got.files[0].?);
    try std.testing.expectEqual(0, (try receive(ends[1], &buf, true)).bytes.len);
}
