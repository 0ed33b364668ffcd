//! The threads of a translated run, and the processes that they are of.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const Identity = @import("identity.zig").Identity;
const Plan = @import("exec_plan.zig").Plan;
const Registers = @import("registers.zig").Registers;
const Status = @import("../process/status.zig").Status;
const WorkingDirectory = @import("working_directory.zig").WorkingDirectory;

pub const Process = struct {
    /// The thread group.
    pid: i32,
    threads: u32 = 0,
    identity: Identity,
    umask: u32 = 0o022,
    /// The program's path of what it executes.
    exe: []const u8,
    /// A page of the process's memory for arguments of ours.
    scratch: u64 = 0,
    /// Of an execve(2) that is being made.
    plan: ?*Plan = null,
};

/// A system call that is made with other arguments.
pub const Changed = struct {
    before: Registers,
    /// Ours, which its arguments lead to.
    file: sys.fd_t,
};

pub const Thread = struct {
    tid: i32,
    process: *Process,
    cwd: *WorkingDirectory,
    changed: ?Changed = null,
};

pub const Threads = struct {
    memory: std.mem.Allocator,
    list: std.AutoHashMapUnmanaged(i32, *Thread) = .empty,
    /// New ones that have stopped before their parent told of them.
    early: std.ArrayList(i32) = .empty,
    /// The machine's /proc.
    proc: sys.fd_t,

    pub fn find(self: *const Threads, tid: i32) ?*Thread {
        return self.list.get(tid);
    }

    /// The process with that number, by its first thread.
    pub fn process(self: *const Threads, pid: i32) ?*Process {
        return (self.find(pid) orelse return null).process;
    }

    pub fn addFirst(self: *Threads, pid: i32, identity: Identity) !*Thread {
        const made = try self.memory.create(Process);
        made.* = .{ .pid = pid, .identity = identity, .exe = "" };
        return self.add(pid, made, try .make(self.memory));
    }

    fn add(self: *Threads, tid: i32, of: *Process, cwd: *WorkingDirectory) !*Thread {
        const thread = try self.memory.create(Thread);
        thread.* = .{ .tid = tid, .process = of, .cwd = cwd };
        try self.list.put(self.memory, tid, thread);
        of.threads += 1;
        return thread;
    }

    /// A thread's child: a thread of the same process, or a process.
    pub fn addChild(self: *Threads, parent: *Thread, tid: i32, cloned: bool) !*Thread {
        if (self.find(tid)) |known| return known;
        const above = parent.process;
        if (cloned and self.statusOf(tid, "Tgid") == above.pid)
            return self.add(tid, above, parent.cwd.share());
        const made = try self.memory.create(Process);
        made.* = .{
            .pid = tid,
            .identity = above.identity,
            .umask = above.umask,
            .exe = try self.memory.dupe(u8, above.exe),
            .scratch = above.scratch,
        };
        return self.add(tid, made, if (shareDirectory(parent.tid, tid))
            parent.cwd.share()
        else
            try parent.cwd.copy(self.memory));
    }

    /// Of a thread that may have ended: a number of its /proc/TID/status.
    pub fn statusOf(self: *const Threads, tid: i32, field: []const u8) ?i32 {
        var status: Status = .{};
        status.read(self.proc, tid);
        return status.number(field);
    }

    /// Whether it is one of them, which it is no more.
    pub fn takeEarly(self: *Threads, tid: i32) bool {
        const at = std.mem.findScalar(i32, self.early.items, tid) orelse return false;
        _ = self.early.swapRemove(at);
        return true;
    }

    pub fn remove(self: *Threads, tid: i32) void {
        _ = self.takeEarly(tid);
        const thread = self.find(tid) orelse return;
        _ = self.list.remove(tid);
        if (thread.changed) |changed| if (changed.file >= 0) sys.close(changed.file);
        const of = thread.process;
        thread.cwd.leave(self.memory);
        self.memory.destroy(thread);
        of.threads -= 1;
        if (of.threads > 0) return;
        if (of.plan) |plan| plan.discard(self.memory);
        self.memory.free(of.exe);
        self.memory.destroy(of);
    }

    /// After execve(2) by one of several threads the process has only that one, whose number is the
    /// process's now.
    pub fn executed(self: *Threads, pid: i32, former: i32) ?*Thread {
        var thread = self.find(former) orelse self.find(pid) orelse return null;
        if (former != pid and thread.tid == former) {
            _ = self.list.remove(former);
            thread.tid = pid;
            if (self.list.fetchPut(self.memory, pid, thread) catch null) |old| {
                old.value.process.threads -= 1;
                old.value.cwd.leave(self.memory);
                self.memory.destroy(old.value);
            }
        }
        while (thread.process.threads > 1) {
            var all = self.list.valueIterator();
            const other = while (all.next()) |each| {
                if (each.*.process == thread.process and each.* != thread) break each.*;
            } else break;
            self.remove(other.tid);
        }
        return thread;
    }
};

/// Of two processes (CLONE_FS, clone(2)).
fn shareDirectory(one: i32, other: i32) bool {
    const working_directories = 3; // KCMP_FS, kcmp(2)
    return sys.raw(.kcmp, .{ one, other, working_directories, 0, 0 }) == 0;
}
