//! Calls that open files (open(2), openat2(2)).
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const Listener = @import("../base/notification.zig").Listener;
const text = @import("../base/text.zig");
const modes = @import("../base/mode.zig");
const quantity = @import("../cli/quantity.zig");
const calls = @import("call.zig");
const places = @import("place.zig");
const trees = @import("tree.zig");
const Call = calls.Call;
const Outcome = calls.Outcome;
const Place = places.Place;

pub fn openat(call: *Call) anyerror!Outcome {
    return open(call, @bitCast(call.number(2)), call.number(3));
}

/// struct open_how. All paths are resolved in the program's root; some restrictions of `resolve`
/// cannot be kept.
pub fn openat2(call: *Call) anyerror!Outcome {
    var how: [3]u64 = @splat(0);
    if (call.arguments[3] < @sizeOf(@TypeOf(how))) return error.INVAL;
    try call.read(call.arguments[2], std.mem.asBytes(&how));
    const flags: sys.O = @bitCast(@as(u32, @truncate(how[0])));
    // A notification cannot give what is opened for its path alone.
    if (how[2] != 0 or (flags.PATH and call.id != null)) return error.NOSYS;
    return open(call, flags, @truncate(how[1]));
}

fn open(call: *Call, wanted: sys.O, mode: u32) anyerror!Outcome {
    const resolver = &call.guest.resolver;
    var place = try call.place(0, 1, !wanted.NOFOLLOW and !(wanted.CREAT and wanted.EXCL));
    const writes = !wanted.PATH and (wanted.ACCMODE != .RDONLY or wanted.TRUNC);
    if (!place.exists()) {
        if (!wanted.CREAT or wanted.PATH) return error.NOENT;
        if (place.slash) return error.ISDIR;
        try resolver.forWriting(&place);
    } else if (!place.magic) {
        if (wanted.CREAT and wanted.EXCL) return error.EXIST;
        if (place.is(places.regular) and writes) try resolver.forChange(&place);
        if (place.is(places.directory)) try openDirectory(call, &place, wanted.TMPFILE);
    } else if (writes) try resolver.forChange(&place);
    var flags = wanted;
    flags.CLOEXEC = true;
    flags.NOCTTY = true;
    flags.NOFOLLOW = !place.magic;
    call.guest.setUmask(call.thread.process.umask);
    if (!wanted.PATH and place.where == .mount) if (try deviceOf(call, &place)) |fd|
        return .{ .file = .{ .fd = fd, .cloexec = wanted.CLOEXEC } };
    if (place.is(places.pipe) and !wanted.PATH and !wanted.NONBLOCK and wanted.ACCMODE != .RDWR)
        return openPipe(call, &place, flags, wanted.CLOEXEC);
    var fd = sys.raw(.openat, .{ place.dir, place.name, @as(u32, @bitCast(flags)), mode });
    if (linux.errno(fd) == .ACCES and call.isRoots(&place))
        fd = try openAsRoot(call, &place, flags) orelse fd;
    if (fd > std.math.maxInt(i32)) return calls.result(fd);
    if (!place.exists()) try calls.created(call, &place);
    return .{ .file = .{ .fd = @intCast(fd), .cloexec = wanted.CLOEXEC } };
}

/// Root may open what nobody has a right to (capabilities(7), CAP_DAC_OVERRIDE): a file of the
/// run's own has it for a moment. Null if it is none.
fn openAsRoot(call: *Call, place: *const Place, flags: sys.O) !?usize {
    if (place.where.tree == .lower) return null;
    if (!place.is(places.regular) and !place.is(places.directory)) return null;
    const how: sys.O = .{ .PATH = true, .NOFOLLOW = true, .CLOEXEC = true };
    const named = try sys.openat(place.dir, place.name, how, 0);
    defer sys.close(named);
    const st = try sys.stat(named, "");
    if (call.guest.tree.isLinked(st.ino)) return null;
    const mode = st.mode & 0o7777;
    try modes.changeOpen(named, mode | 0o700);
    defer modes.changeOpen(named, mode) catch {};
    return sys.raw(.openat, .{ place.dir, place.name, @as(u32, @bitCast(flags)), 0 });
}

/// Its names may be in the other layer. With `new`, a file without a name is made in it.
pub fn openDirectory(call: *Call, place: *Place, new: bool) !void {
    const resolver = &call.guest.resolver;
    if (new) {
        if (place.where == .mount) return resolver.forWriting(place);
        place.dir = try resolver.keep(try resolver.tree.writable(place.path));
        place.name = ".";
        return;
    }
    const upper = place.where == .tree and place.where.tree == .upper;
    if (!upper or place.isItself() or !resolver.tree.isStub(place.inode)) return;
    place.dir = try resolver.keep(try trees.openBelow(resolver.tree.lower, place.path));
    place.name = ".";
}

/// /dev/tty is the terminal of the process that opens it (tty(4)), which is not ours.
fn deviceOf(call: *Call, place: *const Place) !?sys.fd_t {
    if (!place.is(places.character_device) or !std.mem.eql(u8, place.path, "/dev/tty")) return null;
    const proc = call.guest.threads.proc;
    const file = try text.alloc(call.arena(), "{d}/stat", .{call.tid()});
    const buf = try call.arena().alloc(u8, 1024);
    const status = try sys.readStart(proc, file, buf);
    const at = std.mem.findScalarLast(u8, status, ')') orelse return error.NXIO;
    var fields = std.mem.tokenizeScalar(u8, status[at + 1 ..], ' ');
    // State, parent, group, session, terminal (proc_pid_stat(5)).
    for (0..4) |_| _ = fields.next();
    const device = quantity.number(u32, fields.next() orelse "") orelse 0;
    const first_pty_major = 136;
    if (device >> 8 & 0xfff != first_pty_major) return if (device == 0) error.NXIO else null;
    const minor = (device & 0xff) | (device >> 12 & 0xfff00);
    const path = try text.alloc(call.arena(), "/dev/pts/{d}", .{minor});
    const flags: sys.O = .{ .ACCMODE = .RDWR, .NOCTTY = true, .CLOEXEC = true };
    return try sys.openat(sys.at_fdcwd, path, flags, 0);
}

/// Waits for another process to open it: in a thread.
fn openPipe(call: *Call, place: *const Place, flags: sys.O, cloexec: bool) anyerror!Outcome {
    const how: sys.O = .{ .PATH = true, .NOFOLLOW = !place.magic, .CLOEXEC = true };
    const named = try sys.openat(place.dir, place.name, how, 0);
    const id = call.id orelse {
        var own = flags;
        own.NOFOLLOW = false;
        own.CLOEXEC = cloexec;
        const here: u64 = @bitCast(@as(i64, sys.at_fdcwd));
        return .{ .change = .{
            .number = @backingInt(sys.SYS.openat),
            .arguments = .{ here, 0, @as(u32, @bitCast(own)), 0, 0, 0 },
            .file = named,
            .at = 1,
        } };
    };
    const opening = try std.heap.page_allocator.create(Opening);
    opening.* = .{
        .listener = call.guest.listener.?,
        .id = id,
        .fd = named,
        .flags = flags,
        .cloexec = cloexec,
    };
    const thread = std.Thread.spawn(.{ .stack_size = 128 << 10 }, Opening.run, .{opening}) catch
        return error.AGAIN;
    thread.detach();
    return .later;
}

const Opening = struct {
    listener: Listener,
    id: u64,
    /// Of its path alone.
    fd: sys.fd_t,
    flags: sys.O,
    cloexec: bool,

    fn run(self: *Opening) void {
        defer std.heap.page_allocator.destroy(self);
        defer sys.close(self.fd);
        var path: [32:0]u8 = undefined;
        var flags = self.flags;
        flags.NOFOLLOW = false;
        const name = sys.fdPath(&path, self.fd);
        const fd = sys.raw(.openat, .{ sys.at_fdcwd, name, @as(u32, @bitCast(flags)), 0 });
        if (fd > std.math.maxInt(i32)) return self.listener.answer(self.id, fd);
        self.listener.answer(self.id, self.listener.give(self.id, @intCast(fd), self.cloexec));
        sys.close(@intCast(fd));
    }
};
