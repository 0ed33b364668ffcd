//! Where a server thread runs. Who walks through directories waits for every answer, and most of
//! that time goes by until the thread on another processor, and then he himself, has woken up: the
//! scheduler prefers an idle processor to the one whose task is about to wait. So a thread that
//! goes on answering one task stays where that task runs. Not when files are read: blocks are
//! decoded while the reader already works on.
const std = @import("std");
const sys = @import("../sys.zig");
const text = @import("../text.zig");
const Affinity = @import("../affinity.zig").Affinity;

pub const Nearness = struct {
    /// The machine's /proc.
    proc: sys.fd_t,
    task: u32 = 0,
    /// Answers to that task, one after the other, since it was last looked at.
    count: u32 = 0,
    /// Where the thread may run when it is not bound to a processor.
    anywhere: Affinity,
    bound: bool,

    /// A program's start hardly gets that far. To look takes half as long as an answer.
    const answers_per_look = 16;

    /// Before an answer that takes no time.
    pub fn serve(self: *Nearness, task: u32) void {
        if (task != self.task) self.leave();
        self.task = task;
        self.count += 1;
        if (self.count < answers_per_look) return;
        self.count = 0;
        self.approach() catch self.leave();
    }

    /// Before any other.
    pub fn leave(self: *Nearness) void {
        self.count = 0;
        if (self.bound) self.anywhere.set();
        self.bound = false;
    }

    fn approach(self: *Nearness) !void {
        const processor = try self.processorOf(self.task);
        if (processor / 8 >= self.anywhere.len) return error.RANGE;
        self.anywhere.only(processor).set();
        self.bound = true;
    }

    /// proc_pid_stat(5): the 39th field. The second one, in brackets, may hold anything.
    fn processorOf(self: *const Nearness, task: u32) !u32 {
        var path: [32]u8 = undefined;
        path[text.print(&path, "{d}/stat", .{task}).len] = 0;
        var buf: [1024]u8 = undefined;
        const stat = try sys.readFile(self.proc, @ptrCast(&path), &buf);
        const name_end = std.mem.findScalarLast(u8, stat, ')') orelse return error.INVAL;
        var fields = std.mem.tokenizeScalar(u8, stat[name_end + 1 ..], ' ');
        for (3..39) |_| _ = fields.next();
        return std.fmt.parseInt(u32, fields.next() orelse return error.INVAL, 10) catch error.INVAL;
    }
};
