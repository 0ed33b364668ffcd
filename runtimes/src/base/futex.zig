//! Threads that wait for each other (futex(2)).
const std = @import("std");
const sys = @import("syscalls.zig");

/// A mutual exclusion lock of one word: 0 free, 1 held, 2 held and waited for
/// (U. Drepper, "Futexes Are Tricky", mutex 2).
pub const Mutex = struct {
    word: std.atomic.Value(u32) = .init(0),

    pub fn lock(self: *Mutex) void {
        if (self.word.cmpxchgStrong(0, 1, .acquire, .monotonic) == null) return;
        while (self.word.swap(2, .acquire) != 0) wait(&self.word, 2);
    }

    pub fn unlock(self: *Mutex) void {
        if (self.word.swap(0, .release) == 2) wake(&self.word, 1);
    }
};

pub fn wait(w: *std.atomic.Value(u32), expected: u32) void {
    const wait_private = 128;
    _ = sys.raw(.futex, .{ &w.raw, wait_private, expected, 0 });
}

pub fn wake(w: *std.atomic.Value(u32), count: u32) void {
    const wake_private = 129;
    _ = sys.raw(.futex, .{ &w.raw, wake_private, count });
}
