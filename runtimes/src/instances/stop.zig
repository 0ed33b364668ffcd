//! --dockerc-stop: the image's stop signal to the runtime, which passes it on, and ends an app that
//! does not handle it; SIGKILL to the app if it has not ended in time.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const config = @import("../config/spec.zig");
const instance_file = @import("instance.zig");
const quantity = @import("../cli/quantity.zig");
const signals = @import("../process/signals.zig");
const stop_signal = @import("stop_signal.zig");
const text = @import("../base/text.zig");
const Instance = instance_file.Instance;

const usage = "write --dockerc-stop [-t SECONDS] [NAME|PID]";

/// Docker's.
const seconds_default = 10;
/// For the runtime, once the app has been killed.
const patience = 5;

pub fn run(
    arena: std.mem.Allocator,
    proc: sys.fd_t,
    spec: *const config.Spec,
    instances: []const Instance,
    words: []const []const u8,
) !void {
    var seconds: u32 = seconds_default;
    var rest = words;
    if (rest.len > 1 and std.mem.eql(u8, rest[0], "-t")) {
        seconds = quantity.number(u32, rest[1]) orelse
            log.die("-t {s}: {s}", .{ rest[1], usage });
        rest = rest[2..];
    }
    if (rest.len > 1 or (rest.len == 1 and std.mem.startsWith(u8, rest[0], "-")))
        log.die("{s}", .{usage});
    const chosen = try instance_file.choose(arena, instances, if (rest.len > 0) rest[0] else null);
    const given = spec.annotation("org.opencontainers.image.stopSignal") orelse "";
    const signal = stop_signal.parse(given) orelse blk: {
        if (given.len > 0) log.note("the image's stop signal {s} is unknown", .{given});
        break :blk signals.SIG.term;
    };
    try stop(proc, &chosen, signal, seconds);
    try sys.writeAll(1, try text.alloc(arena, "{s}\n", .{chosen.name}));
}

fn stop(proc: sys.fd_t, instance: *const Instance, signal: u32, seconds: u32) !void {
    const runtime = handleOf(proc, instance.runtime) orelse return;
    const app = handleOf(proc, instance.app);
    // The runtime would end, and not the app alone.
    try send(if (signal == signals.SIG.kill) app orelse runtime else runtime, signal);
    if (hasEnded(runtime, seconds)) return;
    log.debug("not ended in time: SIGKILL", .{});
    if (app) |handle| try send(handle, signals.SIG.kill);
    if (hasEnded(runtime, patience)) return;
    // It is stopped, perhaps; its watchdog removes what it leaves.
    try send(runtime, signals.SIG.kill);
    if (!hasEnded(runtime, patience)) log.die("{s} does not end", .{instance.name});
}

/// Null if it has ended.
fn handleOf(proc: sys.fd_t, member: Instance.Member) ?sys.fd_t {
    const dir = member.open(proc) catch return null;
    return dir.handle() catch |err| if (err == error.SRCH) null else log.die(
        "cannot stop process {d}: {s}",
        .{ member.pid, errno.text(err) },
    );
}

/// A process that has ended needs no signal.
fn send(process: sys.fd_t, signal: u32) !void {
    sys.do(.pidfd_send_signal, .{ process, signal, 0, 0 }) catch |err|
        if (err != error.SRCH) return err;
}

fn hasEnded(process: sys.fd_t, seconds: u32) bool {
    var polled: linux.pollfd = .{ .fd = process, .events = linux.POLL.IN, .revents = 0 };
    // The kernel writes the remaining time back.
    var time: linux.timespec = .{ .sec = seconds, .nsec = 0 };
    while (true) {
        _ = sys.call(.ppoll, .{ &polled, 1, &time, 0, 0 }) catch |err|
            if (err == error.INTR) continue else return false;
        return polled.revents != 0;
    }
}
