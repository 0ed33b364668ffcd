//! The caller's side of a program in a run: passes signals on, relays the terminal, and ends with
//! the program's status.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const exit_status = @import("../process/exit_status.zig");
const guest = @import("guest.zig");
const port_filter = @import("../container/seccomp/port_filter.zig");
const signals = @import("../process/signals.zig");
const socket = @import("../base/socket.zig");
const Outputs = @import("../process/standard_output.zig").Outputs;
const PortServer = @import("../process/ports/server.zig").Server;
const Process = @import("../process/own_process.zig").Process;
const Terminal = @import("../process/terminal.zig").Terminal;
const SIG = signals.SIG;

pub const Session = struct {
    /// The process that enters the run; the program is another child of ours (launcher.zig).
    entry: Process,
    program: ?Process = null,
    /// From the entry, until the program is executed. In the last steps others in the container may
    /// get hold of its other end.
    lifeline: ?sys.fd_t,
    terminal: ?*Terminal,
    outputs: *Outputs,
    queue: signals.Queue,
    /// Where the run has published some.
    ports: ?*PortServer,
    path: []const u8 = "",
    failure: ?u8 = null,

    /// Returns the exit status.
    pub fn run(self: *Session) u8 {
        while (true) if (self.turn()) |status| return status;
    }

    fn turn(self: *Session) ?u8 {
        const POLL = linux.POLL;
        const nobody: linux.pollfd = .{ .fd = -1, .events = 0, .revents = 0 };
        const terminals = if (self.terminal) |terminal|
            terminal.interests()
        else
            .{ nobody, nobody };
        const outputs = self.outputs.interests();
        var polled = [6]linux.pollfd{
            .{ .fd = self.queue.fd, .events = POLL.IN, .revents = 0 },
            .{ .fd = self.lifeline orelse -1, .events = POLL.IN, .revents = 0 },
            terminals[0],
            terminals[1],
            outputs[0],
            outputs[1],
        };
        _ = sys.raw(.ppoll, .{ &polled, polled.len, 0, 0, 0 });
        while (self.queue.next()) |signal| {
            if (signal.number != SIG.chld) {
                self.pass(signal);
            } else if (self.reap()) |status| return self.finish(status);
        }
        if (polled[1].revents != 0) while (self.lifeline != null and self.follow()) {};
        if (self.terminal) |terminal| terminal.relay(polled[2..4].*);
        self.outputs.relay(polled[4..6].*);
        return null;
    }

    /// The program's status, or that of an entry that failed. It is our last child to end.
    fn reap(self: *Session) ?u8 {
        const wnohang = 1;
        while (true) {
            const end = sys.wait(-1, wnohang) catch return log.failed;
            if (end.pid == 0) return null;
            if (end.pid != self.entry.pid or end.status != 0) return statusOf(end.status);
        }
    }

    fn statusOf(status: u32) u8 {
        const signal = status & 0x7f;
        return if (signal == 0) @truncate(status >> 8) else @intCast(128 + signal);
    }

    fn finish(self: *Session, status: u8) u8 {
        while (self.lifeline != null and self.follow()) {}
        self.outputs.finish();
        if (self.terminal) |terminal| terminal.finish();
        return exit_status.explain(self.path, self.failure orelse return status);
    }

    /// Reads a message; false if there is none.
    fn follow(self: *Session) bool {
        var buf: [1 + std.posix.PATH_MAX]u8 = undefined;
        const got: socket.Received = socket.receive(self.lifeline.?, &buf, false) catch |err|
            if (err == error.AGAIN) return false else .{ .bytes = &.{} };
        if (got.bytes.len == 0) {
            self.close();
            return false;
        }
        const executing = self.path.len > 0;
        const rest = got.bytes[1..];
        const kind = got.bytes[0];
        if (!executing and kind == guest.terminal_made) {
            if (self.terminal) |terminal| if (got.files[0]) |file| {
                terminal.adopt(file) catch return self.giveUp();
                return true;
            };
        }
        if (!executing and kind == port_filter.listening) if (self.ports) |ports|
            if (got.files[0]) |listener| {
                self.ports = null;
                ports.start(listener);
                socket.send(self.lifeline.?, &.{port_filter.listening}, &.{}) catch {};
                return true;
            };
        for (got.files) |file| if (file) |unwanted| sys.close(unwanted);
        if (!executing and kind == 'p' and rest.len > 0) {
            self.path = std.heap.page_allocator.dupe(u8, rest) catch return self.giveUp();
            self.openTerminal();
        } else if (executing and kind == 'e') {
            self.failure = if (rest.len > 0) rest[0] else 0;
        } else if (executing and kind == guest.made and rest.len == 4) {
            self.setProgram(std.mem.readInt(i32, rest[0..4], .little));
        }
        return true;
    }

    /// Whoever sent the number: only of a child of ours that has not ended.
    fn setProgram(self: *Session, pid: i32) void {
        if (self.program != null or pid <= 0) return;
        if (isChild(pid)) self.program = .{ .pid = pid };
    }

    fn isChild(pid: i32) bool {
        const by_pid = 1;
        const exited_nohang_nowait = 4 | 1 | 0x0100_0000;
        var info: linux.siginfo_t = undefined;
        return if (sys.do(.waitid, .{ by_pid, pid, &info, exited_nohang_nowait, 0 })) |_|
            true
        else |_|
            false;
    }

    fn current(self: *const Session) Process {
        return self.program orelse self.entry;
    }

    fn giveUp(self: *Session) bool {
        self.current().kill(SIG.kill);
        self.close();
        return false;
    }

    fn close(self: *Session) void {
        sys.close(self.lifeline.?);
        self.lifeline = null;
        // From here on only the program uses the standard streams.
        if (self.failure == null and self.path.len > 0 and !log.debugging) sys.closeStandard();
    }

    /// Not before the program is executed: earlier errors go to a terminal in the caller's mode.
    fn openTerminal(self: *Session) void {
        const terminal = self.terminal orelse return;
        self.grab(terminal);
        socket.send(self.lifeline.?, "g", &.{}) catch {};
    }

    /// Where standard input is another file, keys are for whoever else reads the terminal.
    fn grab(_: *Session, terminal: *Terminal) void {
        if (terminal.streams[0]) _ = terminal.grab();
    }

    /// The program may run before its number is told, and a signal to the entry would be lost.
    fn awaitProgram(self: *Session) void {
        // The kernel writes the remaining time back. A hostile holder of the other end may say
        // nothing.
        var left: linux.timespec = .{ .sec = 1, .nsec = 0 };
        while (self.program == null) {
            const lifeline = self.lifeline orelse return;
            var polled = [1]linux.pollfd{
                .{ .fd = lifeline, .events = linux.POLL.IN, .revents = 0 },
            };
            _ = sys.raw(.ppoll, .{ &polled, polled.len, &left, 0, 0 });
            if (polled[0].revents == 0) return;
            _ = self.follow();
        }
    }

    fn pass(self: *Session, signal: signals.Signal) void {
        while (self.lifeline != null and self.follow()) {}
        if (self.path.len > 0) self.awaitProgram();
        switch (signal.number) {
            SIG.tstp, SIG.ttin, SIG.ttou => self.stop(signal.number),
            SIG.winch => if (self.terminal) |terminal| terminal.resize(),
            // The keys of a terminal are for all processes of a group.
            else => if (signal.code == signals.from_kernel)
                self.current().killGroup(signal.number)
            else
                self.current().kill(signal.number),
        }
    }

    /// Stops the program and us; returns when the shell continues us.
    fn stop(self: *Session, signal: u32) void {
        self.current().killGroup(SIG.stop);
        if (self.terminal) |terminal| terminal.release();
        signals.sendToSelf(signal);
        signals.admit(signal);
        if (self.terminal) |terminal| self.grab(terminal);
        self.current().killGroup(SIG.cont);
    }
};
