//! Unix sockets whose messages arrive whole, and may carry open files (unix(7), SCM_RIGHTS): pairs
//! between processes of ours, and those that have a name.
const std = @import("std");
const sys = @import("syscalls.zig");

pub const files_max = 2;

const unix = 1;
const seqpacket = 5;
const cloexec = 0o2000000;
const nonblocking = 0o4000;
const sol_socket = 1;

const Header = extern struct {
    name: ?*anyopaque = null,
    name_len: u32 = 0,
    parts: *const std.posix.iovec,
    part_count: usize = 1,
    control: ?*anyopaque = null,
    control_len: usize = 0,
    flags: u32 = 0,
};

/// cmsg(3).
const ControlHead = extern struct { len: usize, level: i32 = sol_socket, kind: i32 };
const Rights = extern struct {
    head: ControlHead,
    files: [files_max]sys.fd_t = @splat(-1),

    const kind = 1;
};
const Credentials = extern struct {
    head: ControlHead,
    peer: Peer,

    const kind = 2;
};

/// A process, as this one sees it: 0 if it is not visible here.
pub const Peer = extern struct { pid: i32, uid: u32, gid: u32 };

/// SOCK_STREAM.
pub const stream = 1;

pub fn pair() sys.Error![2]sys.fd_t {
    return pairOf(seqpacket);
}

/// Of another kind: `stream`, say.
pub fn pairOf(kind: u32) sys.Error![2]sys.fd_t {
    var ends: [2]sys.fd_t = undefined;
    try sys.do(.socketpair, .{ unix, kind | cloexec, 0, &ends });
    return ends;
}

pub fn open() sys.Error!sys.fd_t {
    return openAs(seqpacket | cloexec);
}

fn openAs(kind: u32) sys.Error!sys.fd_t {
    return @intCast(try sys.call(.socket, .{ unix, kind, 0 }));
}

const Address = extern struct { family: u16 = unix, path: [108]u8 = @splat(0) };

fn addressOf(path: []const u8) sys.Error!Address {
    var address: Address = .{};
    if (path.len >= address.path.len) return error.NAMETOOLONG;
    @memcpy(address.path[0..path.len], path);
    return address;
}

/// On a name that is not there yet. `accept` does not wait.
pub fn listen(path: []const u8) sys.Error!sys.fd_t {
    const address = try addressOf(path);
    const socket = try openAs(seqpacket | cloexec | nonblocking);
    errdefer sys.close(socket);
    const backlog = 4096;
    try sys.do(.bind, .{ socket, &address, @sizeOf(Address) });
    try sys.do(.listen, .{ socket, backlog });
    return socket;
}

pub fn connect(socket: sys.fd_t, path: []const u8) sys.Error!void {
    const address = try addressOf(path);
    return sys.do(.connect, .{ socket, &address, @sizeOf(Address) });
}

/// A connection that does not wait either.
pub fn accept(socket: sys.fd_t) sys.Error!sys.fd_t {
    return @intCast(try sys.call(.accept4, .{ socket, 0, 0, cloexec | nonblocking }));
}

/// Who has connected, or called listen(2).
pub fn peerOf(socket: sys.fd_t) sys.Error!Peer {
    const peercred = 17;
    var peer: Peer = undefined;
    var len: u32 = @sizeOf(Peer);
    try sys.do(.getsockopt, .{ socket, sol_socket, peercred, &peer, &len });
    return peer;
}

/// Every message then tells its sender.
pub fn tellSenders(socket: sys.fd_t) sys.Error!void {
    const passcred = 16;
    const on: u32 = 1;
    return sys.do(.setsockopt, .{ socket, sol_socket, passcred, &on, @sizeOf(u32) });
}

/// Connecting, sending and receiving then fail with AGAIN after so long.
pub fn setPatience(socket: sys.fd_t, seconds: i64) sys.Error!void {
    const time = [2]i64{ seconds, 0 };
    for ([_]u32{ 20, 21 }) |timeout|
        try sys.do(.setsockopt, .{ socket, sol_socket, timeout, &time, @sizeOf(@TypeOf(time)) });
}

pub fn send(socket: sys.fd_t, bytes: []const u8, files: []const sys.fd_t) sys.Error!void {
    const part: std.posix.iovec = .{ .base = @constCast(bytes.ptr), .len = bytes.len };
    var header: Header = .{ .parts = &part };
    var control: Rights = .{ .head = .{
        .len = @sizeOf(ControlHead) + files.len * @sizeOf(sys.fd_t),
        .kind = Rights.kind,
    } };
    if (files.len > 0) {
        @memcpy(control.files[0..files.len], files);
        header.control = &control;
        header.control_len = @sizeOf(Rights);
    }
    const no_signal = 0x4000;
    return sys.do(.sendmsg, .{ socket, &header, no_signal });
}

pub const Received = struct {
    /// Empty when the other end is closed.
    bytes: []u8,
    files: [files_max]?sys.fd_t = .{ null, null },
    /// Its process, after `tellSenders`.
    sender: i32 = 0,
};

/// Waits for a message; error.AGAIN where there is none and `wait` is false.
pub fn receive(socket: sys.fd_t, buf: []u8, wait: bool) sys.Error!Received {
    return receiveWith(socket, buf, wait, @sizeOf(Rights));
}

/// After `tellSenders`.
pub fn receiveAttested(socket: sys.fd_t, buf: []u8) sys.Error!Received {
    return receiveWith(socket, buf, true, @sizeOf(Controls));
}

/// Not larger: the kernel opens all files that there is room for.
const Controls = extern struct { rights: Rights, credentials: Credentials, pad: u32 = 0 };

noinline fn receiveWith(
    socket: sys.fd_t,
    buf: []u8,
    wait: bool,
    control_len: usize,
) sys.Error!Received {
    const part: std.posix.iovec = .{ .base = buf.ptr, .len = buf.len };
    var control: [@sizeOf(Controls)]u8 align(8) = @splat(0);
    var header: Header = .{ .parts = &part, .control = &control, .control_len = control_len };
    const close_on_exec = 0x4000_0000;
    const dont_wait = 0x40;
    const flags: u32 = close_on_exec | if (wait) 0 else @as(u32, dont_wait);
    const len = while (true) {
        break sys.call(.recvmsg, .{ socket, &header, flags }) catch |err| {
            if (err == error.INTR) continue;
            return err;
        };
    };
    var received: Received = .{ .bytes = buf[0..len] };
    var rest: []align(8) const u8 = control[0..@min(header.control_len, control_len)];
    while (rest.len > @sizeOf(ControlHead)) {
        const head: *const ControlHead = @ptrCast(rest);
        if (head.len <= @sizeOf(ControlHead) or head.len > rest.len) break;
        take(&received, head, rest[@sizeOf(ControlHead)..head.len]);
        const step = std.mem.alignForward(usize, head.len, 8);
        if (step >= rest.len) break;
        rest = @alignCast(rest[step..]);
    }
    return received;
}

fn take(received: *Received, head: *const ControlHead, content: []const u8) void {
    if (head.level != sol_socket) return;
    if (head.kind == Credentials.kind and content.len >= @sizeOf(Peer))
        received.sender = std.mem.bytesToValue(i32, content[0..4]);
    if (head.kind != Rights.kind) return;
    const files = content[0 .. content.len / 4 * 4];
    for (0..@min(files.len / 4, files_max)) |i|
        received.files[i] = std.mem.bytesToValue(sys.fd_t, files[i * 4 ..][0..4]);
}

test "messages carry files" {
    const ends = try pair();
    try send(ends[0], "x", &.{ends[0]});
    var buf: [8]u8 = undefined;
    const got = try receive(ends[1], &buf, true);
    try std.testing.expectEqualStrings("x", got.bytes);
    try send(got.files[0].?, "yz", &.{});
    try std.testing.expectEqualStrings("yz", (try receive(ends[1], &buf, true)).bytes);
    try std.testing.expectError(error.AGAIN, receive(ends[1], &buf, false));
    sys.close(ends[0]);
    sys.close(got.files[0].?);
    try std.testing.expectEqual(0, (try receive(ends[1], &buf, true)).bytes.len);
}

test "messages tell their sender" {
    const ends = try pair();
    defer for (ends) |end| sys.close(end);
    try tellSenders(ends[1]);
    try send(ends[0], "x", &.{ ends[0], ends[1] });
    var buf: [8]u8 = undefined;
    const got = try receiveAttested(ends[1], &buf);
    const own: i32 = @intCast(sys.raw(.getpid, .{}));
    try std.testing.expectEqual(own, got.sender);
    try std.testing.expectEqual(own, (try peerOf(ends[0])).pid);
    for (got.files) |file| sys.close(file.?);
}
