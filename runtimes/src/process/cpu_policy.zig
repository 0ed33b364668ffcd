//! Which processors threads run on while a start is under way. Who makes FUSE requests and who
//! answers them share one: to wake an idle processor takes longer than an answer. The thread that
//! decodes ahead has to leave it: the scheduler lets it finish its slice, milliseconds, while all
//! others wait, even where other processors are idle.
const std = @import("std");
const sys = @import("../base/syscalls.zig");

pub const Affinity = struct {
    mask: [128]u64 = @splat(0),
    /// Bytes of the mask that the kernel uses; 0 when it is not known.
    len: usize = 0,

    /// The calling thread's.
    pub fn get() Affinity {
        var self: Affinity = .{};
        self.len = sys.call(
            .sched_getaffinity,
            .{ 0, @sizeOf(@TypeOf(self.mask)), &self.mask },
        ) catch 0;
        return self;
    }

    pub fn set(self: *const Affinity) void {
        self.setOf(0);
    }

    /// Of another thread.
    pub fn setOf(self: *const Affinity, thread: i32) void {
        if (self.len > 0) _ = sys.raw(.sched_setaffinity, .{ thread, self.len, &self.mask });
    }

    /// The processor that the calling thread is on, and the others; both are all where there is
    /// only one.
    pub fn divide(self: *const Affinity) struct { Affinity, Affinity } {
        var cpu: u32 = undefined;
        sys.do(.getcpu, .{ &cpu, 0, 0 }) catch return .{ self.*, self.* };
        if (cpu / 8 >= self.len) return .{ self.*, self.* };
        var one: Affinity = .{ .len = self.len };
        one.mask[cpu / 64] = @as(u64, 1) << @intCast(cpu % 64);
        var others = self.*;
        others.mask[cpu / 64] &= ~one.mask[cpu / 64];
        if (std.mem.allEqual(u64, &others.mask, 0)) return .{ self.*, self.* };
        return .{ one, others };
    }
};
