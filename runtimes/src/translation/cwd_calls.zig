//! Calls that take a path and act on the calling process, or on a descriptor of it.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const calls = @import("call.zig");
const open_calls = @import("open_calls.zig");
const places = @import("place.zig");
const Call = calls.Call;
const Outcome = calls.Outcome;

pub fn chdir(call: *Call) anyerror!Outcome {
    var place = try call.placeOf(sys.at_fdcwd, try call.string(0), true);
    if (!place.exists()) return error.NOENT;
    if (!place.is(places.directory)) return error.NOTDIR;
    try open_calls.openDirectory(call, &place, false);
    return enter(call, place.dir, place.name, true);
}

pub fn fchdir(call: *Call) anyerror!Outcome {
    const fd = call.descriptor(0);
    if (fd < 0) return error.BADF;
    const link = try call.fileLink(fd);
    return enter(call, call.guest.threads.proc, link, false) catch |err|
        return if (err == error.NOENT) error.BADF else err;
}

fn enter(call: *Call, dir: sys.fd_t, name: [*:0]const u8, nofollow: bool) !Outcome {
    const how: sys.O = .{
        .PATH = true,
        .DIRECTORY = true,
        .NOFOLLOW = nofollow,
        .CLOEXEC = true,
    };
    const fd = try sys.openat(dir, name, how, 0);
    errdefer sys.close(fd);
    // Who may not search a directory may not go there.
    const search = 1;
    try sys.do(.faccessat, .{ fd, ".", search });
    try call.thread.cwd.go(call.guest.threads.memory, fd);
    return .done;
}

/// unshare(2) of what threads share: from now on the thread goes alone.
pub fn unshare(call: *Call) anyerror!Outcome {
    const memory = call.guest.threads.memory;
    const own = try call.thread.cwd.copy(memory);
    call.thread.cwd.leave(memory);
    call.thread.cwd = own;
    return .native;
}

pub const clone_fs = 0x200;
pub const clone_files = 0x400;

/// The same open file as the program's descriptor.
pub fn duplicate(call: *Call, fd: i32) !sys.fd_t {
    const handle: sys.fd_t = @intCast(try sys.call(.pidfd_open, .{ call.thread.process.pid, 0 }));
    defer sys.close(handle);
    return @intCast(try sys.call(.pidfd_getfd, .{ handle, fd, 0 }));
}

pub fn inotifyAddWatch(call: *Call) anyerror!Outcome {
    const dont_follow = 0x0200_0000;
    const mask = call.number(2);
    const resolver = &call.guest.resolver;
    const follow = mask & dont_follow == 0;
    var place = try call.placeOf(sys.at_fdcwd, try call.string(1), follow);
    if (!place.exists()) return error.NOENT;
    // What is made in it later is made in the run's own layer.
    if (place.where == .tree and place.is(places.directory) and !resolver.tree.readonly) {
        place.dir = try resolver.keep(try resolver.tree.writable(place.path));
        place.name = ".";
    }
    const fd = try duplicate(call, call.descriptor(0));
    defer sys.close(fd);
    return calls.result(sys.raw(.inotify_add_watch, .{ fd, try call.hostPath(&place), mask }));
}
