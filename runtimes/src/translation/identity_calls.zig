//! Calls about the ids of a process (credentials(7)), and others whose answer is made up.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const calls = @import("call.zig");
const identities = @import("identity.zig");
const places = @import("place.zig");
const Call = calls.Call;
const Identity = identities.Identity;
const Outcome = calls.Outcome;

fn own(call: *Call) *Identity {
    return &call.thread.process.identity;
}

fn value(id: u32) Outcome {
    return .{ .value = id };
}

pub fn getuid(call: *Call) anyerror!Outcome {
    return value(own(call).user[0]);
}

pub fn geteuid(call: *Call) anyerror!Outcome {
    return value(own(call).user[1]);
}

pub fn getgid(call: *Call) anyerror!Outcome {
    return value(own(call).group[0]);
}

pub fn getegid(call: *Call) anyerror!Outcome {
    return value(own(call).group[1]);
}

pub fn getresuid(call: *Call) anyerror!Outcome {
    return tell(call, own(call).user);
}

pub fn getresgid(call: *Call) anyerror!Outcome {
    return tell(call, own(call).group);
}

fn tell(call: *Call, ids: [3]u32) !Outcome {
    for (ids, 0..) |id, i| try call.write(call.arguments[i], std.mem.asBytes(&id));
    return .done;
}

fn allowed(ok: bool) anyerror!Outcome {
    return if (ok) .done else error.PERM;
}

pub fn setuid(call: *Call) anyerror!Outcome {
    return allowed(own(call).set(.user, call.number(0)));
}

pub fn setgid(call: *Call) anyerror!Outcome {
    return allowed(setGroup(call, .set));
}

pub fn setreuid(call: *Call) anyerror!Outcome {
    return allowed(own(call).setTwo(.user, call.number(0), call.number(1)));
}

pub fn setregid(call: *Call) anyerror!Outcome {
    return allowed(setGroup(call, .two));
}

pub fn setresuid(call: *Call) anyerror!Outcome {
    const ids = [3]u32{ call.number(0), call.number(1), call.number(2) };
    return allowed(own(call).setAll(.user, ids));
}

pub fn setresgid(call: *Call) anyerror!Outcome {
    return allowed(setGroup(call, .all));
}

fn setGroup(call: *Call, how: enum { set, two, all }) bool {
    const ids = [3]u32{ call.number(0), call.number(1), call.number(2) };
    const identity = own(call);
    return switch (how) {
        .set => identity.set(.group, ids[0]),
        .two => identity.setTwo(.group, ids[0], ids[1]),
        .all => identity.setAll(.group, ids),
    };
}

/// setfsuid(2) and setfsgid(2) tell the id before.
pub fn setfsuid(call: *Call) anyerror!Outcome {
    return value(own(call).user[1]);
}

pub fn setfsgid(call: *Call) anyerror!Outcome {
    return value(own(call).group[1]);
}

pub fn getgroups(call: *Call) anyerror!Outcome {
    const groups = own(call).groups[0..own(call).group_count];
    const room = call.number(0);
    if (room == 0) return .{ .value = groups.len };
    if (room < groups.len) return error.INVAL;
    try call.write(call.arguments[1], std.mem.sliceAsBytes(groups));
    return .{ .value = groups.len };
}

pub fn setgroups(call: *Call) anyerror!Outcome {
    const identity = own(call);
    if (!identity.isRoot()) return error.PERM;
    const count = call.number(0);
    if (count > 65536) return error.INVAL;
    const kept = @min(count, identities.groups_max);
    try call.read(call.arguments[1], std.mem.sliceAsBytes(identity.groups[0..kept]));
    identity.group_count = kept;
    return .done;
}

/// There are no capabilities to lose.
pub fn capset(_: *Call) anyerror!Outcome {
    return .done;
}

/// Also made by the kernel, for what does not go through here.
pub fn umask(call: *Call) anyerror!Outcome {
    call.thread.process.umask = call.number(0) & 0o777;
    return .native;
}

/// To the root that the process has; there can be no other.
pub fn chroot(call: *Call) anyerror!Outcome {
    const place = try call.placeOf(sys.at_fdcwd, try call.string(0), true);
    if (!place.exists()) return error.NOENT;
    if (!place.is(places.directory)) return error.NOTDIR;
    return if (place.path.len == 0 and own(call).isRoot()) .done else error.PERM;
}

/// A thread has one tracer.
pub fn ptrace(call: *Call) anyerror!Outcome {
    if (!call.guest.told_of_tracing) log.note("a program wants to trace another (ptrace): this " ++
        "is not possible here, as the runtime does so itself", .{});
    call.guest.told_of_tracing = true;
    return error.PERM;
}

/// Handles could lead out of the root.
pub fn noHandles(_: *Call) anyerror!Outcome {
    return error.OPNOTSUPP;
}
