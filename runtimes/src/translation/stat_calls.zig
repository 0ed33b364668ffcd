//! Calls that tell about files: stat(2), statx(2), access(2), readlink(2), statfs(2), getcwd(2).
const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const calls = @import("call.zig");
const open_calls = @import("open_calls.zig");
const places = @import("place.zig");
const proc_links = @import("proc_links.zig");
const Call = calls.Call;
const Guest = @import("guest.zig").Guest;
const Outcome = calls.Outcome;

/// struct stat of the kernel: its size, and where the owner's ids are.
const layout: struct { size: usize, owner: usize } = switch (builtin.cpu.arch) {
    .x86_64 => .{ .size = 144, .owner = 28 },
    else => .{ .size = 128, .owner = 24 },
};
const layout_number = 8;

/// Of struct statx.
const statx_layout = .{ .owner = 20, .number = 32, .device = 136 };

const About = struct { owner: *[8]u8, number: *[8]u8, in_tree: bool };

fn translate(guest: *const Guest, about: About) void {
    const uid = std.mem.readInt(u32, about.owner[0..4], .little);
    const gid = std.mem.readInt(u32, about.owner[4..8], .little);
    const tree = &guest.tree;
    const number = std.mem.readInt(u64, about.number, .little);
    const own = if (about.in_tree) tree.ownerOf(number) else null;
    const new_uid = if (own) |owner| owner.uid else guest.shownUser(uid);
    const new_gid = if (own) |owner| owner.gid else guest.shownGroup(gid);
    std.mem.writeInt(u32, about.owner[0..4], new_uid, .little);
    std.mem.writeInt(u32, about.owner[4..8], new_gid, .little);
    if (about.in_tree) std.mem.writeInt(u64, about.number, tree.shownNumber(number), .little);
}

/// As in struct stat (linux/kdev_t.h).
fn encoded(device: [2]u32) u64 {
    const major, const minor = device;
    return (minor & 0xff) | (@as(u64, major) << 8) | (@as(u64, minor & ~@as(u32, 0xff)) << 12);
}

/// What a call with a directory and a path is about: a name there, or an open file.
const Named = struct { dir: sys.fd_t, name: [*:0]const u8, flags: u32 };

fn named(call: *Call, flags: u32) !Named {
    const given: [:0]const u8 = if (call.arguments[1] == 0 and flags & calls.at_empty_path != 0)
        ""
    else
        try call.string(1);
    if (given.len == 0 and flags & calls.at_empty_path != 0)
        return ofFile(call, call.descriptor(0));
    const follow = flags & calls.at_symlink_nofollow == 0;
    const place = try call.placeOf(call.descriptor(0), given, follow);
    if (!place.exists()) return error.NOENT;
    const more: u32 = if (place.magic) 0 else calls.at_symlink_nofollow;
    return .{ .dir = place.dir, .name = place.name, .flags = more };
}

fn ofFile(call: *Call, fd: i32) !Named {
    return .{ .dir = call.guest.threads.proc, .name = try call.fileLink(fd), .flags = 0 };
}

pub fn newfstatat(call: *Call) anyerror!Outcome {
    return stat(call, try named(call, call.number(3)), call.arguments[2]);
}

pub fn fstat(call: *Call) anyerror!Outcome {
    return stat(call, try ofFile(call, call.descriptor(0)), call.arguments[1]);
}

fn stat(call: *Call, of: Named, address: u64) !Outcome {
    var buf: [layout.size]u8 align(8) = undefined;
    const got = sys.raw(.newfstatat, .{ of.dir, of.name, &buf, of.flags });
    if (got != 0) return calls.result(noFile(call, of, got));
    translate(call.guest, .{
        .owner = buf[layout.owner..][0..8],
        .number = buf[layout_number..][0..8],
        .in_tree = std.mem.readInt(u64, buf[0..8], .little) == encoded(call.guest.tree.device),
    });
    try call.write(address, &buf);
    return .done;
}

/// The descriptor does not exist, for the link of an open file is always there.
fn noFile(call: *const Call, of: Named, got: usize) usize {
    const bad = of.dir == call.guest.threads.proc and linux.errno(got) == .NOENT;
    return if (bad) negative(.BADF) else got;
}

fn negative(code: linux.E) usize {
    return 0 -% @as(usize, @backingInt(code));
}

pub fn statx(call: *Call) anyerror!Outcome {
    const flags = call.number(2);
    const of = try named(call, flags);
    var buf: [256]u8 align(8) = @splat(0);
    const kept = flags & ~@as(u32, calls.at_empty_path | calls.at_symlink_nofollow);
    const got = sys.raw(.statx, .{ of.dir, of.name, kept | of.flags, call.number(3), &buf });
    if (got != 0) return calls.result(noFile(call, of, got));
    const device = std.mem.bytesToValue([2]u32, buf[statx_layout.device..][0..8]);
    translate(call.guest, .{
        .owner = buf[statx_layout.owner..][0..8],
        .number = buf[statx_layout.number..][0..8],
        .in_tree = std.mem.eql(u32, &device, &call.guest.tree.device),
    });
    try call.write(call.arguments[4], &buf);
    return .done;
}

pub fn faccessat(call: *Call) anyerror!Outcome {
    const writable = 2;
    const wanted = call.number(2);
    const flags = call.number(3);
    const given = try call.string(1);
    if (given.len == 0 and flags & calls.at_empty_path != 0) {
        const of = try ofFile(call, call.descriptor(0));
        return calls.result(noFile(call, of, sys.raw(.faccessat, .{ of.dir, of.name, wanted })));
    }
    const follow = flags & calls.at_symlink_nofollow == 0;
    const place = try call.placeOf(call.descriptor(0), given, follow);
    if (!place.exists()) return error.NOENT;
    const readonly = switch (place.where) {
        .tree => call.guest.tree.readonly,
        .mount => |mount| mount.readonly,
    };
    const has_data = place.is(places.regular) or place.is(places.directory);
    if (wanted & writable != 0 and readonly and has_data) return error.ROFS;
    if (place.is(places.link) and !place.magic) return .done;
    const executable = 1;
    if (call.isRoots(&place) and (wanted & executable == 0 or place.is(places.directory) or
        place.mode & 0o111 != 0)) return .done;
    return calls.result(sys.raw(.faccessat, .{ place.dir, place.name, wanted }));
}

pub fn readlinkat(call: *Call) anyerror!Outcome {
    const given = try call.string(1);
    const room = call.arguments[3];
    if (@as(i32, @truncate(@as(i64, @bitCast(room)))) <= 0) return error.INVAL;
    const buf = try call.arena().alloc(u8, std.posix.PATH_MAX);
    var target: []const u8 = buf;
    if (given.len == 0) {
        const how: sys.O = .{ .PATH = true, .CLOEXEC = true };
        const proc = call.guest.threads.proc;
        const fd = try sys.openat(proc, try call.fileLink(call.descriptor(0)), how, 0);
        defer sys.close(fd);
        target = buf[0..try sys.call(.readlinkat, .{ fd, "", buf.ptr, buf.len })];
    } else target = try linkText(call, given, buf);
    const len = @min(target.len, room);
    try call.write(call.arguments[2], target[0..len]);
    return .{ .value = len };
}

fn linkText(call: *Call, given: []const u8, buf: []u8) ![]const u8 {
    const resolver = &call.guest.resolver;
    const place = try call.placeOf(call.descriptor(0), given, false);
    if (!place.exists()) return error.NOENT;
    if (place.where.isProc()) {
        const top = place.where.mount.target.len;
        if (try proc_links.ownName(call.arena(), call.thread, std.fs.path.basename(given))) |name|
            if (std.mem.findScalarLast(u8, place.path, '/') == top or
                std.mem.endsWith(u8, place.path, name)) return name;
        if (place.is(places.link)) {
            const path = place.path[0 .. place.path.len - std.mem.span(place.name).len - 1];
            const dir: places.Directory = .{ .fd = place.dir, .path = path, .where = place.where };
            if (try resolver.magic(dir, std.mem.span(place.name))) |target|
                switch (target) {
                    .path => |path_there| return path_there,
                    .open_file => {},
                };
        }
    }
    if (!place.is(places.link)) return error.INVAL;
    return buf[0..try sys.call(.readlinkat, .{ place.dir, place.name, buf.ptr, buf.len })];
}

pub fn statfs(call: *Call) anyerror!Outcome {
    var place = try call.placeOf(sys.at_fdcwd, try call.string(0), true);
    if (!place.exists()) return error.NOENT;
    if (place.is(places.directory)) try open_calls.openDirectory(call, &place, false);
    var buf: [120]u8 align(8) = undefined;
    const got = sys.raw(.statfs, .{ try call.hostPath(&place), &buf });
    if (got != 0) return calls.result(got);
    try call.write(call.arguments[1], &buf);
    return .done;
}

pub fn getcwd(call: *Call) anyerror!Outcome {
    const path = try call.directory(sys.at_fdcwd);
    const whole: [:0]const u8 = if (path.len == 0)
        "/"
    else
        try call.arena().dupeSentinel(u8, path, 0);
    if (whole.len + 1 > call.arguments[1]) return error.RANGE;
    try call.write(call.arguments[0], whole[0 .. whole.len + 1]);
    return .{ .value = whole.len + 1 };
}

/// uname(2), with the name that was given for the run.
pub fn uname(call: *Call) anyerror!Outcome {
    const name = call.guest.hostname orelse return .native;
    var machine: linux.utsname = undefined;
    try sys.do(.uname, .{&machine});
    @memset(&machine.nodename, 0);
    const len = @min(name.len, machine.nodename.len - 1);
    @memcpy(machine.nodename[0..len], name[0..len]);
    try call.write(call.arguments[0], std.mem.asBytes(&machine));
    return .done;
}
