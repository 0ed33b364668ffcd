//! The runtime as the app's parent: it passes signals on, ends or stops the app (which, as process
//! 1 of its namespace, ignores signals that it does not handle), relays its terminal, and reports
//! its end.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const Quiesce = @import("quiesce.zig").Quiesce;
const Detached = @import("detached.zig").Detached;
const exit_status = @import("exit_status.zig");
const Service = @import("../config/service.zig").Service;
const signals = @import("signals.zig");
const socket = @import("../base/socket.zig");
const Outputs = @import("standard_output.zig").Outputs;
const PortServer = @import("ports/server.zig").Server;
const Process = @import("own_process.zig").Process;
const Status = @import("status.zig").Status;
const StandardError = @import("standard_error.zig").StandardError;
const Terminal = @import("terminal.zig").Terminal;
const Watchdog = @import("watchdog.zig").Watchdog;
const SIG = signals.SIG;

pub const Supervisor = struct {
    app: Process,
    /// /proc of the machine.
    proc: sys.fd_t,
    /// Whether our init passes every signal on (launcher.zig).
    init: bool,
    watchdog: Watchdog,
    terminal: ?*Terminal,
    outputs: *Outputs,
    quiesce: *Quiesce,
    queue: signals.Queue,
    /// To the process that keeps the payload's mount, if that is shared.
    keeper: sys.fd_t,
    errors: *StandardError,
    /// From the app's process, until it is the app.
    lifeline: ?sys.fd_t,
    /// The app's file, and the error of its execution.
    path: []const u8 = "",
    failure: ?u8 = null,
    ended_by: ?u32 = null,
    /// With -d: who waits until the program is executed.
    detached: ?Detached = null,
    service: Service,
    /// With -p.
    ports: ?*PortServer = null,

    pub const End = struct {
        status: u8,
        /// The signal for which we ended the app.
        ended_by: ?u32 = null,

        /// So that the caller's shell sees the signal.
        pub fn exitLike(self: End) void {
            if (self.ended_by) |by| signals.dieFrom(by);
        }
    };

    /// Waits for the app's end and gives the status to exit with.
    pub fn supervise(self: *Supervisor) End {
        while (true) {
            const POLL = linux.POLL;
            const terminals = if (self.terminal) |terminal|
                terminal.interests()
            else
                .{ nobody, nobody };
            const outputs = self.outputs.interests();
            var polled = [8]linux.pollfd{
                .{ .fd = self.queue.fd, .events = POLL.IN, .revents = 0 },
                // POLLHUP is reported in any case; earlier messages can wait, but for those that
                // are waited for.
                .{
                    .fd = self.lifeline orelse -1,
                    .events = if (self.terminal == null and self.ports == null) 0 else POLL.IN,
                    .revents = 0,
                },
                .{ .fd = self.watchdog.control, .events = POLL.IN, .revents = 0 },
                terminals[0],
                terminals[1],
                outputs[0],
                outputs[1],
                .{ .fd = self.keeper, .events = 0, .revents = 0 },
            };
            _ = sys.raw(.ppoll, .{ &polled, polled.len, 0, 0, 0 });
            while (self.queue.next()) |signal| {
                if (signal.number != SIG.chld)
                    self.pass(signal)
                else if (self.reap()) |end| return self.finish(end);
            }
            if (polled[1].revents != 0) while (self.lifeline != null and self.follow()) {};
            if (polled[2].revents != 0) self.listen();
            if (self.terminal) |terminal| terminal.relay(polled[3..5].*);
            self.outputs.relay(polled[5..7].*);
            if (polled[7].revents != 0) self.endOrphan();
        }
    }

    const nobody: linux.pollfd = .{ .fd = -1, .events = 0, .revents = 0 };

    fn reap(self: *Supervisor) ?End {
        const wnohang = 1;
        while (true) {
            const end = sys.wait(-1, wnohang) catch return .{ .status = log.failed };
            if (end.pid == 0) return null;
            if (end.pid == self.watchdog.pid) self.endUnwatched();
            if (end.pid != self.app.pid) continue;
            const signal = end.status & 0x7f;
            if (signal == 0) return .{ .status = @truncate(end.status >> 8) };
            return .{
                .status = @intCast(128 + (self.ended_by orelse signal)),
                .ended_by = self.ended_by,
            };
        }
    }

    fn endUnwatched(self: *Supervisor) void {
        log.debug("the watchdog was killed", .{});
        self.app.kill(SIG.kill);
    }

    /// Nothing that the app has not read yet can be read.
    fn endOrphan(self: *Supervisor) void {
        self.keeper = -1;
        self.errors.takeFrom(self.app.pid);
        self.app.kill(SIG.kill);
    }

    /// Reads the remaining messages, and shows the app's last output.
    fn finish(self: *Supervisor, end: End) End {
        while (self.lifeline != null and self.follow()) {}
        // A thread that has just copied our descriptors may hold the other end for a moment.
        if (self.lifeline != null) if (self.detached != null) self.started();
        self.outputs.finish();
        if (self.terminal) |terminal| {
            if (end.status == 128 + SIG.int and terminal.streams[0] and terminal.streams[1])
                self.passLastKey();
            terminal.finish();
        }
        const failure = self.failure orelse return end;
        return .{ .status = exit_status.explain(self.path, failure) };
    }

    /// The key that the app ended of may be reported after its end. The app is reaped by now: only
    /// the caller's group gets it.
    fn passLastKey(self: *Supervisor) void {
        var ready: linux.pollfd = .{
            .fd = self.watchdog.control,
            .events = linux.POLL.IN,
            .revents = 0,
        };
        const patience: linux.timespec = .{ .sec = 0, .nsec = 100_000_000 };
        _ = sys.raw(.ppoll, .{ &ready, 1, &patience, 0, 0 });
        const signal = self.watchdog.heard() catch return orelse return;
        if (signal == SIG.int) signals.sendToOwnGroup(signal);
    }

    /// Reads a message of the app's process: what it executes, or why that failed. Its end of the
    /// lifeline closes when the program is executed or the process has ended. False if there is no
    /// message.
    fn follow(self: *Supervisor) bool {
        var buf: [1 + std.posix.PATH_MAX]u8 = undefined;
        const got: socket.Received = socket.receive(self.lifeline.?, &buf, false) catch |err|
            if (err == error.AGAIN) return false else .{ .bytes = &.{} };
        if (got.bytes.len == 0) {
            self.started();
            return false;
        }
        const rest = got.bytes[1..];
        switch (got.bytes[0]) {
            'p' => {
                self.path = std.heap.page_allocator.dupe(u8, rest) catch "";
                self.openTerminal();
            },
            // The listener of its filter (container/seccomp/port_filter.zig).
            'l' => if (self.ports) |ports| if (got.files[0]) |listener| {
                ports.check(self.app.pid);
                ports.start(listener);
                socket.send(self.lifeline.?, "l", &.{}) catch {};
            },
            'e' => self.failure = if (rest.len > 0) rest[0] else 0,
            else => {},
        }
        return true;
    }

    /// Not before the program is executed: earlier errors go to a terminal in the caller's mode.
    fn openTerminal(self: *Supervisor) void {
        const terminal = self.terminal orelse return;
        self.watchdog.listen() catch |err| {
            log.note("cannot receive the terminal's signals: {s}", .{errno.text(err)});
            return self.app.kill(SIG.kill);
        };
        if (terminal.whole) _ = terminal.grab();
        socket.send(self.lifeline.?, "g", &.{}) catch {};
    }

    /// From here on only the app uses the standard streams.
    fn started(self: *Supervisor) void {
        sys.close(self.lifeline.?);
        self.lifeline = null;
        if (self.detached) |detached| if (self.failure == null and self.path.len > 0)
            detached.started();
        self.service.close();
        if (self.failure == null and !log.speaksLate()) sys.closeStandard();
    }

    /// The app's terminal has sent the app's process group a signal.
    fn listen(self: *Supervisor) void {
        const signal = self.watchdog.heard() catch return orelse return;
        const terminal = self.terminal orelse return;
        // At the caller's terminal, the key would have signalled the caller's group.
        const keys_are_for_all = terminal.streams[0] and terminal.streams[1];
        switch (signal) {
            // It reads, or changes the terminal's mode.
            SIG.ttin, SIG.ttou => {
                if (!terminal.grab()) self.stop(signal, .itself);
                self.watchdog.setForeground(terminal.grabbed);
                self.app.killGroup(SIG.cont);
            },
            SIG.tstp => if (self.hasDefault(signal)) self.stop(
                signal,
                if (keys_are_for_all) .group else .itself,
            ),
            SIG.int, SIG.quit => {
                if (keys_are_for_all) signals.sendToOwnGroup(signal);
                if (self.hasDefault(signal)) self.endApp(signal);
            },
            SIG.hup => if (self.hasDefault(signal)) self.endApp(signal),
            // The app has killed its own process group.
            SIG.kill => self.endApp(signal),
            else => {},
        }
    }

    fn pass(self: *Supervisor, signal: signals.Signal) void {
        const number = signal.number;
        const own: i32 = @intCast(sys.raw(.getpid, .{}));
        // `listen` has sent it.
        if (signal.pid == own and signal.code != signals.from_kernel) return;
        if (self.terminal) |terminal| if (number == SIG.winch) return terminal.resize();
        // Before it is sent: a handler may end the app at once.
        const unhandled = self.hasDefault(number);
        // A key of the caller's terminal, which does not signal the app's group.
        if (signal.code == signals.from_kernel)
            self.app.killGroup(number)
        else
            self.app.kill(number);
        switch (number) {
            SIG.tstp, SIG.ttin, SIG.ttou => if (unhandled) self.stop(number, .itself),
            SIG.cont, SIG.urg, SIG.winch => {},
            else => if (unhandled) self.endApp(number),
        }
    }

    fn endApp(self: *Supervisor, signal: u32) void {
        log.debug("signal {d}: the app has no handler", .{signal});
        self.ended_by = signal;
        self.app.kill(SIG.kill);
    }

    /// Stops the app and us, so that the shell sees the job stop; the whole group if the key would
    /// have stopped it. Returns when the shell continues us, or at once in an orphaned process
    /// group (setpgid(2)).
    fn stop(self: *Supervisor, signal: u32, whom: enum { itself, group }) void {
        self.app.killGroup(SIG.stop);
        if (self.terminal) |terminal| terminal.release();
        self.quiesce.begin();
        if (whom == .group) signals.sendToOwnGroup(signal) else signals.sendToSelf(signal);
        signals.admit(signal);
        self.quiesce.end();
        if (self.terminal) |terminal|
            if (terminal.master != null) self.watchdog.setForeground(terminal.grab());
        self.app.killGroup(SIG.cont);
    }

    /// Whether the app neither handles nor ignores the signal.
    fn hasDefault(self: *Supervisor, signal: u32) bool {
        if (self.init) return signal == SIG.tstp or signal == SIG.ttin or signal == SIG.ttou;
        var status: Status = .{};
        status.read(self.proc, self.app.pid);
        // What has ended keeps its own status.
        if (status.len == 0 or status.isZombie()) return false;
        return (status.set("SigIgn") | status.set("SigCgt")) & signals.bit(signal) == 0;
    }
};
