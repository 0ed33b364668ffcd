//! A process of ours beside the runtime. It kills the app when the runtime has ended for whatever
//! reason: a parent-death signal is not enough, for the app can clear it (prctl(2)). It removes
//! what such a run has left on a disk. It leads the app's session, so that neither the caller's
//! session nor its process group is the app's; and when that session has a terminal, a second
//! process (listener.zig) tells the runtime which signals of the terminal's keys the app was sent.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const control_message = @import("control_message.zig");
const listener = @import("listener.zig");
const own_process = @import("own_process.zig");
const signals = @import("signals.zig");
const socket = @import("../base/socket.zig");
const Leftovers = @import("leftovers.zig").Leftovers;
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const Terminal = @import("terminal.zig").Terminal;
const RunDir = @import("../base/run_dir.zig").RunDir;

const Message = control_message.Message;

/// What the app's process does.
pub const Role = struct {
    context: *anyopaque,
    run: *const fn (*anyopaque, own_process.ChildProcess) noreturn,
};

/// The runtime's side.
pub const Watchdog = struct {
    pid: i32,
    control: sys.fd_t,

    /// `role` is what the app's process does, once the watchdog is asked to clone it.
    pub fn start(role: Role, mounts: ?MountNamespace, terminal: ?*const Terminal) !Watchdog {
        const ends = try socket.pair();
        // It shares our working directory (CLONE_FS), and so does the app's process. An emulator
        // refuses CLONE_FS; there the app's process is made late.
        const cloned = own_process.clone(sys.CLONE.fs) catch |err|
            if (err == error.INVAL) try own_process.clone(0) else return err;
        switch (cloned) {
            .parent => |process| {
                sys.close(ends[1]);
                return .{ .pid = process.pid, .control = ends[0] };
            },
            .child => {
                sys.close(ends[0]);
                var process: WatchdogProcess = .{
                    .control = ends[1],
                    .role = role,
                    .leftovers = .{ .mounts = mounts },
                    .terminal = terminal,
                };
                process.run();
            },
        }
    }

    fn tell(self: Watchdog, message: Message, files: []const sys.fd_t) !void {
        return socket.send(self.control, std.mem.asBytes(&message), files);
    }

    pub fn cloneApp(self: Watchdog, flags: u32) !void {
        try self.tell(.{ .kind = .clone, .value = @bitCast(flags) }, &.{});
    }

    /// The process that `cloneApp` asked for; null if these flags are refused.
    pub fn app(self: Watchdog) !?own_process.Process {
        const answer = try self.next(true) orelse return error.SRCH;
        if (answer.kind != .clone) return error.IO;
        if (answer.value > 0) return .{ .pid = answer.value };
        const number: u8 = @intCast(-answer.value);
        if (number == @backingInt(std.os.linux.E.INVAL)) return null;
        log.die("cannot make the app's process: {s}", .{errno.textOf(number)});
    }

    pub fn watchOver(self: Watchdog, process: own_process.Process) !void {
        try self.tell(.{ .kind = .app, .value = process.pid }, &.{});
    }

    pub fn willRemove(self: Watchdog, leftovers: Leftovers) !void {
        for (leftovers.trees) |each| if (each) |tree| {
            try self.tell(.{ .kind = .tree }, &.{ tree.parent, tree.fd });
            try socket.send(self.control, tree.name, &.{});
        };
        if (leftovers.root) |fd| try self.tell(.{ .kind = .root }, &.{fd});
    }

    pub fn willEnd(self: Watchdog, network: own_process.Process) !void {
        try self.tell(.{ .kind = .network, .value = network.pid }, &.{});
    }

    /// Starts the listener for signals of the app's terminal.
    pub fn listen(self: Watchdog) !void {
        try self.tell(.{ .kind = .listen }, &.{});
        // The listener's own message, or the report of its end.
        const answer = try self.next(true) orelse return error.SRCH;
        if (answer.kind != .listen) return error.SRCH;
    }

    pub fn setForeground(self: Watchdog, foreground: bool) void {
        self.tell(.{ .kind = if (foreground) .foreground else .background }, &.{}) catch {};
    }

    /// The signal that the listener got; null if the watchdog has ended.
    pub fn heard(self: Watchdog) !?u32 {
        const message = try self.next(false) orelse return null;
        return @intCast(message.value);
    }

    fn next(self: Watchdog, wait: bool) !?Message {
        var message: Message = undefined;
        const got = try socket.receive(self.control, std.mem.asBytes(&message), wait);
        if (got.bytes.len == 0) return null;
        return if (got.bytes.len == @sizeOf(Message)) message else error.IO;
    }

    /// Ends the watchdog; nothing is left to remove.
    pub fn dismiss(self: Watchdog) void {
        self.tell(.{ .kind = .dismiss }, &.{}) catch {};
    }

    /// It must not outlive us: it keeps our executable in use, and we may be the first process of a
    /// container, which has nobody else to reap it.
    pub fn waitForEnd(self: Watchdog) void {
        _ = sys.wait(self.pid, 0) catch {};
    }
};

/// The watchdog's side.
const WatchdogProcess = struct {
    control: sys.fd_t,
    role: Role,
    leftovers: Leftovers,
    terminal: ?*const Terminal,
    pid: i32 = 0,
    /// A pidfd, for the number may be reused once the runtime, which waits for it, has ended.
    app: ?sys.fd_t = null,
    network: ?sys.fd_t = null,
    listener: ?own_process.Process = null,
    listener_handle: ?sys.fd_t = null,

    fn run(self: *WatchdogProcess) noreturn {
        // Signals to the runtime's process group must not reach us.
        sys.do(.setsid, .{}) catch |err|
            log.die("cannot make a session for the app: {s}", .{errno.text(err)});
        // Before the app's process is cloned: a session's terminal is what a process inherits.
        if (self.terminal) |terminal| terminal.becomeControlling() catch |err|
            log.die("cannot make a terminal for the app: {s}", .{errno.text(err)});
        while (true) {
            self.wait();
            var message: Message = undefined;
            const got = socket.receive(self.control, std.mem.asBytes(&message), true) catch break;
            if (got.bytes.len != @sizeOf(Message)) break;
            self.obey(message, got.files) catch break;
        }
        self.runtimeIsGone();
    }

    /// Waits for a message. A SIGKILL to the app's process group kills the listener, too, and is
    /// reported.
    fn wait(self: *WatchdogProcess) void {
        const handle = self.listener_handle orelse return;
        const POLL = std.os.linux.POLL;
        var polled = [2]std.os.linux.pollfd{
            .{ .fd = self.control, .events = POLL.IN, .revents = 0 },
            .{ .fd = handle, .events = POLL.IN, .revents = 0 },
        };
        while (sys.raw(.ppoll, .{ &polled, polled.len, 0, 0, 0 }) > polled.len) {}
        if (polled[1].revents == 0) return;
        sys.close(handle);
        self.listener_handle = null;
        self.answer(.{ .kind = .heard, .value = signals.SIG.kill }) catch {};
    }

    fn obey(self: *WatchdogProcess, message: Message, files: [socket.files_max]?sys.fd_t) !void {
        switch (message.kind) {
            .clone => try self.cloneApp(@bitCast(message.value)),
            .app => {
                self.letGo();
                try self.follow(message.value);
            },
            .tree => try self.remember(files),
            .root => self.leftovers.root = files[0],
            .listen => try self.startListener(),
            .foreground => self.setForeground(self.pid),
            .background => self.setForeground(ownGroup()),
            .network => self.network = @intCast(try sys.call(.pidfd_open, .{ message.value, 0 })),
            .heard => {},
            .dismiss => {
                if (self.listener) |process| process.kill(signals.SIG.kill);
                sys.exit(0);
            },
        }
    }

    fn answer(self: *WatchdogProcess, message: Message) !void {
        return socket.send(self.control, std.mem.asBytes(&message), &.{});
    }

    fn cloneApp(self: *WatchdogProcess, flags: u32) !void {
        // It is the runtime's child (CLONE_PARENT), in our session.
        const cloned = own_process.clone(flags | sys.CLONE.parent) catch |err|
            return self.answer(.{ .kind = .clone, .value = -@as(i32, errno.numberOf(err)) });
        switch (cloned) {
            .child => |child| {
                sys.close(self.control);
                self.role.run(self.role.context, child);
            },
            .parent => |process| {
                self.letGo();
                self.follow(process.pid) catch |err| return self.answer(.{
                    .kind = .clone,
                    .value = -@as(i32, errno.numberOf(err)),
                });
                return self.answer(.{ .kind = .clone, .value = process.pid });
            },
        }
    }

    /// Closes all files but those that are needed: an open end of a pipe keeps its reader from
    /// seeing the end.
    fn letGo(self: *WatchdogProcess) void {
        var kept: [4]sys.fd_t = @splat(self.control);
        if (log.debugging) kept[1] = 2;
        if (self.terminal) |terminal| kept[2..4].* = .{ terminal.tty, terminal.slave };
        sys.closeAllBut(&kept);
    }

    fn follow(self: *WatchdogProcess, pid: i32) !void {
        self.pid = pid;
        self.app = @intCast(try sys.call(.pidfd_open, .{ pid, 0 }));
    }

    fn remember(self: *WatchdogProcess, files: [socket.files_max]?sys.fd_t) !void {
        const name = try std.heap.page_allocator.alloc(u8, 256);
        const got = try socket.receive(self.control, name[0..255], true);
        name[got.bytes.len] = 0;
        const tree: RunDir = .{
            .parent = files[0].?,
            .fd = files[1].?,
            .name = name[0..got.bytes.len :0],
        };
        self.leftovers.trees[@intFromBool(self.leftovers.trees[0] != null)] = tree;
    }

    fn startListener(self: *WatchdogProcess) !void {
        const process = try listener.start(self.control, self.pid);
        self.listener = process;
        self.listener_handle = @intCast(try sys.call(.pidfd_open, .{ process.pid, 0 }));
    }

    fn setForeground(self: *WatchdogProcess, group: i32) void {
        if (self.terminal) |terminal| terminal.setForeground(group);
    }

    fn runtimeIsGone(self: *WatchdogProcess) noreturn {
        if (self.app) |handle| {
            _ = sys.raw(.pidfd_send_signal, .{ handle, signals.SIG.kill, 0, 0 });
            // Until it has ended it may write.
            var dead: std.os.linux.pollfd = .{
                .fd = handle,
                .events = std.os.linux.POLL.IN,
                .revents = 0,
            };
            _ = sys.raw(.ppoll, .{ &dead, 1, 0, 0, 0 });
        }
        if (self.network) |handle|
            _ = sys.raw(.pidfd_send_signal, .{ handle, signals.SIG.kill, 0, 0 });
        if (self.terminal) |terminal| terminal.restoreForeign();
        self.leftovers.discard();
        sys.exit(0);
    }
};

fn ownGroup() i32 {
    return @intCast(sys.raw(.getpgid, .{0}));
}
