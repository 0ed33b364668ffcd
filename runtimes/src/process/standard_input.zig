//! Standard input that is a regular file. The app gets an open file description of its own, opened
//! through a read-only mount: it can neither reopen the file for writing (/proc/self/fd/0) nor
//! change its mode. The offset, which a caller and its program share, is copied at the start and
//! back at the end. Without such a mount, a pipe is used.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const thread = @import("../base/thread.zig");
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;

pub const Input = struct {
    /// The caller's file, and the one that is the app's standard input.
    callers: sys.fd_t,
    apps: sys.fd_t,
    /// The pipe's write end, if a pipe is used.
    feeds: ?sys.fd_t,

    /// Starts the thread that fills the pipe, after the last fork.
    pub fn begin(self: Input, arena: std.mem.Allocator) !void {
        const end = self.feeds orelse return;
        (try thread.spawn(arena, feed, .{ self.callers, end })).detach();
    }

    /// The caller continues where the app has stopped reading.
    pub fn giveBack(self: Input) void {
        if (self.feeds != null) return;
        const current = 1;
        const offset = sys.call(.lseek, .{ self.apps, 0, current }) catch return;
        _ = sys.raw(.lseek, .{ self.callers, offset, 0 });
    }
};

/// Replaces standard input if it is a regular file that is open for reading only and that the app
/// could write to; else null.
pub fn guard(namespace: ?MountNamespace, callers_uid: u32) !?Input {
    const input = 0;
    const st = sys.stat(input, "") catch return null;
    if (st.mode & 0o170000 != 0o100000) return null;
    // Closed by the caller: the descriptor is ours (payload/own_file.zig).
    const get_descriptor_flags = 1;
    if (try sys.call(.fcntl, .{ input, get_descriptor_flags, 0 }) != 0) return null;
    const get_flags = 3;
    const access_mode = 3;
    // The caller opened it for writing, too.
    if (try sys.call(.fcntl, .{ input, get_flags, 0 }) & access_mode != 0) return null;
    // It has no name on the machine (a here-document of a shell).
    if (st.nlink == 0) return null;
    // Only its owner, and users who may write to it, could do any harm.
    const writable = 2;
    var buf: [32:0]u8 = undefined;
    if (callers_uid != 0 and st.uid != callers_uid) {
        sys.do(.faccessat, .{ sys.at_fdcwd, sys.fdPath(&buf, input), writable }) catch return null;
    }
    const callers = try sys.dupAbove(input);
    if (namespace) |own| {
        if (reopen(own, callers)) |apps| {
            try sys.do(.dup3, .{ apps, input, 0 });
            return .{ .callers = callers, .apps = apps, .feeds = null };
        } else |err| log.debug("standard input goes through a pipe: {s}", .{errno.text(err)});
    }
    const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
    var pipe: [2]sys.fd_t = undefined;
    try sys.do(.pipe2, .{ &pipe, cloexec });
    const ends = [2]sys.fd_t{ try sys.dupAbove(pipe[0]), try sys.dupAbove(pipe[1]) };
    for (pipe) |end| sys.close(end);
    try sys.do(.dup3, .{ ends[0], input, 0 });
    sys.close(ends[0]);
    return .{ .callers = callers, .apps = input, .feeds = ends[1] };
}

/// By its name: only a mount of our own namespace can be cloned, and the open file is on one of the
/// caller's.
fn reopen(namespace: MountNamespace, callers: sys.fd_t) !sys.fd_t {
    var link: [32:0]u8 = undefined;
    var path: [std.posix.PATH_MAX:0]u8 = undefined;
    const len = try sys.call(
        .readlinkat,
        .{ sys.at_fdcwd, sys.fdPath(&link, callers), &path, path.len },
    );
    if (len == path.len) return error.NAMETOOLONG;
    path[len] = 0;
    const named = try sys.openat(
        sys.at_fdcwd,
        &path,
        .{ .PATH = true, .NOFOLLOW = true, .CLOEXEC = true },
        0,
    );
    defer sys.close(named);
    const expected = try sys.stat(callers, "");
    const found = try sys.stat(named, "");
    const same = found.ino == expected.ino and
        found.dev_major == expected.dev_major and found.dev_minor == expected.dev_minor;
    if (!same) return error.NOENT;
    const mount = try namespace.detached(named, sys.MS.rdonly | sys.MS.nosuid | sys.MS.nodev);
    defer sys.close(mount);
    const opened = try sys.openat(sys.at_fdcwd, sys.fdPath(&link, mount), .{ .CLOEXEC = true }, 0);
    defer sys.close(opened);
    const apps = try sys.dupAbove(opened);
    const current = 1;
    _ = try sys.call(.lseek, .{ apps, try sys.call(.lseek, .{ callers, 0, current }), 0 });
    return apps;
}

/// Until the file ends, or the pipe has no reader.
fn feed(from: sys.fd_t, to: sys.fd_t) void {
    const chunk = 1 << 16;
    const buf = sys.anonymous(chunk) catch return;
    while (true) {
        const got = sys.call(.read, .{ from, buf.ptr, buf.len }) catch break;
        if (got == 0) break;
        var rest: []const u8 = buf[0..got];
        while (rest.len > 0)
            rest = rest[sys.call(.write, .{ to, rest.ptr, rest.len }) catch return ..];
    }
    sys.close(to);
}
