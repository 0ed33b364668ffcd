//! Calls with addresses of Unix sockets, which are paths (unix(7)), and published ports; others are
//! the kernel's.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const calls = @import("call.zig");
const Listener = @import("../base/notification.zig").Listener;
const trees = @import("tree.zig");
const duplicate = @import("cwd_calls.zig").duplicate;
const Call = calls.Call;
const Outcome = calls.Outcome;
const Place = @import("place.zig").Place;

const unix = 1;

const Address = extern struct {
    family: u16 = unix,
    path: [108]u8 = @splat(0),

    fn of(path: []const u8) !Address {
        var self: Address = .{};
        if (path.len >= self.path.len) return error.NAMETOOLONG;
        @memcpy(self.path[0..path.len], path);
        return self;
    }
};

/// The path in an address at these arguments; null if it has none.
fn pathOf(call: *Call, at: usize, len_at: usize) !?[]const u8 {
    const address = call.arguments[at];
    const len = @min(call.number(len_at), @sizeOf(Address));
    if (address == 0 or len <= 2) return null;
    var got: Address = .{};
    try call.read(address, std.mem.asBytes(&got)[0..len]);
    if (got.family != unix or got.path[0] == 0) return null;
    const path = std.mem.sliceTo(got.path[0 .. len - 2], 0);
    // An address that the kernel has told is the machine's.
    const own = call.guest.tree.guestOf(path) orelse path;
    return try call.arena().dupe(u8, own);
}

/// The machine has another port, if it is published.
fn portCall(call: *const Call, binds: bool) Outcome {
    const ports = call.guest.ports orelse return .native;
    const result = ports.decide(&.{
        .id = call.id,
        .tid = call.tid(),
        .arguments = call.arguments,
        .binds = binds,
    });
    return if (result) |value| calls.result(value) else .native;
}

pub fn bind(call: *Call) anyerror!Outcome {
    const path = try pathOf(call, 1, 2) orelse return portCall(call, true);
    var place = try call.placeOf(sys.at_fdcwd, path, false);
    if (place.exists()) return error.ADDRINUSE;
    try call.guest.resolver.forWriting(&place);
    call.guest.setUmask(call.thread.process.umask);
    const fd = try duplicate(call, call.descriptor(0));
    defer sys.close(fd);
    const arena = call.arena();
    const dir = try trees.Tree.pathOf(arena, place.dir);
    const whole = try std.mem.concat(arena, u8, &.{ dir, "/", std.mem.span(place.name) });
    // Where it fits it tells the program's path (getsockname(2)).
    const address: Address = Address.of(whole) catch
        try .of(std.mem.span(try call.hostPath(&place)));
    const got = sys.raw(.bind, .{ fd, &address, @sizeOf(Address) });
    if (got == 0) try calls.created(call, &place);
    return calls.result(got);
}

fn addressOf(call: *Call, path: []const u8) !Address {
    const place = try call.placeOf(sys.at_fdcwd, path, true);
    if (!place.exists()) return error.NOENT;
    return .of(std.mem.span(try call.hostPath(&place)));
}

pub fn connect(call: *Call) anyerror!Outcome {
    const path = try pathOf(call, 1, 2) orelse return portCall(call, false);
    const place = try call.placeOf(sys.at_fdcwd, path, true);
    if (!place.exists()) return error.NOENT;
    const fd = try duplicate(call, call.descriptor(0));
    const get_flags = 3;
    const flags: sys.O = @bitCast(@as(u32, @truncate(sys.raw(.fcntl, .{ fd, get_flags, 0 }))));
    const id = call.id;
    if (flags.NONBLOCK or id == null) {
        defer sys.close(fd);
        const address: Address = try .of(std.mem.span(try call.hostPath(&place)));
        return calls.result(sys.raw(.connect, .{ fd, &address, @sizeOf(Address) }));
    }
    errdefer sys.close(fd);
    const connecting = try std.heap.page_allocator.create(Connecting);
    connecting.* = .{
        .listener = call.guest.listener.?,
        .id = id.?,
        .socket = fd,
        .file = try sys.openat(place.dir, place.name, .{ .PATH = true, .CLOEXEC = true }, 0),
    };
    const size = 128 << 10;
    const thread = std.Thread.spawn(.{ .stack_size = size }, Connecting.run, .{connecting}) catch
        return error.AGAIN;
    thread.detach();
    return .later;
}

/// It may have to wait until the server accepts connections.
const Connecting = struct {
    listener: Listener,
    id: u64,
    socket: sys.fd_t,
    file: sys.fd_t,

    fn run(self: *Connecting) void {
        defer std.heap.page_allocator.destroy(self);
        defer for ([_]sys.fd_t{ self.socket, self.file }) |fd| sys.close(fd);
        var path: [32:0]u8 = undefined;
        const address = Address.of(std.mem.span(sys.fdPath(&path, self.file))) catch return;
        const got = sys.raw(.connect, .{ self.socket, &address, @sizeOf(Address) });
        self.listener.answer(self.id, got);
    }
};

pub fn sendto(call: *Call) anyerror!Outcome {
    const path = try pathOf(call, 4, 5) orelse return .native;
    const address = try addressOf(call, path);
    const most = 1 << 18;
    const message = try call.arena().alloc(u8, @min(call.arguments[2], most));
    try call.read(call.arguments[1], message);
    const fd = try duplicate(call, call.descriptor(0));
    defer sys.close(fd);
    return calls.result(sys.raw(
        .sendto,
        .{ fd, message.ptr, message.len, call.arguments[3], &address, @sizeOf(Address) },
    ));
}

pub fn getsockname(call: *Call) anyerror!Outcome {
    return tellName(call, .getsockname);
}

pub fn getpeername(call: *Call) anyerror!Outcome {
    return tellName(call, .getpeername);
}

/// With the program's path in place of the machine's.
fn tellName(call: *Call, comptime number: sys.SYS) !Outcome {
    const fd = try duplicate(call, call.descriptor(0));
    defer sys.close(fd);
    var address: Address = .{};
    var len: u32 = @sizeOf(Address);
    const got = sys.raw(number, .{ fd, &address, &len });
    if (got != 0 or address.family != unix or len <= 2 or address.path[0] == 0) return .native;
    const path = std.mem.sliceTo(&address.path, 0);
    const own = call.guest.tree.guestOf(path) orelse return .native;
    const told: Address = try .of(own);
    const size: u32 = @intCast(2 + own.len + 1);
    var room: u32 = 0;
    try call.read(call.arguments[2], std.mem.asBytes(&room));
    try call.write(call.arguments[1], std.mem.asBytes(&told)[0..@min(room, size)]);
    try call.write(call.arguments[2], std.mem.asBytes(&size));
    return .done;
}
