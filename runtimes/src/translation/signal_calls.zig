//! Calls that send signals (kill(2)). Without a PID namespace they could reach all processes of the
//! caller: a script that ends a server by its name, or everything, means those of its container.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const Process = @import("../process/own_process.zig").Process;
const calls = @import("call.zig");
const Call = calls.Call;
const Outcome = calls.Outcome;

const signal_max = 64;

pub fn kill(call: *Call) anyerror!Outcome {
    const to: i32 = @bitCast(call.number(0));
    if (to > 0) return toOne(call, to);
    if (to == std.math.minInt(i32)) return error.SRCH;
    const signal = call.number(1);
    if (signal > signal_max) return error.INVAL;
    const own = call.thread.process.pid;
    const group = if (to == 0) groupOf(own) else -to;
    var found = false;
    var threads = call.guest.threads.list.valueIterator();
    while (threads.next()) |each| {
        const pid = each.*.process.pid;
        // One thread stands for its process.
        if (each.*.tid != pid) continue;
        // As to all others, or to the members of a group.
        if (if (to == -1) pid == own else groupOf(pid) != group) continue;
        found = true;
        (Process{ .pid = pid }).kill(signal);
    }
    return if (found) .done else error.SRCH;
}

/// Of a process that the tracer has not waited for: the number is its own.
fn groupOf(pid: i32) i32 {
    return @intCast(sys.call(.getpgid, .{pid}) catch return 0);
}

/// tkill(2), tgkill(2), rt_sigqueueinfo(2), rt_tgsigqueueinfo(2), pidfd_open(2).
pub fn one(call: *Call) anyerror!Outcome {
    return toOne(call, @bitCast(call.number(0)));
}

fn toOne(call: *Call, pid: i32) !Outcome {
    const threads = &call.guest.threads;
    if (pid <= 0 or threads.find(pid) != null) return .native;
    // One that has ended, and that its parent has not waited for.
    const parent = threads.statusOf(pid, "PPid") orelse return error.SRCH;
    return if (threads.find(parent) != null) .native else error.SRCH;
}

/// By a descriptor of pidfd_open(2), but not by a directory of /proc, which may be anybody's.
pub fn byDescriptor(call: *Call) anyerror!Outcome {
    const link = try call.machinePath(call.descriptor(0));
    return if (link[0] == '/') error.BADF else .native;
}
