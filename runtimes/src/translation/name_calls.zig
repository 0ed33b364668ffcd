//! Calls that make, remove and rename what directories hold.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const calls = @import("call.zig");
const places = @import("place.zig");
const Call = calls.Call;
const Outcome = calls.Outcome;
const Place = places.Place;

const at_removedir = 0x200;

/// Where something new is to be, in the run's own layer.
fn newPlace(call: *Call, dir: usize, path: usize) !Place {
    var place = try call.place(dir, path, false);
    if (place.exists()) return error.EXIST;
    try call.guest.resolver.forWriting(&place);
    call.guest.setUmask(call.thread.process.umask);
    return place;
}

fn made(call: *Call, place: *const Place, got: usize) !Outcome {
    if (got == 0) try calls.created(call, place);
    return calls.result(got);
}

pub fn mkdirat(call: *Call) anyerror!Outcome {
    const place = try newPlace(call, 0, 1);
    return made(call, &place, sys.raw(.mkdirat, .{ place.dir, place.name, call.number(2) }));
}

/// An ordinary user may make no device nodes: an empty file is made in their place.
pub fn mknodat(call: *Call) anyerror!Outcome {
    const place = try newPlace(call, 0, 1);
    if (place.slash) return error.NOENT;
    const mode = call.number(2);
    const kept = switch (mode & 0o170000) {
        0o020000, 0o060000 => mode & 0o777,
        else => mode,
    };
    return made(call, &place, sys.raw(.mknodat, .{ place.dir, place.name, kept, 0 }));
}

pub fn symlinkat(call: *Call) anyerror!Outcome {
    const target = try call.string(0);
    const place = try newPlace(call, 1, 2);
    if (place.slash) return error.NOENT;
    return made(call, &place, sys.raw(.symlinkat, .{ target.ptr, place.dir, place.name }));
}

pub fn unlinkat(call: *Call) anyerror!Outcome {
    const resolver = &call.guest.resolver;
    const flags = call.number(2);
    var place = try call.place(0, 1, false);
    if (!place.exists()) return error.NOENT;
    if (calls.isMountPoint(&place)) return error.BUSY;
    if (!place.isItself()) try prepare(call, &place, flags & at_removedir != 0);
    const got = sys.raw(.unlinkat, .{ place.dir, place.name, flags });
    if (!place.is(places.regular)) resolver.tree.changed = true;
    return calls.result(got);
}

/// Of a place whose name is to go: what a directory holds is then in one layer.
fn prepare(call: *Call, place: *Place, fill: bool) !void {
    const resolver = &call.guest.resolver;
    try resolver.forWriting(place);
    if (fill and place.where == .tree and place.is(places.directory))
        sys.close(try resolver.tree.writable(place.path));
}

pub fn renameat2(call: *Call) anyerror!Outcome {
    const resolver = &call.guest.resolver;
    const exchange = 2;
    const flags = call.number(4);
    var old = try call.place(0, 1, false);
    var new = try call.place(2, 3, false);
    if (!old.exists()) return error.NOENT;
    if (calls.isMountPoint(&old) or calls.isMountPoint(&new)) return error.BUSY;
    if (old.isItself() or new.isItself()) return error.BUSY;
    if (crosses(&old, &new)) return error.XDEV;
    if (new.slash and !old.is(places.directory)) return error.NOTDIR;
    try prepare(call, &old, true);
    try prepare(call, &new, new.exists());
    if (old.where == .tree and old.is(places.directory)) try resolver.tree.fillAll(old.path);
    if (flags & exchange != 0 and new.where == .tree and new.is(places.directory))
        try resolver.tree.fillAll(new.path);
    const got = sys.raw(.renameat2, .{ old.dir, old.name, new.dir, new.name, flags });
    if (!old.is(places.regular) or (new.exists() and !new.is(places.regular)))
        resolver.tree.changed = true;
    return calls.result(got);
}

pub fn linkat(call: *Call) anyerror!Outcome {
    const flags = call.number(4);
    const given = try call.string(1);
    const follow = flags & calls.at_symlink_follow != 0;
    const old = if (given.len == 0 and flags & calls.at_empty_path != 0)
        try call.opened(call.descriptor(0))
    else
        try call.placeOf(call.descriptor(0), given, follow);
    if (!old.exists()) return error.NOENT;
    const new = try newPlace(call, 2, 3);
    if (new.slash) return error.NOENT;
    if (old.magic) {
        if (!try isBeside(call, &old, &new)) return error.XDEV;
        if (try call.guest.resolver.isPayloads(&old)) return error.NOENT;
    } else if (crosses(&old, &new)) return error.XDEV;
    const tree = &call.guest.tree;
    // The name of an unpacked file: it is still copied before it changes.
    if (old.where == .tree and old.where.tree == .lower)
        try tree.setLinked(old.inode);
    const how: u32 = if (old.magic) calls.at_symlink_follow else 0;
    return calls.result(sys.raw(.linkat, .{ old.dir, old.name, new.dir, new.name, how }));
}

/// As with mounts, no file has names on both sides: those of the payload and of volumes that are
/// only read would change by the other name.
fn crosses(old: *const Place, new: *const Place) bool {
    return switch (old.where) {
        .tree => new.where != .tree,
        .mount => |mount| new.where != .mount or new.where.mount != mount,
    };
}

/// The same of an open file whose name is gone.
fn isBeside(call: *Call, old: *const Place, new: *const Place) !bool {
    const buf = try call.arena().alloc(u8, std.posix.PATH_MAX);
    const path = buf[0..try sys.call(.readlinkat, .{ old.dir, old.name, buf.ptr, buf.len })];
    const named = std.mem.cutSuffix(u8, path, " (deleted)") orelse path;
    const resolver = &call.guest.resolver;
    const own = try resolver.guestOf(named) orelse return false;
    const mount = resolver.mounts.holding(own) orelse return new.where == .tree;
    return new.where == .mount and new.where.mount == mount;
}
