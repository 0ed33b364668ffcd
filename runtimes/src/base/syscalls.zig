//! The thin layer over Linux system calls: arguments of any integer or pointer type go in, an
//! error named after the errno comes out. Only calls that exist on every architecture are used
//! (openat and not open, say).
const std = @import("std");
const linux = std.os.linux;
const errno = @import("errno.zig");

pub const SYS = linux.SYS;
pub const fd_t = i32;
pub const at_fdcwd: fd_t = -100;
pub const Error = errno.Error;

fn word(arg: anytype) usize {
    return switch (@typeInfo(@TypeOf(arg))) {
        .comptime_int => if (arg < 0) @bitCast(@as(isize, arg)) else arg,
        .int => |int| if (int.signedness == .signed) @bitCast(@as(isize, arg)) else arg,
        .pointer => @intFromPtr(arg),
        .optional => if (arg) |a| @intFromPtr(a) else 0,
        .null => 0,
        else => @compileError("not a system call argument: " ++ @typeName(@TypeOf(arg))),
    };
}

/// The system call as it is; the result is the kernel's.
pub fn raw(comptime nr: SYS, args: anytype) usize {
    return switch (args.len) {
        0 => linux.syscall0(nr),
        1 => linux.syscall1(nr, word(args[0])),
        2 => linux.syscall2(nr, word(args[0]), word(args[1])),
        3 => linux.syscall3(nr, word(args[0]), word(args[1]), word(args[2])),
        4 => linux.syscall4(nr, word(args[0]), word(args[1]), word(args[2]), word(args[3])),
        5 => linux.syscall5(
            nr,
            word(args[0]),
            word(args[1]),
            word(args[2]),
            word(args[3]),
            word(args[4]),
        ),
        6 => linux.syscall6(
            nr,
            word(args[0]),
            word(args[1]),
            word(args[2]),
            word(args[3]),
            word(args[4]),
            word(args[5]),
        ),
        else => @compileError("a system call has at most six arguments"),
    };
}

pub fn call(comptime nr: SYS, args: anytype) Error!usize {
    const rc = raw(nr, args);
    // The last page of addresses are errors, negated (syscall(2)).
    if (rc <= std.math.maxInt(usize) - 4095) return rc;
    return errno.of(rc);
}

/// For calls whose result is of no interest.
pub fn do(comptime nr: SYS, args: anytype) Error!void {
    _ = try call(nr, args);
}

pub const O = linux.O;

pub noinline fn openat(dir: fd_t, path: [*:0]const u8, flags: O, mode: u32) Error!fd_t {
    return @intCast(try call(.openat, .{ dir, path, @as(u32, @bitCast(flags)), mode }));
}

pub fn close(fd: fd_t) void {
    _ = raw(.close, .{fd});
}

/// The same open file on a descriptor above the standard three: those of them that the caller has
/// closed must stay closed for the app.
pub fn dupAbove(fd: fd_t) Error!fd_t {
    const duplicate_cloexec = 1030;
    return @intCast(try call(.fcntl, .{ fd, duplicate_cloexec, 3 }));
}

/// Both ends included; the last one may be beyond all that are open.
pub noinline fn closeRange(first: fd_t, last: fd_t) void {
    do(.close_range, .{ first, last, 0 }) catch {
        // Before Linux 5.9.
        for (@intCast(first)..@intCast(@min(last, 4095) + 1)) |fd| close(@intCast(fd));
    };
}

/// In any order; some may be the same.
pub noinline fn closeAllBut(kept: []const fd_t) void {
    var from: fd_t = 0;
    while (true) {
        var next: fd_t = std.math.maxInt(fd_t);
        for (kept) |fd| if (fd >= from) {
            next = @min(next, fd);
        };
        if (next == std.math.maxInt(fd_t)) break;
        if (from < next) closeRange(from, next - 1);
        from = next + 1;
    }
    closeRange(from, std.math.maxInt(fd_t));
}

/// Another process that holds the app's standard streams open keeps their readers from seeing the
/// end.
pub fn closeStandard() void {
    for (0..3) |fd| close(@intCast(fd));
}

/// Fills `buf` from `offset` on as far as the file goes.
pub noinline fn preadAll(fd: fd_t, buf: []u8, offset: u64) Error!usize {
    var done: usize = 0;
    while (done < buf.len) {
        const n = call(
            .pread64,
            .{ fd, buf.ptr + done, buf.len - done, offset + done },
        ) catch |err| {
            if (err == error.INTR) continue;
            return err;
        };
        if (n == 0) break;
        done += n;
    }
    return done;
}

/// A pipe that nobody writes to would keep us for ever.
const reading: O = .{ .NONBLOCK = true, .CLOEXEC = true };

/// Reads a file whole; FBIG where it does not fit.
pub noinline fn readFile(dir: fd_t, path: [*:0]const u8, buf: []u8) Error![]u8 {
    const fd = try openat(dir, path, reading, 0);
    defer close(fd);
    const got = try readAll(fd, buf);
    var more: [1]u8 = undefined;
    if (got.len == buf.len and (try readAll(fd, &more)).len > 0) return error.FBIG;
    return got;
}

/// As much of a file as fits, for files of which the beginning is enough.
pub fn readStart(dir: fd_t, path: [*:0]const u8, buf: []u8) Error![]u8 {
    const fd = try openat(dir, path, reading, 0);
    defer close(fd);
    return readAll(fd, buf);
}

/// Fills `buf` as far as the file goes.
pub fn readAll(fd: fd_t, buf: []u8) Error![]u8 {
    var done: usize = 0;
    while (done < buf.len) {
        const n = call(.read, .{ fd, buf.ptr + done, buf.len - done }) catch |err| {
            if (err == error.INTR) continue;
            return err;
        };
        if (n == 0) break;
        done += n;
    }
    return buf[0..done];
}

/// Reads a whole file of at most `max` bytes into fresh pages. An allocator's memory would be
/// filled first in Zig's safe modes.
pub fn readLarge(dir: fd_t, path: [*:0]const u8, max: usize) Error![]u8 {
    const buf = try anonymous(max);
    // The first byte of it could take 2 MiB as long as the run lasts (madvise(2)).
    const no_huge_pages = 15;
    _ = raw(.madvise, .{ buf.ptr, buf.len, no_huge_pages });
    return readFile(dir, path, buf);
}

/// The whole, or an error.
pub fn writeAll(fd: fd_t, content: []const u8) Error!void {
    var rest = content;
    while (rest.len > 0) {
        const n = call(.write, .{ fd, rest.ptr, rest.len }) catch |err| {
            if (err == error.INTR) continue;
            return err;
        };
        rest = rest[n..];
    }
}

pub fn writeFile(dir: fd_t, path: [*:0]const u8, content: []const u8) Error!void {
    const fd = try openat(dir, path, .{ .ACCMODE = .WRONLY, .CLOEXEC = true }, 0);
    defer close(fd);
    if (try call(.write, .{ fd, content.ptr, content.len }) != content.len) return error.IO;
}

pub fn fileSize(fd: fd_t) Error!u64 {
    return call(.lseek, .{ fd, 0, 2 });
}

/// The mode bits, file type included.
pub fn fdMode(fd: fd_t) Error!u32 {
    return (try stat(fd, "")).mode;
}

/// statx(2), of the open file itself where the path is empty.
pub fn stat(dir: fd_t, path: [*:0]const u8) Error!linux.Statx {
    const at_empty_path: u32 = 0x1000;
    return statx(dir, path, if (path[0] == 0) at_empty_path else 0);
}

/// The same, of a symbolic link itself.
pub fn lstat(dir: fd_t, path: [*:0]const u8) Error!linux.Statx {
    const at_symlink_nofollow = 0x100;
    return statx(dir, path, at_symlink_nofollow);
}

/// The same as `stat`, without asking a server that may not answer (statx(2)).
pub fn statCached(dir: fd_t, path: [*:0]const u8) Error!linux.Statx {
    const at_statx_dont_sync = 0x4000;
    return statx(dir, path, at_statx_dont_sync);
}

noinline fn statx(dir: fd_t, path: [*:0]const u8, flags: u32) Error!linux.Statx {
    const basic_and_mount = 0x7ff | 0x1000;
    // Emulators leave fields out that the kernel gives.
    var st = std.mem.zeroes(linux.Statx);
    try do(.statx, .{ dir, path, flags, basic_and_mount, &st });
    return st;
}

/// The magic number of the file system that an open file is on (statfs(2)).
pub fn fileSystem(fd: fd_t) Error!u64 {
    // struct statfs has 120 bytes, and begins with it.
    var about: [15]u64 = undefined;
    try do(.fstatfs, .{ fd, &about });
    return about[0];
}

/// The name of an open file in /proc of the machine.
pub fn fdPath(buf: *[32:0]u8, fd: fd_t) [*:0]const u8 {
    const path = @import("text.zig").print(buf, "/proc/self/fd/{d}", .{fd});
    buf[path.len] = 0;
    return buf;
}

pub fn isDirectory(bits: u32) bool {
    return bits & 0o170000 == 0o040000;
}

pub const MS = struct {
    pub const rdonly = 1;
    pub const nosuid = 2;
    pub const nodev = 4;
    pub const noexec = 8;
    pub const remount = 32;
    pub const bind = 4096;
    pub const move = 8192;
    pub const rec = 16384;
    pub const private = 1 << 18;
};

/// An advisory lock on the open file, held until its last descriptor is closed.
pub const Lock = enum(u8) { shared = 1, exclusive = 2 };

pub fn tryLock(fd: fd_t, lock: Lock) Error!void {
    const nonblocking = 4;
    return do(.flock, .{ fd, @backingInt(lock) | nonblocking });
}

/// Milliseconds since some point in the past.
pub fn monotonic() i64 {
    var now: linux.timespec = undefined;
    const clock_monotonic = 1;
    _ = raw(.clock_gettime, .{ clock_monotonic, &now });
    return @intCast(now.sec * 1000 + @divTrunc(now.nsec, 1_000_000));
}

pub fn sleep(milliseconds: u32) void {
    const time: linux.timespec = .{
        .sec = milliseconds / 1000,
        .nsec = milliseconds % 1000 * 1_000_000,
    };
    _ = raw(.nanosleep, .{ &time, 0 });
}

pub fn mkdir(path: [*:0]const u8, bits: u32) Error!void {
    return do(.mkdirat, .{ at_fdcwd, path, bits });
}

/// Anonymous memory: zeroed, and only resident where it is touched.
pub fn anonymous(len: usize) Error![]align(4096) u8 {
    const read_write = 3;
    const private_anonymous_noreserve = 0x2 | 0x20 | 0x4000;
    const addr = try call(.mmap, .{ 0, len, read_write, private_anonymous_noreserve, -1, 0 });
    return @as([*]align(4096) u8, @ptrFromInt(addr))[0..len];
}

/// One page fault instead of 512, where the machine has them; else nothing changes.
pub fn wantHugePages(memory: []const u8) void {
    const hugepage = 14;
    _ = raw(.madvise, .{ memory.ptr, memory.len, hugepage });
}

/// It is zeroed again, and not resident.
pub fn discard(memory: []const u8) void {
    const dont_need = 4;
    _ = raw(.madvise, .{ memory.ptr, memory.len, dont_need });
}

pub fn release(memory: []const u8) void {
    _ = raw(.munmap, .{ memory.ptr, memory.len });
}

// linux/sched.h
pub const CLONE = struct {
    pub const fs: u32 = 0x200;
    pub const parent: u32 = 0x8000;
    pub const files: u32 = 0x400;
    pub const newns: u32 = 0x0002_0000;
    pub const newcgroup: u32 = 0x0200_0000;
    pub const newuts: u32 = 0x0400_0000;
    pub const newipc: u32 = 0x0800_0000;
    pub const newuser: u32 = 0x1000_0000;
    pub const newpid: u32 = 0x2000_0000;
    pub const newnet: u32 = 0x4000_0000;
};

/// A child that goes on from here; 0 in the child.
pub fn fork() Error!i32 {
    return clone(0);
}

/// In namespaces of its own, or sharing something with us.
pub fn clone(flags: u32) Error!i32 {
    const sigchld = 17;
    return @intCast(try call(.clone, .{ sigchld | flags, 0, 0, 0, 0 }));
}

/// Waits for one child and gives its raw wait status.
pub fn wait(pid: i32, options: u32) Error!struct { pid: i32, status: u32 } {
    var status: u32 = 0;
    while (true) {
        const got = call(.wait4, .{ pid, &status, options, 0 }) catch |err| {
            if (err == error.INTR) continue;
            return err;
        };
        return .{ .pid = @intCast(got), .status = status };
    }
}

pub fn exit(status: u8) noreturn {
    _ = raw(.exit_group, .{status});
    unreachable;
}

/// How many processors we may run on.
pub fn processors() usize {
    var set: [128]u8 align(8) = undefined;
    const len = call(.sched_getaffinity, .{ 0, set.len, &set }) catch return 1;
    var count: usize = 0;
    for (set[0..len]) |byte| count += @popCount(byte);
    return count;
}

pub fn isTerminal(fd: fd_t) bool {
    // asm-generic/ioctls.h; struct termios has 36 bytes.
    const tcgets = 0x5401;
    var termios: [64]u8 = undefined;
    return if (do(.ioctl, .{ fd, tcgets, &termios })) |_| true else |_| false;
}
