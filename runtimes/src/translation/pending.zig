//! Calls that another thread of ours makes, because they may wait for long: a signal for the thread
//! that waits must end them, as it would end the kernel's own.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const Listener = @import("../base/notification.zig").Listener;
const Status = @import("../process/status.zig").Status;

const most = 64;
/// How soon a signal is seen.
pub const interval = 50;

pub const Pending = struct {
    list: [most]struct { id: u64, tid: i32 } = undefined,
    count: usize = 0,
    looked: i64 = 0,

    pub fn add(self: *Pending, id: u64, tid: i32) void {
        if (self.count == most) return;
        self.list[self.count] = .{ .id = id, .tid = tid };
        self.count += 1;
    }

    pub fn check(self: *Pending, listener: Listener, proc: sys.fd_t) void {
        if (self.count == 0 or sys.monotonic() - self.looked < interval) return;
        self.looked = sys.monotonic();
        var kept: usize = 0;
        for (self.list[0..self.count]) |each| {
            if (!listener.isValid(each.id)) continue;
            if (hasSignal(proc, each.tid)) {
                // The kernel's own word for it: after the signal the call is made again, or fails.
                const restart: usize = 512;
                listener.answer(each.id, 0 -% restart);
                continue;
            }
            self.list[kept] = each;
            kept += 1;
        }
        self.count = kept;
    }
};

/// One that is not blocked.
fn hasSignal(proc: sys.fd_t, tid: i32) bool {
    var status: Status = .{};
    status.read(proc, tid);
    const given = status.set("SigPnd") | status.set("ShdPnd");
    return given & ~status.set("SigBlk") & ~status.set("SigIgn") != 0;
}
