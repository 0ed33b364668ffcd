//! The caller's terminal, and the app's own, a pseudo-terminal in a session of its own (pty(7)), as
//! sudo's use_pty has it: the app can neither type into the caller's shell nor signal the caller's
//! processes. Typed input goes to the app at once if both its input and output are the terminal;
//! else (in a pipeline, in the background) when it reads, for another process may be reading until
//! then.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const linux = std.os.linux;
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;

/// struct termios of the kernel (asm-generic/termbits.h).
const Termios = extern struct {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [19]u8,
};

const WindowSize = extern struct { rows: u16, columns: u16, width: u16, height: u16 };

// asm-generic/ioctls.h
const tcgets = 0x5401;
const tcsetsw = 0x5403;
const tiocsctty = 0x540e;
const tiocgpgrp = 0x540f;
const tiocspgrp = 0x5410;
const tiocgwinsz = 0x5413;
const tiocswinsz = 0x5414;
const tiocsptlck = 0x4004_5431;
const tiocgdev = 0x8004_5432;
const tiocgptpeer = 0x5441;

pub const Terminal = struct {
    tty: sys.fd_t,
    /// Whether it is the caller's session's.
    controlling: bool,
    /// Which of the standard streams it is.
    streams: [3]bool,
    /// The app alone reads the terminal from the start.
    whole: bool = false,
    saved: Termios,
    raw: Termios,
    size: WindowSize,
    /// The app's, and the file system that it is on, which becomes the container's /dev/pts.
    master: ?sys.fd_t = null,
    slave: sys.fd_t = -1,
    devpts: ?sys.fd_t = null,
    /// We read the caller's terminal, in raw mode.
    grabbed: bool = false,
    typed: Pending = .{},
    shown: Pending = .{},

    const Pending = struct {
        buf: []u8 = &.{},
        at: usize = 0,
        end: usize = 0,

        fn isEmpty(self: *const Pending) bool {
            return self.at == self.end;
        }

        /// False at the end of the file.
        fn read(self: *Pending, fd: sys.fd_t) bool {
            self.at = 0;
            self.end = 0;
            self.end = sys.call(.read, .{ fd, self.buf.ptr, self.buf.len }) catch |err|
                return err == error.AGAIN or err == error.INTR;
            return self.end > 0;
        }

        fn write(self: *Pending, fd: sys.fd_t) void {
            self.at += sys.call(
                .write,
                .{ fd, self.buf[self.at..].ptr, self.end - self.at },
            ) catch |err| switch (err) {
                error.AGAIN, error.INTR => return,
                // The other end is gone.
                else => self.end - self.at,
            };
        }
    };

    /// Null if the caller has none.
    pub fn find() ?Terminal {
        var streams: [3]bool = @splat(false);
        var first: ?sys.fd_t = null;
        for (&streams, 0..) |*stream, fd| {
            stream.* = sys.isTerminal(@intCast(fd));
            if (stream.* and first == null) first = @intCast(fd);
        }
        if (open("/dev/tty")) |tty| return init(tty, true, streams) else |_| {}
        var path: [32:0]u8 = undefined;
        const tty = open(sys.fdPath(&path, first orelse return null)) catch return null;
        return init(tty, false, streams);
    }

    /// An open file description of our own: its flags are not shared with the caller.
    fn open(path: [*:0]const u8) sys.Error!sys.fd_t {
        const fd = try sys.openat(
            sys.at_fdcwd,
            path,
            .{ .ACCMODE = .RDWR, .NOCTTY = true, .NONBLOCK = true, .CLOEXEC = true },
            0,
        );
        if (fd > 2) return fd;
        defer sys.close(fd);
        return sys.dupAbove(fd);
    }

    fn init(tty: sys.fd_t, controlling: bool, streams: [3]bool) ?Terminal {
        var self: Terminal = .{
            .tty = tty,
            .controlling = controlling,
            .streams = streams,
            .saved = undefined,
            .raw = undefined,
            .size = std.mem.zeroes(WindowSize),
        };
        sys.do(.ioctl, .{ tty, tcgets, &self.saved }) catch return null;
        _ = sys.raw(.ioctl, .{ tty, tiocgwinsz, &self.size });
        const device = deviceOf(tty);
        for (&self.streams, 0..) |*stream, fd| {
            if (stream.*) stream.* = deviceOf(@intCast(fd)) == device;
        }
        self.raw = self.rawOf(self.saved);
        self.whole = self.streams[0] and self.streams[1] and self.isForeground();
        return self;
    }

    /// Makes the app's terminal with the caller's settings: of the container's devpts if it can
    /// have one, else of the machine's.
    pub fn makeOwn(self: *Terminal, namespace: ?MountNamespace) sys.Error!void {
        self.devpts = if (namespace) |own| try own.newDevpts() else null;
        try self.adopt(if (self.devpts) |mounted|
            try self.makePair(mounted, "ptmx")
        else
            try self.makePair(sys.at_fdcwd, "/dev/ptmx"));
    }

    /// Both ends of a pseudo-terminal, of the multiplexer that the path leads to; returns the
    /// master.
    pub fn makePair(self: *Terminal, dir: sys.fd_t, ptmx: [*:0]const u8) sys.Error!sys.fd_t {
        const flags: sys.O = .{ .ACCMODE = .RDWR, .NOCTTY = true, .CLOEXEC = true };
        var nonblocking = flags;
        nonblocking.NONBLOCK = true;
        const master = try sys.openat(dir, ptmx, nonblocking, 0);
        const unlocked: i32 = 0;
        try sys.do(.ioctl, .{ master, tiocsptlck, &unlocked });
        self.slave = @intCast(try sys.call(
            .ioctl,
            .{ master, tiocgptpeer, @as(u32, @bitCast(flags)) },
        ));
        _ = sys.raw(.ioctl, .{ self.slave, tcsetsw, &self.saved });
        _ = sys.raw(.ioctl, .{ self.slave, tiocswinsz, &self.size });
        return master;
    }

    /// The master of the app's terminal.
    pub fn adopt(self: *Terminal, master: sys.fd_t) sys.Error!void {
        self.master = master;
        const room = 8192;
        const memory = try sys.anonymous(2 * room);
        self.typed.buf = memory[0..room];
        self.shown.buf = memory[room..];
    }

    /// The calling process leads its session.
    pub fn becomeControlling(self: *const Terminal) sys.Error!void {
        return sys.do(.ioctl, .{ self.slave, tiocsctty, 0 });
    }

    /// Makes a process group of the app's session the foreground one. All signals are blocked,
    /// which a background process needs for that (tcsetpgrp(3)).
    pub fn setForeground(self: *const Terminal, group: i32) void {
        _ = sys.raw(.ioctl, .{ self.slave, tiocspgrp, &group });
    }

    /// Replaces the standard streams that are the caller's terminal by the app's.
    pub fn replaceStreams(self: *const Terminal) sys.Error!void {
        for (self.streams, 0..) |is_terminal, fd| {
            if (is_terminal) try sys.do(.dup3, .{ self.slave, @as(sys.fd_t, @intCast(fd)), 0 });
        }
    }

    pub fn isForeground(self: *const Terminal) bool {
        if (!self.controlling) return true;
        var group: i32 = 0;
        sys.do(.ioctl, .{ self.tty, tiocgpgrp, &group }) catch return false;
        return group == @as(i32, @intCast(sys.raw(.getpgid, .{0})));
    }

    /// As cfmakeraw(3). In a pipeline other processes use the terminal, too: output processing and
    /// signals of keys stay on.
    fn rawOf(self: *const Terminal, from: Termios) Termios {
        var raw = from;
        const ignbrk_brkint_parmrk_istrip_inlcr_igncr_icrnl_ixon =
            0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000;
        const opost = 0o1;
        const isig = 0o1;
        const icanon_echo_echonl_iexten = 0o2 | 0o10 | 0o100 | 0o100000;
        raw.input &= ~@as(u32, ignbrk_brkint_parmrk_istrip_inlcr_igncr_icrnl_ixon);
        raw.local &= ~@as(u32, icanon_echo_echonl_iexten);
        if (self.streams[0] and self.streams[1]) {
            raw.output &= ~@as(u32, opost);
            raw.local &= ~@as(u32, isig);
        }
        const vtime = 5;
        const vmin = 6;
        raw.characters[vtime] = 0;
        raw.characters[vmin] = 1;
        return raw;
    }

    /// False in the background, where the terminal belongs to another process group.
    pub fn grab(self: *Terminal) bool {
        if (!self.isForeground()) return false;
        if (self.grabbed) return true;
        sys.do(.ioctl, .{ self.tty, tcgets, &self.saved }) catch return false;
        self.raw = self.rawOf(self.saved);
        _ = sys.raw(.ioctl, .{ self.tty, tcsetsw, &self.raw });
        self.grabbed = true;
        self.resize();
        return true;
    }

    pub fn release(self: *Terminal) void {
        if (!self.grabbed) return;
        self.grabbed = false;
        if (self.isForeground()) _ = sys.raw(.ioctl, .{ self.tty, tcsetsw, &self.saved });
    }

    /// Called by the watchdog if the runtime was killed and has left the terminal in raw mode.
    pub fn restoreForeign(self: *const Terminal) void {
        var now: Termios = undefined;
        sys.do(.ioctl, .{ self.tty, tcgets, &now }) catch return;
        if (std.meta.eql(now, self.raw)) _ = sys.raw(.ioctl, .{ self.tty, tcsetsw, &self.saved });
    }

    pub fn resize(self: *Terminal) void {
        const master = self.master orelse return;
        sys.do(.ioctl, .{ self.tty, tiocgwinsz, &self.size }) catch return;
        _ = sys.raw(.ioctl, .{ master, tiocswinsz, &self.size });
    }

    /// What to poll: the caller's terminal, and the app's.
    pub fn interests(self: *const Terminal) [2]linux.pollfd {
        var tty: i16 = if (self.shown.isEmpty()) 0 else linux.POLL.OUT;
        if (self.grabbed and self.typed.isEmpty()) tty |= linux.POLL.IN;
        var master: i16 = if (self.shown.isEmpty()) linux.POLL.IN else 0;
        if (!self.typed.isEmpty()) master |= linux.POLL.OUT;
        return .{
            // POLLHUP is reported in any case.
            .{ .fd = if (self.master == null) -1 else self.tty, .events = tty, .revents = 0 },
            .{
                .fd = if (master == 0) -1 else self.master orelse -1,
                .events = master,
                .revents = 0,
            },
        };
    }

    pub fn relay(self: *Terminal, ready: [2]linux.pollfd) void {
        const master = self.master orelse return;
        if (ready[0].revents & linux.POLL.HUP != 0) return self.hangUp(master);
        if (ready[1].revents != 0 and self.shown.isEmpty() and !self.shown.read(master))
            self.master = null;
        if (!self.shown.isEmpty()) self.shown.write(self.tty);
        if (ready[0].revents & ~@as(i16, linux.POLL.OUT) != 0 and
            self.grabbed and self.typed.isEmpty())
        {
            // Now in the background.
            if (!self.typed.read(self.tty)) self.grabbed = false;
        }
        if (!self.typed.isEmpty()) self.typed.write(master);
    }

    /// When the caller's terminal hangs up, so does the app's: it gets SIGHUP and an end of file.
    fn hangUp(self: *Terminal, master: sys.fd_t) void {
        sys.close(master);
        self.master = null;
        self.grabbed = false;
    }

    /// Shows what the app has written before its end.
    pub fn finish(self: *Terminal) void {
        while (self.master) |master| {
            if (self.shown.isEmpty() and (!self.shown.read(master) or self.shown.isEmpty())) break;
            self.shown.write(self.tty);
            if (self.shown.isEmpty()) continue;
            const patience: linux.timespec = .{ .sec = 5, .nsec = 0 };
            var ready: linux.pollfd = .{ .fd = self.tty, .events = linux.POLL.OUT, .revents = 0 };
            // Stopped output (Ctrl-S) delays the end for five seconds at most.
            if (sys.raw(.ppoll, .{ &ready, 1, &patience, 0, 0 }) != 1) break;
        }
        self.release();
    }
};

/// 0 if unknown (emulators lack this call).
fn deviceOf(fd: sys.fd_t) u32 {
    var device: u32 = 0;
    sys.do(.ioctl, .{ fd, tiocgdev, &device }) catch return 0;
    return device;
}
