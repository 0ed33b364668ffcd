//! -d: the run goes on in a process of its own session, without the caller's terminal, and writes
//! to a log. The caller's process waits until the program is executed, and reports that or why it
//! was not.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const own_process = @import("own_process.zig");
const PrivateDir = @import("../base/private_dir.zig").PrivateDir;
const SIG = @import("signals.zig").SIG;
const socket = @import("../base/socket.zig");
const text = @import("../base/text.zig");
const Environment = @import("../cli/environment.zig").Environment;

pub const Request = struct {
    /// By --name; else `file` and the process id.
    name: ?[]const u8,
    file: []const u8,
    /// By --log.
    log: ?[]const u8,
};

/// The run's side: the socket to the caller's process, until the program is executed.
pub const Detached = struct {
    caller: sys.fd_t,

    pub fn started(self: Detached) void {
        endWithCaller(0) catch {};
        socket.send(self.caller, "s", &.{}) catch {};
        sys.close(self.caller);
    }
};

/// A start whose caller does not wait for it any more (Ctrl-C) is given up.
fn endWithCaller(signal: u32) sys.Error!void {
    const set_pdeathsig = 1;
    return sys.do(.prctl, .{ set_pdeathsig, signal, 0, 0, 0 });
}

/// Returns in the run's process. The caller's reports and exits.
pub fn begin(
    arena: std.mem.Allocator,
    callers: *const Environment,
    request: Request,
) !Detached {
    const ends = try socket.pair();
    switch (try own_process.clone(0)) {
        .parent => |process| {
            sys.close(ends[1]);
            wait(arena, request, ends[0], process.pid);
        },
        .child => {
            sys.close(ends[0]);
            const name = try nameOf(arena, request, @intCast(sys.raw(.getpid, .{})));
            const file = if (request.log) |path|
                try openLog(arena, sys.at_fdcwd, path, path)
            else
                try openLogOf(arena, callers, name);
            const size = try sys.fileSize(file);
            const flags: sys.O = .{ .CLOEXEC = true };
            var link: [32:0]u8 = undefined;
            const read = try sys.openat(sys.at_fdcwd, sys.fdPath(&link, file), flags, 0);
            try socket.send(ends[1], std.mem.asBytes(&size), &.{read});
            sys.close(read);
            try endWithCaller(SIG.term);
            // Neither the caller's terminal nor its process group is ours.
            try sys.do(.setsid, .{});
            const nothing = try sys.openat(sys.at_fdcwd, "/dev/null", .{ .CLOEXEC = true }, 0);
            for ([_]sys.fd_t{ nothing, file, file }, 0..) |from, stream| {
                const to: sys.fd_t = @intCast(stream);
                if (from != to) try sys.do(.dup3, .{ from, to, 0 });
            }
            if (nothing > 2) sys.close(nothing);
            return .{ .caller = ends[1] };
        },
    }
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
const name_max = 128;

fn nameOf(arena: std.mem.Allocator, request: Request, pid: i32) ![]const u8 {
    const name = request.name orelse return nameOfFile(arena, request.file, pid);
    if (name.len == 0 or name.len > name_max or name[0] == '.' or
        std.mem.findNone(u8, name, letters) != null)
        log.die("--name {s}: write letters, digits, _, . and - (1 to 128), with no . in front", .{
            name,
        });
    return name;
}

/// What a run without --name is called. It can be typed, and names a log.
pub fn nameOfFile(arena: std.mem.Allocator, file: []const u8, pid: i32) ![]const u8 {
    const digits = 12;
    const name = try arena.dupe(u8, file[0..@min(file.len, name_max - digits)]);
    for (name, 0..) |*letter, i| {
        if (std.mem.findScalar(u8, letters, letter.*) == null or (i == 0 and letter.* == '.'))
            letter.* = '_';
    }
    return text.alloc(arena, "{s}-{d}", .{ name, pid });
}

/// In $XDG_STATE_HOME/dockerc (XDG base directory specification), made if it is missing. Of the
/// caller alone: with sudo, HOME may be another user's.
fn openLogOf(arena: std.mem.Allocator, callers: *const Environment, name: []const u8) !sys.fd_t {
    const state = if (absolute(callers.get("XDG_STATE_HOME"))) |path|
        path
    else if (absolute(callers.get("HOME"))) |home|
        try text.alloc(arena, "{s}/.local/state", .{home})
    else
        log.die("no place for the log: set HOME or XDG_STATE_HOME, or give --log FILE", .{});
    const private: PrivateDir = .{ .base = state, .names = &.{"dockerc"} };
    const directory = private.open(arena) catch |err| log.die(
        "cannot keep a log in {s}/dockerc: {s}; it must be a directory of yours that nobody " ++
            "else can write to; or give --log FILE",
        .{ state, errno.text(err) },
    );
    defer sys.close(directory);
    const file = try text.alloc(arena, "{s}.log", .{name});
    const path = try text.alloc(arena, "{s}/dockerc/{s}", .{ state, file });
    return openLog(arena, directory, file, path);
}

fn absolute(path: ?[]const u8) ?[]const u8 {
    const given = path orelse return null;
    return if (given.len > 0 and given[0] == '/') given else null;
}

/// To append to, by one run at a time.
fn openLog(
    arena: std.mem.Allocator,
    directory: sys.fd_t,
    file: []const u8,
    path: []const u8,
) !sys.fd_t {
    const flags: sys.O = .{
        .ACCMODE = .WRONLY,
        .CREAT = true,
        .APPEND = true,
        .NOCTTY = true,
        .NOFOLLOW = directory != sys.at_fdcwd,
        .NONBLOCK = true,
        .CLOEXEC = true,
    };
    const name = try arena.dupeSentinel(u8, file, 0);
    const log_file = sys.openat(directory, name, flags, 0o600) catch |err| {
        // A pipe that nobody reads.
        if (err == error.NXIO) log.die("the log {s} is not a file", .{path});
        log.die("cannot write the log {s}: {s}", .{ path, errno.text(err) });
    };
    const regular = 0o100000;
    if (try sys.fdMode(log_file) & 0o170000 != regular)
        log.die("the log {s} is not a file", .{path});
    // As long as the streams of the run are open.
    sys.tryLock(log_file, .exclusive) catch |err| if (err == error.AGAIN)
        log.die("another run writes to {s}: give --name NAME or --log FILE", .{path})
    else
        return err;
    return log_file;
}

/// What a start that failed has said is in the log.
fn wait(arena: std.mem.Allocator, request: Request, run: sys.fd_t, pid: i32) noreturn {
    var size: u64 = 0;
    const opened = socket.receive(run, std.mem.asBytes(&size), true) catch socket.Received{
        .bytes = &.{},
    };
    var message: [1]u8 = undefined;
    const got = socket.receive(run, &message, true) catch socket.Received{ .bytes = &.{} };
    if (got.bytes.len == 0) {
        if (opened.files[0]) |file| copy(file, size);
        const end = sys.wait(pid, 0) catch sys.exit(log.failed);
        const signal = end.status & 0x7f;
        sys.exit(if (signal == 0) @truncate(end.status >> 8) else @intCast(128 + signal));
    }
    const name = nameOf(arena, request, pid) catch sys.exit(log.failed);
    const line = text.alloc(arena, "{s} {d}\n", .{ name, pid }) catch sys.exit(log.failed);
    sys.writeAll(1, line) catch {};
    sys.exit(0);
}

fn copy(file: sys.fd_t, from: u64) void {
    var at = from;
    var buf: [4096]u8 = undefined;
    while (true) {
        const got = sys.preadAll(file, &buf, at) catch return;
        if (got == 0) return;
        sys.writeAll(2, buf[0..got]) catch return;
        at += got;
    }
}
