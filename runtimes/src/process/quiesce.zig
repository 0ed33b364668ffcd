//! Holds up the prefetching threads while the runtime is stopped together with its app. A thread
//! that waits for an answer of the mount cannot be stopped; if the server that is to answer is
//! stopped first, the stop never completes, and the shell does not hear of it.
const std = @import("std");
const futex = @import("../base/futex.zig");

pub const Quiesce = struct {
    paused: std.atomic.Value(u32) = .init(0),
    /// Threads that are at work.
    inside: std.atomic.Value(u32) = .init(0),

    /// Before a piece of work, and after it.
    pub fn enter(self: *Quiesce) void {
        while (true) {
            _ = self.inside.fetchAdd(1, .seq_cst);
            if (self.paused.load(.seq_cst) == 0) return;
            self.leave();
            futex.wait(&self.paused, 1);
        }
    }

    pub fn leave(self: *Quiesce) void {
        const last = self.inside.fetchSub(1, .seq_cst) == 1;
        if (last and self.paused.load(.seq_cst) != 0) futex.wake(&self.inside, 1);
    }

    /// Waits until no thread is at work.
    pub fn begin(self: *Quiesce) void {
        self.paused.store(1, .seq_cst);
        while (true) {
            const count = self.inside.load(.seq_cst);
            if (count == 0) return;
            futex.wait(&self.inside, count);
        }
    }

    pub fn end(self: *Quiesce) void {
        self.paused.store(0, .seq_cst);
        futex.wake(&self.paused, std.math.maxInt(i32));
    }
};
