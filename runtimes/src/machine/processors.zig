//! The machine's processors but the first. The kernel starts without them (`maxcpus=1`): whatever
//! it changes in its own code has to be told to each, and it changes much while it starts and loads
//! modules. Emulated, that would take a fifth of the start.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const own_process = @import("../process/own_process.zig");
const text = @import("../base/text.zig");

/// Has them started by a process of its own, to be waited for. One that does not start is no
/// reason to end a run.
pub fn start(count: u32) sys.Error!own_process.Process {
    switch (try own_process.clone(0)) {
        .parent => |starting| return starting,
        .child => {
            for (1..@max(count, 1)) |number| startOne(number) catch |err| {
                const why = errno.text(err);
                log.say("processor {d} of the machine does not start: {s}", .{ number, why });
            };
            sys.exit(0);
        },
    }
}

fn startOne(number: usize) sys.Error!void {
    var buf: [64:0]u8 = undefined;
    const path = text.print(&buf, "/sys/devices/system/cpu/cpu{d}/online", .{number});
    buf[path.len] = 0;
    const flags: sys.O = .{ .ACCMODE = .WRONLY, .CLOEXEC = true };
    const file = try sys.openat(sys.at_fdcwd, buf[0..path.len :0], flags, 0);
    defer sys.close(file);
    return sys.writeAll(file, "1");
}
