//! The first process of a machine while the app runs: passes bytes and signals on, reaps, and tells
//! the exit status. `dockerc vm` (toolkit/machine/) is at the other end of the ports.
//!
//! Lines from there: "signal N", "size ROWS COLUMNS", "end BYTES" (of standard input, after so
//! many), "closed 1" or "closed 2" (nobody reads that stream). To there: "exit STATUS OUT ERR",
//! with the bytes of the two streams.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const quantity = @import("../cli/quantity.zig");
const text = @import("../base/text.zig");
const signals = @import("../process/signals.zig");
const streams_file = @import("streams.zig");
const Flow = @import("flow.zig").Flow;
const Ports = @import("ports.zig").Ports;
const Process = @import("../process/own_process.zig").Process;
const Streams = streams_file.Streams;

pub const Session = struct {
    ports: Ports,
    app: Process,
    is_terminal: bool,
    queue: signals.Queue,
    flows: [3]Flow,
    /// The master of the app's terminal, or its standard input.
    master: sys.fd_t,
    line: [64]u8 = undefined,
    line_len: usize = 0,
    status: ?u8 = null,

    pub fn init(ports: Ports, streams: *const Streams, app: Process) sys.Error!Session {
        return .{
            .ports = ports,
            .app = app,
            .is_terminal = streams.is_terminal,
            .queue = try .open(),
            .flows = .{
                try .init(ports.streams[0], streams.ours[0]),
                try .init(streams.ours[1], ports.streams[1]),
                try .init(streams.ours[2], ports.streams[2]),
            },
            .master = streams.ours[0],
        };
    }

    /// Until the app has ended and all that it wrote was passed on, and then until nobody is at the
    /// other end any more.
    pub fn run(self: *Session) void {
        self.reap();
        while (true) {
            const drained = self.status != null and self.flows[1].isEmpty() and
                self.flows[2].isEmpty();
            const ready = self.wait(if (drained) 0 else null) orelse {
                if (drained) break else continue;
            };
            if (ready[0]) while (self.queue.next()) |_| self.reap();
            if (ready[1] and !self.obey()) return;
            for (&self.flows, ready[2..], 0..) |*flow, is_ready, stream| {
                if (is_ready and !flow.move()) self.end(stream);
            }
        }
        _ = sys.raw(.sync, .{});
        var buf: [80]u8 = undefined;
        const sums = .{ self.status.?, self.flows[1].total, self.flows[2].total };
        self.ports.say(text.print(&buf, "exit {d} {d} {d}\n", sums));
        while (true) {
            _ = self.wait(null);
            if (!self.obey()) return;
        }
    }

    /// What of signals, control port and streams is ready; null for nothing.
    fn wait(self: *Session, milliseconds: ?u32) ?[5]bool {
        const open: linux.pollfd = .{ .fd = self.queue.fd, .events = linux.POLL.IN, .revents = 0 };
        var polls: [5]linux.pollfd = @splat(open);
        polls[1].fd = self.ports.control;
        for (&self.flows, polls[2..]) |*flow, *poll| poll.* = flow.interest();
        const time: linux.timespec = .{ .sec = 0, .nsec = 0 };
        const patience: ?*const linux.timespec = if (milliseconds == null) null else &time;
        const count = sys.call(.ppoll, .{ &polls, polls.len, patience, 0, 0 }) catch return null;
        if (count == 0) return null;
        var ready: [5]bool = undefined;
        for (&ready, polls) |*is, poll| is.* = poll.revents != 0;
        return ready;
    }

    /// Of a stream: nobody writes to it, or reads from it, any more.
    fn end(self: *Session, stream: usize) void {
        const flow = &self.flows[stream];
        if (!flow.isOpen()) return;
        const apps = if (stream == 0) flow.to else flow.from;
        flow.from = -1;
        flow.at = flow.end;
        if (!self.is_terminal or stream == 2) return sys.close(apps);
        // The terminal's other direction may be in use.
        if (stream == 0) self.app.kill(signals.SIG.hup);
    }

    fn reap(self: *Session) void {
        const no_hang = 1;
        while (true) {
            const found = sys.wait(-1, no_hang) catch return;
            if (found.pid == 0) return;
            if (found.pid != self.app.pid) continue;
            const signal: u8 = @intCast(found.status & 0x7f);
            const code: u8 = @truncate(found.status >> 8);
            self.status = if (signal != 0) 128 + signal else code;
        }
    }

    /// Reads the control port; false once nobody is there any more.
    fn obey(self: *Session) bool {
        const room = self.line[self.line_len..];
        if (room.len == 0) return false;
        const got = sys.call(.read, .{ self.ports.control, room.ptr, room.len }) catch |err|
            return err == error.AGAIN or err == error.INTR;
        if (got == 0) return false;
        self.line_len += got;
        while (std.mem.findScalar(u8, self.line[0..self.line_len], '\n')) |at| {
            self.command(self.line[0..at]);
            const left = self.line[at + 1 .. self.line_len];
            std.mem.copyForwards(u8, &self.line, left);
            self.line_len = left.len;
        }
        return true;
    }

    fn command(self: *Session, line: []const u8) void {
        var words = std.mem.splitScalar(u8, line, ' ');
        const verb = words.next().?;
        const first = number(&words);
        if (std.mem.eql(u8, verb, "signal")) {
            if (self.status == null) self.app.kill(@intCast(first & 0x7f));
        } else if (std.mem.eql(u8, verb, "size")) {
            if (self.is_terminal) streams_file.resize(self.master, .{
                .rows = @truncate(first),
                .columns = @truncate(number(&words)),
            });
        } else if (std.mem.eql(u8, verb, "end")) {
            self.flows[0].expected = first;
            if (self.flows[0].total == first and self.flows[0].isEmpty()) self.end(0);
        } else if (std.mem.eql(u8, verb, "closed")) {
            if (first == 1 or first == 2) self.end(@intCast(first));
        }
    }

    fn number(words: *std.mem.SplitIterator(u8, .scalar)) u64 {
        return quantity.number(u64, words.next() orelse return 0) orelse 0;
    }
};
