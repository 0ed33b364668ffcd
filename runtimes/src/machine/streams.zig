//! The app's standard streams in a machine: pipes, or a terminal for those that are the caller's.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const Settings = @import("settings.zig").Settings;

// asm-generic/ioctls.h
const tiocsctty = 0x540e;
const tiocswinsz = 0x5414;
const tiocsptlck = 0x4004_5431;
const tiocgptpeer = 0x5441;

pub const WindowSize = extern struct { rows: u16, columns: u16, width: u16 = 0, height: u16 = 0 };

pub const Streams = struct {
    /// Ours: of standard input to write to, of the others to read from; -1 if the terminal is all.
    ours: [3]sys.fd_t,
    apps: [3]sys.fd_t,
    is_terminal: bool,

    pub fn make(terminal: ?Settings.Terminal) sys.Error!Streams {
        var self: Streams = .{
            .ours = @splat(-1),
            .apps = @splat(-1),
            .is_terminal = terminal != null,
        };
        if (terminal) |wanted| try self.makeTerminal(wanted);
        for (0..3) |stream| if (self.apps[stream] < 0) {
            const ends = try pipe();
            const input = stream == 0;
            self.ours[stream] = ends[if (input) 1 else 0];
            self.apps[stream] = ends[if (input) 0 else 1];
            try setNonblocking(self.ours[stream]);
        };
        return self;
    }

    fn makeTerminal(self: *Streams, wanted: Settings.Terminal) sys.Error!void {
        const flags: sys.O = .{ .ACCMODE = .RDWR, .NOCTTY = true, .CLOEXEC = true };
        var nonblocking = flags;
        nonblocking.NONBLOCK = true;
        const master = try sys.openat(sys.at_fdcwd, "/dev/ptmx", nonblocking, 0);
        const unlocked: i32 = 0;
        try sys.do(.ioctl, .{ master, tiocsptlck, &unlocked });
        const word: u32 = @bitCast(flags);
        const slave: sys.fd_t = @intCast(try sys.call(.ioctl, .{ master, tiocgptpeer, word }));
        resize(master, .{ .rows = wanted.rows, .columns = wanted.columns });
        self.ours[0..2].* = @splat(master);
        self.apps[0..2].* = @splat(slave);
        if (wanted.errors) self.apps[2] = slave;
    }

    pub fn closeOfApp(self: *const Streams) void {
        for (self.apps, 0..) |fd, stream| {
            if (std.mem.findScalar(sys.fd_t, self.apps[0..stream], fd) == null) sys.close(fd);
        }
    }

    /// In the app's runtime: they become the standard streams.
    pub fn adopt(self: *const Streams) sys.Error!void {
        try sys.do(.setsid, .{});
        if (self.is_terminal) try sys.do(.ioctl, .{ self.apps[0], tiocsctty, 0 });
        for (self.apps, 0..) |fd, stream|
            try sys.do(.dup3, .{ fd, @as(sys.fd_t, @intCast(stream)), 0 });
    }
};

pub fn resize(master: sys.fd_t, size: WindowSize) void {
    _ = sys.raw(.ioctl, .{ master, tiocswinsz, &size });
}

fn pipe() sys.Error![2]sys.fd_t {
    var ends: [2]sys.fd_t = undefined;
    const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
    try sys.do(.pipe2, .{ &ends, cloexec });
    return ends;
}

/// Ours alone: the app's end is another open file.
fn setNonblocking(fd: sys.fd_t) sys.Error!void {
    const set_flags = 4;
    const nonblocking: u32 = @bitCast(sys.O{ .NONBLOCK = true });
    return sys.do(.fcntl, .{ fd, set_flags, nonblocking });
}
