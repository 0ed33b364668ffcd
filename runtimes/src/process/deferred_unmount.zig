//! An exit that does not wait for the unmounting. The last process of a mount namespace takes its
//! mounts down before its parent hears of its end, half a millisecond for nobody's good. So the
//! namespace is left to the kernel's collector of sockets in flight (net/unix/garbage.c): a
//! message that holds the namespace and the very socket that it waits at is garbage once we are
//! gone, and is freed by a kernel thread. Where the kernel does that in the exiting process (before
//! Linux 6.10) nothing is gained and nothing lost.
const std = @import("std");
const sys = @import("../base/syscalls.zig");

const Message = extern struct {
    name: ?*anyopaque = null,
    name_len: u32 = 0,
    parts: *const std.posix.iovec_const,
    part_count: usize = 1,
    control: *const Control,
    control_len: usize = @sizeOf(Control),
    flags: u32 = 0,
};

/// SCM_RIGHTS with two descriptors (cmsg(3)).
const Control = extern struct {
    len: usize = 16 + 2 * @sizeOf(sys.fd_t),
    level: i32 = 1,
    kind: i32 = 1,
    descriptors: [2]sys.fd_t,
};

/// To be called when nothing but the exit is left to do. `proc` is the machine's /proc.
pub fn arrange(proc: sys.fd_t) void {
    leave(proc) catch {};
}

fn leave(proc: sys.fd_t) !void {
    const unix = 1;
    const datagram = 2;
    const namespace = try sys.openat(proc, "self/ns/mnt", .{ .CLOEXEC = true }, 0);
    var pair: [2]sys.fd_t = undefined;
    try sys.do(.socketpair, .{ unix, datagram, 0, &pair });
    const byte: std.posix.iovec_const = .{ .base = "", .len = 1 };
    const control: Control = .{ .descriptors = .{ namespace, pair[0] } };
    const message: Message = .{ .parts = &byte, .control = &control };
    try sys.do(.sendmsg, .{ pair[1], &message, 0 });
}
