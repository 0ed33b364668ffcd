//! Holds up the threads that work ahead while the runtime is stopped together with its app. One that
//! waits for an answer of the mount cannot be stopped, and if whoever is to answer it is stopped
//! first, the stop is never complete: the shell would not hear of it.
const std = @import("std");
const futex = @import("../base/futex.zig");

var paused: std.atomic.Value(u32) = .init(0);
/// Threads that are at work.
var inside: std.atomic.Value(u32) = .init(0);

/// Before a piece of work, and after it.
pub fn enter() void {
    while (true) {
        _ = inside.fetchAdd(1, .seq_cst);
        if (paused.load(.seq_cst) == 0) return;
        leave();
        futex.wait(&paused, 1);
    }
}

pub fn leave() void {
    if (inside.fetchSub(1, .seq_cst) == 1 and paused.load(.seq_cst) != 0) futex.wake(&inside, 1);
}

/// Waits until nobody is at work.
pub fn begin() void {
    paused.store(1, .seq_cst);
    while (true) {
        const count = inside.load(.seq_cst);
        if (count == 0) return;
        futex.wait(&inside, count);
    }
}

pub fn end() void {
    paused.store(0, .seq_cst);
    futex.wake(&paused, std.math.maxInt(i32));
}
