//! The caller's terminal after the app. One with job control (a shell) has put its own process group
//! in the foreground, and could not give the terminal back: the caller's group has no number in the
//! app's process namespace. Whoever reads from it next would be stopped, or see its end.
const sys = @import("sys.zig");

// asm-generic/ioctls.h
const get_foreground_group = 0x540f;
const set_foreground_group = 0x5410;

/// Where the foreground group is one that is no more, ours takes its place. All signals are
/// blocked, for only then a background process may do that (tcsetpgrp(3)).
pub fn takeBack() void {
    take() catch {};
}

fn take() !void {
    const tty = try sys.openat(sys.at_fdcwd, "/dev/tty", .{ .ACCMODE = .RDWR, .NONBLOCK = true, .NOCTTY = true, .NOFOLLOW = true, .CLOEXEC = true }, 0);
    defer sys.close(tty);
    var group: i32 = 0;
    try sys.do(.ioctl, .{ tty, get_foreground_group, &group });
    // Of no number here: the caller is in a namespace, too, and has to mind it.
    if (group <= 1) return;
    if (sys.do(.kill, .{ -group, 0 })) |_| return else |err| if (err != error.SRCH) return;
    const own: i32 = @intCast(try sys.call(.getpgid, .{0}));
    try sys.do(.ioctl, .{ tty, set_foreground_group, &own });
}
