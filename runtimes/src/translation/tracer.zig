//! The process that traces the program and all its children (ptrace(2)), and makes or changes
//! their calls. It ends with the program, and what it traces ends with it.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const text = @import("../base/text.zig");
const signals = @import("../process/signals.zig");
const call_table = @import("calls.zig");
const calls = @import("call.zig");
const exec_plan = @import("exec_plan.zig");
const memory = @import("../process/memory.zig");
const pendings = @import("pending.zig");
const loader_plan = @import("../launcher/loader_plan.zig");
const program = @import("program.zig");
const Pending = pendings.Pending;
const Guest = @import("guest.zig").Guest;
const Process = @import("../process/own_process.zig").Process;
const Registers = @import("registers.zig").Registers;
const Thread = @import("threads.zig").Thread;
const Turns = @import("../process/cpu_policy.zig").Turns;
const SIG = signals.SIG;

// linux/ptrace.h
const request = struct {
    const go_on = 7;
    const system_call = 24;
    const event_message = 0x4201;
    const seize = 0x4206;
    const listen = 0x4208;
};
const option = struct {
    const system_call_stops = 1;
    const fork = 2;
    const vfork = 4;
    const clone = 8;
    const exec = 0x10;
    const seccomp = 0x80;
    const exit_kill = 0x10_0000;
};
const Event = enum(u8) {
    none = 0,
    fork = 1,
    vfork = 2,
    clone = 3,
    exec = 4,
    seccomp = 7,
    stop = 128,
    _,
};
const sigtrap = 5;
const all_children = 0x4000_0000;

/// By the process that is to trace `pid`, which has allowed it.
pub fn attach(pid: i32) sys.Error!void {
    const options = option.system_call_stops | option.fork | option.vfork | option.clone |
        option.exec | option.seccomp | option.exit_kill;
    return sys.do(.ptrace, .{ request.seize, pid, 0, @as(usize, options) });
}

/// A stopped process goes on.
pub fn letGoOn(pid: i32) sys.Error!void {
    return sys.do(.ptrace, .{ request.go_on, pid, 0, 0 });
}

pub const Tracer = struct {
    guest: *Guest,
    /// The program's first process.
    main: i32,
    queue: signals.Queue,
    ended: bool = false,
    pending: Pending = .{},

    /// Until the program ends; then ends all others that it has started.
    pub fn run(self: *Tracer) void {
        while (!self.ended) {
            const POLL = linux.POLL;
            const asked = if (self.guest.listener) |listener| listener.fd else -1;
            var polled = [2]linux.pollfd{
                .{ .fd = asked, .events = POLL.IN, .revents = 0 },
                .{ .fd = self.queue.fd, .events = POLL.IN, .revents = 0 },
            };
            const patience: linux.timespec = .{ .sec = 0, .nsec = pendings.interval * 1_000_000 };
            const limit: ?*const linux.timespec = if (self.pending.count > 0) &patience else null;
            _ = sys.raw(.ppoll, .{ &polled, polled.len, limit, 0, 0 });
            if (self.guest.listener) |each| self.pending.check(each, self.guest.threads.proc);
            if (polled[1].revents != 0) self.followAll();
            if (polled[0].revents & POLL.IN != 0) self.answer();
        }
        var all = self.guest.threads.list.valueIterator();
        while (all.next()) |each| (Process{ .pid = each.*.process.pid }).kill(SIG.kill);
        for (self.guest.threads.early.items) |tid| (Process{ .pid = tid }).kill(SIG.kill);
        // One that has just been made stops before anything else.
        while (sys.wait(-1, all_children)) |found| {
            if (found.status & 0xff == 0x7f) (Process{ .pid = found.pid }).kill(SIG.kill);
        } else |_| {}
    }

    fn followAll(self: *Tracer) void {
        while (self.queue.next()) |_| {}
        const no_hang = 1;
        while (!self.ended) {
            const found = sys.wait(-1, all_children | no_hang) catch return;
            if (found.pid == 0) return;
            self.follow(found.pid, found.status) catch |err|
                log.debug("process {d}: {s}", .{ found.pid, errno.text(err) });
        }
    }

    fn follow(self: *Tracer, tid: i32, status: u32) !void {
        if (status & 0xff != 0x7f) {
            try self.adoptEarly(tid);
            self.guest.threads.remove(tid);
            if (tid == self.main) self.ended = true;
            return;
        }
        const signal = status >> 8 & 0xff;
        const event: Event = @fromBackingInt(@as(u8, @truncate(status >> 16)));
        const thread = self.guest.threads.find(tid) orelse {
            // Its parent has not told of it yet.
            return self.guest.threads.early.append(self.guest.threads.memory, tid);
        };
        switch (event) {
            .fork, .vfork, .clone => try self.addChild(thread, event == .clone),
            .exec => return self.executed(tid),
            .seccomp => return self.stopped(thread),
            .stop => if (signal != sigtrap) return resume_(request.listen, tid, 0),
            .none => {
                if (signal == sigtrap | 0x80) return self.finish(thread);
                return resume_(request.go_on, tid, signal);
            },
            else => {},
        }
        return resume_(request.go_on, tid, 0);
    }

    /// A thread that was killed while it made others tells of none of them.
    fn adoptEarly(self: *Tracer, tid: i32) !void {
        const threads = &self.guest.threads;
        if (threads.early.items.len == 0) return;
        const parent = threads.find(tid) orelse return;
        var at: usize = 0;
        while (at < threads.early.items.len) {
            const child = threads.early.items[at];
            at += 1;
            // One that still has its parent is told of.
            const above = threads.statusOf(child, "PPid") orelse 0;
            if (threads.find(above) != null) continue;
            _ = try threads.addChild(parent, child, true);
            resume_(request.go_on, child, 0) catch {};
            at -= 1;
            _ = threads.takeEarly(child);
        }
    }

    fn resume_(comptime how: usize, tid: i32, signal: u32) sys.Error!void {
        return sys.do(.ptrace, .{ how, tid, 0, signal });
    }

    fn message(tid: i32) sys.Error!i32 {
        var value: usize = 0;
        try sys.do(.ptrace, .{ request.event_message, tid, 0, &value });
        return @bitCast(@as(u32, @truncate(value)));
    }

    fn addChild(self: *Tracer, parent: *Thread, cloned: bool) !void {
        const threads = &self.guest.threads;
        const tid = try message(parent.tid);
        _ = try threads.addChild(parent, tid, cloned);
        if (threads.takeEarly(tid)) try resume_(request.go_on, tid, 0);
    }

    fn executed(self: *Tracer, pid: i32) !void {
        const threads = &self.guest.threads;
        const thread = threads.executed(pid, try message(pid)) orelse return;
        if (thread.changed) |changed| self.release(&changed);
        thread.changed = null;
        if (pid == self.main) self.guest.tree.readonly = self.guest.readonly;
        const process = thread.process;
        if (process.plan) |plan| self.load(thread, plan) catch |err| {
            // There is nothing to go back to.
            log.debug("process {d} cannot be loaded: {s}", .{ pid, errno.text(err) });
            (Process{ .pid = pid }).kill(SIG.kill);
        };
        return resume_(request.go_on, pid, 0);
    }

    /// Writes into the loader's area, which it tells of, what to load.
    fn load(self: *Tracer, thread: *Thread, plan: *exec_plan.Plan) !void {
        const threads = &self.guest.threads;
        const process = thread.process;
        threads.memory.free(process.exe);
        process.exe = "";
        process.exe = try threads.memory.dupe(u8, plan.exe);
        process.identity.execute();
        self.guest.resolver.begin(thread);
        const start = (try Registers.read(thread.tid)).instruction();
        var area: u64 = 0;
        try memory.read(thread.tid, start + 8, std.mem.asBytes(&area));
        process.scratch = start +% area;
        try program.tell(self.guest, process, plan);
        if (plan.files[0] != null or plan.files[1] != null) return;
        plan.discard(threads.memory);
        process.plan = null;
    }

    fn release(self: *Tracer, changed: *const @import("threads.zig").Changed) void {
        if (changed.file >= 0 and changed.file != self.guest.loader) sys.close(changed.file);
    }

    /// A call that waits for an answer.
    fn answer(self: *Tracer) void {
        const listener = self.guest.listener.?;
        const got = listener.next() catch return;
        const tid: i32 = got.tid;
        if (self.guest.threads.find(tid) == null) self.followAll();
        const thread = self.guest.threads.find(tid) orelse
            return listener.answer(got.id, negative(.NOSYS));
        switch (self.handle(thread, @bitCast(got.number), got.arguments, got.id)) {
            .value => |value| listener.answer(got.id, value),
            .file => |file| {
                const turns: Turns = .begin(tid);
                const number = listener.give(got.id, file.fd, file.cloexec);
                turns.end();
                listener.answer(got.id, number);
                sys.close(file.fd);
            },
            .native => listener.goOn(got.id),
            .change => listener.answer(got.id, negative(.NOSYS)),
            .later => self.pending.add(got.id, tid),
        }
    }

    fn handle(
        self: *Tracer,
        thread: *Thread,
        number: u32,
        arguments: [6]u64,
        id: ?u64,
    ) calls.Outcome {
        const rule = call_table.find(number) orelse return .native;
        var call: calls.Call = .{
            .guest = self.guest,
            .thread = thread,
            .arguments = rule.arguments(arguments),
            .id = id,
        };
        self.guest.resolver.begin(thread);
        const outcome = rule.handle(&call) catch |err| calls.Outcome{
            .value = 0 -% @as(usize, errno.numberOf(if (err == error.OutOfMemory)
                error.NOMEM
            else
                err)),
        };
        return outcome;
    }

    /// A thread that has stopped before it makes a call.
    fn stopped(self: *Tracer, thread: *Thread) !void {
        const tid = thread.tid;
        var registers = try Registers.read(tid);
        switch (self.handle(thread, registers.call, registers.arguments(), null)) {
            .value => |value| try skip(tid, &registers, value),
            .native, .later => {},
            .change => |*change| return makeChanged(thread, &registers, change),
            .file => |file| {
                const get_path: sys.O = @bitCast(@as(u32, @truncate(sys.raw(
                    .fcntl,
                    .{ file.fd, @as(usize, 3), 0 },
                ))));
                var flags = get_path;
                flags.CLOEXEC = file.cloexec;
                flags.NOFOLLOW = false;
                // It is made, and is no directory.
                if (flags.TMPFILE) flags.DIRECTORY = false;
                flags.TMPFILE = false;
                const here: u64 = @bitCast(@as(i64, sys.at_fdcwd));
                return makeChanged(thread, &registers, &.{
                    .number = @backingInt(sys.SYS.openat),
                    .arguments = .{ here, 0, @as(u32, @bitCast(flags)), 0, 0, 0 },
                    .file = file.fd,
                    .at = 1,
                });
            },
        }
        return resume_(request.go_on, tid, 0);
    }

    fn skip(tid: i32, registers: *Registers, value: usize) !void {
        try registers.setCall(tid, -1);
        registers.setResult(value);
        try registers.write(tid);
    }

    const Change = @FieldType(calls.Outcome, "change");

    /// The path of a file of ours is short, and fits into the page that each process has for it.
    fn makeChanged(
        thread: *Thread,
        registers: *Registers,
        change: *const Change,
    ) !void {
        const tid = thread.tid;
        const slot = 64;
        const at = @as(u32, @bitCast(tid)) % (loader_plan.scratch_size / slot) * slot;
        const address = thread.process.scratch + at;
        var path: [slot]u8 = @splat(0);
        const own: i32 = @intCast(sys.raw(.getpid, .{}));
        _ = text.print(path[0 .. slot - 1], "/proc/{d}/fd/{d}", .{ own, change.file });
        memory.write(tid, address, &path) catch |err| {
            if (change.owned) sys.close(change.file);
            log.debug("no memory for a path: {s}", .{errno.text(err)});
            try skip(tid, registers, negative(.NOMEM));
            return resume_(request.go_on, tid, 0);
        };
        thread.changed = .{ .before = registers.*, .file = if (change.owned) change.file else -1 };
        var arguments = change.arguments;
        arguments[change.at] = address;
        registers.setArguments(arguments);
        if (change.number) |number| try registers.setCall(tid, @bitCast(number));
        try registers.write(tid);
        return resume_(request.system_call, tid, 0);
    }

    /// After a call with other arguments: the thread's own are back.
    fn finish(self: *Tracer, thread: *Thread) !void {
        const tid = thread.tid;
        if (thread.changed) |*changed| {
            const now = try Registers.read(tid);
            var before = changed.before;
            before.setResult(now.result());
            try before.write(tid);
            defer thread.changed = null;
            self.release(changed);
            // It was an execve(2), which has failed.
            if (changed.file < 0) if (thread.process.plan) |plan| {
                plan.discard(self.guest.threads.memory);
                thread.process.plan = null;
            };
        }
        return resume_(request.go_on, tid, 0);
    }
};

fn negative(code: linux.E) usize {
    return 0 -% @as(usize, @backingInt(code));
}
