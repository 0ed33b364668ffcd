//! Calls that change attributes of files: chmod(2), chown(2), utimensat(2), truncate(2), and the
//! extended ones (xattr(7)).
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const modes = @import("../base/mode.zig");
const calls = @import("call.zig");
const places = @import("place.zig");
const Call = calls.Call;
const Outcome = calls.Outcome;
const Place = places.Place;

pub fn fchmodat(call: *Call) anyerror!Outcome {
    const flags = call.number(3);
    if (flags & calls.at_empty_path != 0 and (try call.string(1)).len == 0)
        return chmodFile(call, call.descriptor(0), call.number(2));
    const place = try changing(call, 0, 1, flags & calls.at_symlink_nofollow == 0);
    return chmod(&place, call.number(2));
}

pub fn fchmod(call: *Call) anyerror!Outcome {
    return chmodFile(call, call.descriptor(0), call.number(1));
}

fn chmodFile(call: *Call, fd: i32, mode: u32) !Outcome {
    const place = try call.ownFile(fd) orelse return .native;
    return chmod(&place, mode);
}

fn chmod(place: *const Place, mode: u32) !Outcome {
    if (place.is(places.link) and !place.magic) return failed(.OPNOTSUPP);
    const rights = mode & 0o7777;
    if (place.magic)
        try sys.do(.fchmodat, .{ place.dir, place.name, rights })
    else
        try modes.change(place.dir, place.name, rights);
    return .done;
}

fn failed(code: linux.E) Outcome {
    return calls.result(0 -% @as(usize, @backingInt(code)));
}

/// A place whose attributes are to change.
fn changing(call: *Call, dir: usize, path: usize, follow: bool) !Place {
    return prepared(call, try call.place(dir, path, follow));
}

fn prepared(call: *Call, given: Place) !Place {
    var place = given;
    if (!place.exists()) return error.NOENT;
    try call.guest.resolver.forChange(&place);
    return place;
}

/// On the machine owners do not change, for there is one id; those in the tree are remembered.
pub fn fchownat(call: *Call) anyerror!Outcome {
    const flags = call.number(4);
    const given = try call.string(1);
    const ids = [2]u32{ call.number(2), call.number(3) };
    if (flags & calls.at_empty_path != 0 and given.len == 0)
        return chownFile(call, call.descriptor(0), ids);
    const follow = flags & calls.at_symlink_nofollow == 0;
    return chown(call, try call.placeOf(call.descriptor(0), given, follow), ids);
}

pub fn fchown(call: *Call) anyerror!Outcome {
    return chownFile(call, call.descriptor(0), .{ call.number(1), call.number(2) });
}

fn chownFile(call: *Call, fd: i32, ids: [2]u32) !Outcome {
    const path = try call.machinePath(fd);
    const own = try call.guest.resolver.guestOf(path) orelse return .done;
    return chown(call, try call.placeOf(sys.at_fdcwd, if (own.len == 0) "/" else own, false), ids);
}

fn chown(call: *Call, given: Place, ids: [2]u32) !Outcome {
    if (!given.exists()) return failed(.NOENT);
    if (given.where != .tree or given.magic) return .done;
    var place = given;
    const tree = &call.guest.tree;
    const shown = call.guest.shown;
    const before = tree.ownerOf((try sys.lstat(place.dir, place.name)).ino);
    const same = std.math.maxInt(u32);
    const now = before orelse @import("owner_file.zig").Owner{ .uid = shown.uid, .gid = shown.gid };
    var owner = now;
    if (ids[0] != same) owner.uid = ids[0];
    if (ids[1] != same) owner.gid = ids[1];
    const usual = owner.uid == shown.uid and owner.gid == shown.gid;
    if (usual and before == null) return .done;
    if (owner.uid != now.uid and !call.thread.process.identity.isRoot()) return failed(.PERM);
    try call.guest.resolver.forChange(&place);
    const number = (try sys.lstat(place.dir, place.name)).ino;
    try tree.setOwner(number, if (usual) null else owner);
    return .done;
}

pub fn utimensat(call: *Call) anyerror!Outcome {
    var times: [2]linux.timespec = undefined;
    const given = call.arguments[2] != 0;
    if (given) try call.read(call.arguments[2], std.mem.asBytes(&times));
    const flags = call.number(3);
    const none = call.arguments[1] == 0;
    if (none or (flags & calls.at_empty_path != 0 and (try call.string(1)).len == 0)) {
        const place = try call.ownFile(call.descriptor(0)) orelse return .native;
        return setTimes(&place, if (given) &times else null);
    }
    const place = try changing(call, 0, 1, flags & calls.at_symlink_nofollow == 0);
    return setTimes(&place, if (given) &times else null);
}

fn setTimes(place: *const Place, times: ?*const [2]linux.timespec) Outcome {
    const flags: u32 = if (place.magic) 0 else calls.at_symlink_nofollow;
    return calls.result(sys.raw(.utimensat, .{ place.dir, place.name, times, flags }));
}

/// utime(2): seconds.
pub fn utime(call: *Call) anyerror!Outcome {
    return setOldTimes(call, 1, 0);
}

/// utimes(2), futimesat(2): seconds and microseconds.
pub fn futimesat(call: *Call) anyerror!Outcome {
    return setOldTimes(call, 2, 1000);
}

fn setOldTimes(call: *Call, words: usize, factor: i64) !Outcome {
    var old: [4]i64 = @splat(0);
    const given = call.arguments[2] != 0;
    if (given) try call.read(call.arguments[2], std.mem.asBytes(&old)[0 .. 16 * words]);
    const here = call.descriptor(0) == sys.at_fdcwd;
    const place = if (call.arguments[1] == 0)
        (if (here) null else try call.ownFile(call.descriptor(0))) orelse return .native
    else
        try changing(call, 0, 1, true);
    var times: [2]linux.timespec = undefined;
    for (&times, 0..) |*time, i| time.* = .{
        .sec = @intCast(old[i * words]),
        .nsec = @intCast((if (words == 2) old[i * words + 1] else 0) *% factor),
    };
    return setTimes(&place, if (given) &times else null);
}

pub fn truncate(call: *Call) anyerror!Outcome {
    var place = try call.placeOf(sys.at_fdcwd, try call.string(0), true);
    place = try prepared(call, place);
    var buf: [32:0]u8 = undefined;
    const path = if (place.magic) try call.hostPath(&place) else blk: {
        // truncate(2) follows links.
        const how: sys.O = .{ .PATH = true, .NOFOLLOW = true, .CLOEXEC = true };
        break :blk sys.fdPath(&buf, try call.guest.resolver.keep(
            try sys.openat(place.dir, place.name, how, 0),
        ));
    };
    return calls.result(sys.raw(.truncate, .{ path, call.arguments[1] }));
}

/// The kernel's limits (linux/limits.h).
const attribute_max = 65536;

fn attributePlace(call: *Call, follow: bool) !Place {
    const place = try call.placeOf(sys.at_fdcwd, try call.string(0), follow);
    return if (place.exists()) place else error.NOENT;
}

pub fn setxattr(call: *Call) anyerror!Outcome {
    return setAttribute(call, try attributePlace(call, true));
}

pub fn lsetxattr(call: *Call) anyerror!Outcome {
    return setAttribute(call, try attributePlace(call, false));
}

pub fn fsetxattr(call: *Call) anyerror!Outcome {
    return setAttribute(call, try call.ownFile(call.descriptor(0)) orelse return .native);
}

fn setAttribute(call: *Call, given: Place) !Outcome {
    const place = try prepared(call, given);
    const name = try call.string(1);
    const len = call.arguments[3];
    if (len > attribute_max) return failed(.@"2BIG");
    const value = try call.arena().alloc(u8, len);
    try call.read(call.arguments[2], value);
    const path = try call.hostPath(&place);
    return calls.result(sys.raw(.lsetxattr, .{ path, name.ptr, value.ptr, len, call.number(4) }));
}

pub fn getxattr(call: *Call) anyerror!Outcome {
    return getAttribute(call, try attributePlace(call, true));
}

pub fn lgetxattr(call: *Call) anyerror!Outcome {
    return getAttribute(call, try attributePlace(call, false));
}

fn getAttribute(call: *Call, place: Place) !Outcome {
    const name = try call.string(1);
    const value = try call.arena().alloc(u8, @min(call.arguments[3], attribute_max));
    const path = try call.hostPath(&place);
    const got = sys.raw(.lgetxattr, .{ path, name.ptr, value.ptr, value.len });
    if (got <= value.len) try call.write(call.arguments[2], value[0..got]);
    return calls.result(got);
}

pub fn listxattr(call: *Call) anyerror!Outcome {
    return listAttributes(call, try attributePlace(call, true));
}

pub fn llistxattr(call: *Call) anyerror!Outcome {
    return listAttributes(call, try attributePlace(call, false));
}

fn listAttributes(call: *Call, place: Place) !Outcome {
    const names = try call.arena().alloc(u8, @min(call.arguments[2], attribute_max));
    const got = sys.raw(.llistxattr, .{ try call.hostPath(&place), names.ptr, names.len });
    if (got <= names.len) try call.write(call.arguments[1], names[0..got]);
    return calls.result(got);
}

pub fn removexattr(call: *Call) anyerror!Outcome {
    return removeAttribute(call, try attributePlace(call, true));
}

pub fn lremovexattr(call: *Call) anyerror!Outcome {
    return removeAttribute(call, try attributePlace(call, false));
}

pub fn fremovexattr(call: *Call) anyerror!Outcome {
    return removeAttribute(call, try call.ownFile(call.descriptor(0)) orelse return .native);
}

fn removeAttribute(call: *Call, given: Place) !Outcome {
    const place = try prepared(call, given);
    const name = try call.string(1);
    return calls.result(sys.raw(.lremovexattr, .{ try call.hostPath(&place), name.ptr }));
}
