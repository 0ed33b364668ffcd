//! A system call that a thread of the translated program makes, and what becomes of it.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const memory = @import("../process/memory.zig");
const places = @import("place.zig");
const Guest = @import("guest.zig").Guest;
const Place = places.Place;
const Thread = @import("threads.zig").Thread;

pub const at_symlink_nofollow = 0x100;
pub const at_symlink_follow = 0x400;
pub const at_empty_path = 0x1000;

pub const Outcome = union(enum) {
    /// It is done: its result, or a negative errno.
    value: usize,
    /// It is done, and the thread gets a descriptor.
    file: struct { fd: sys.fd_t, cloexec: bool },
    /// The kernel makes it as it is.
    native,
    /// The kernel makes it with other arguments. `file` is closed afterwards; `at` is which
    /// argument becomes a path that leads to it.
    change: struct {
        number: ?u32 = null,
        arguments: [6]u64,
        file: sys.fd_t,
        at: usize,
        owned: bool = true,
    },
    /// Another thread of ours answers.
    later,

    pub const done: Outcome = .{ .value = 0 };
};

pub const Call = struct {
    guest: *Guest,
    thread: *Thread,
    /// As those of the newest form of the call: openat(2) for open(2).
    arguments: [6]u64,
    /// Of a user notification; null if the thread is stopped.
    id: ?u64 = null,

    pub fn tid(self: *const Call) i32 {
        return self.thread.tid;
    }

    pub fn number(self: *const Call, at: usize) u32 {
        return @truncate(self.arguments[at]);
    }

    /// A descriptor, or AT_FDCWD.
    pub fn descriptor(self: *const Call, at: usize) i32 {
        return @bitCast(self.number(at));
    }

    pub fn arena(self: *const Call) std.mem.Allocator {
        return self.guest.resolver.arena();
    }

    pub fn string(self: *const Call, at: usize) ![:0]const u8 {
        const buf = try self.arena().alloc(u8, std.posix.PATH_MAX);
        return memory.readText(self.tid(), self.arguments[at], buf);
    }

    /// Where the path at `path` leads, from the descriptor at `dir`.
    pub fn place(self: *Call, dir: usize, path: usize, follow: bool) !Place {
        const given = try self.string(path);
        return self.placeOf(self.descriptor(dir), given, follow);
    }

    pub fn placeOf(self: *Call, dir: i32, given: []const u8, follow: bool) !Place {
        if (given.len == 0 or given[0] == '/') return self.guest.resolver.place("", given, follow);
        const base = self.directory(dir) catch |err| {
            if (err != error.NOENT or !std.mem.eql(u8, given, ".")) return err;
            return self.guest.resolver.removed(self.guest.threads.proc, try self.fileLink(dir));
        };
        return self.guest.resolver.place(base, given, follow);
    }

    /// The program's path of an open directory, or of the working directory.
    pub fn directory(self: *Call, dir: i32) ![]const u8 {
        const path = try self.machinePath(dir);
        if (path[0] != '/') return error.NOTDIR;
        return try self.guest.resolver.guestOf(path) orelse
            if (std.mem.endsWith(u8, path, " (deleted)")) error.NOENT else error.ACCES;
    }

    /// What the link of an open file says.
    pub fn machinePath(self: *Call, fd: i32) ![]const u8 {
        const buf = try self.arena().alloc(u8, std.posix.PATH_MAX);
        const own = try self.fileLink(fd);
        const got = sys.call(
            .readlinkat,
            .{ self.guest.threads.proc, own, buf.ptr, buf.len },
        ) catch |err| return if (err == error.NOENT and fd != sys.at_fdcwd) error.BADF else err;
        if (got == 0) return error.NOENT;
        return buf[0..got];
    }

    /// An open file, by its name if it has one in the program's root.
    pub fn opened(self: *Call, fd: i32) !Place {
        const resolver = &self.guest.resolver;
        if (try resolver.guestOf(try self.machinePath(fd))) |own|
            return resolver.place("", if (own.len == 0) "/" else own, false);
        return .{
            .dir = self.guest.threads.proc,
            .name = try self.fileLink(fd),
            .path = "",
            .where = .{ .tree = .upper },
            .mode = places.regular,
            .magic = true,
        };
    }

    /// The link of an open file in the machine's /proc.
    pub fn fileLink(self: *Call, fd: i32) ![*:0]const u8 {
        if (fd == sys.at_fdcwd) return (try self.thread.cwd.link(self.arena(), self.tid())).ptr;
        if (fd < 0) return error.BADF;
        return (try text.alloc(self.arena(), "{d}/fd/{d}", .{ self.tid(), fd })).ptr;
    }

    /// A path for calls that take no directory; the last name must not be followed.
    pub fn hostPath(self: *Call, at: *const Place) ![*:0]const u8 {
        return (try text.alloc(self.arena(), "/proc/self/fd/{d}/{s}", .{ at.dir, at.name })).ptr;
    }

    /// Something in the tree, of a process that is root there.
    pub fn isRoots(self: *const Call, at: *const Place) bool {
        return at.where == .tree and at.exists() and self.thread.process.identity.isRoot();
    }

    pub fn write(self: *const Call, address: u64, bytes: []const u8) !void {
        return memory.write(self.tid(), address, bytes);
    }

    pub fn read(self: *const Call, address: u64, bytes: []u8) !void {
        return memory.read(self.tid(), address, bytes);
    }

    /// A file of the tree whose attributes an open descriptor is to change; null if it is not of
    /// the tree.
    pub fn ownFile(self: *Call, fd: i32) !?Place {
        const resolver = &self.guest.resolver;
        const st = sys.stat(self.guest.threads.proc, try self.fileLink(fd)) catch |err|
            return if (err == error.NOENT) error.BADF else err;
        const path = try self.machinePath(fd);
        const tree = &self.guest.tree;
        if (tree.guestOf(path) == null) return null;
        const lower = std.mem.startsWith(u8, path, tree.lower_path);
        if (!lower and !tree.isLinked(st.ino)) return null;
        const own = try resolver.guestOf(path) orelse return error.NOENT;
        var found = try resolver.place("", if (own.len == 0) "/" else own, false);
        try resolver.forChange(&found);
        return found;
    }
};

/// What was made belongs to the process's user.
pub fn created(call: *Call, at: *const Place) !void {
    if (at.where != .tree) return;
    const identity = &call.thread.process.identity;
    const tree = &call.guest.tree;
    const shown = call.guest.shown;
    const uid = identity.user[1];
    const gid = identity.group[1];
    const other = uid != shown.uid or gid != shown.gid;
    if (!other and !tree.knowsInodes()) return;
    const st = sys.lstat(at.dir, at.name) catch return;
    return tree.setNew(st.ino, if (other) .{ .uid = uid, .gid = gid } else null);
}

/// What a system call of ours returned.
pub fn result(value: usize) Outcome {
    return .{ .value = value };
}

/// May not be removed or replaced.
pub fn isMountPoint(at: *const Place) bool {
    return at.where == .mount and std.mem.eql(u8, at.where.mount.target, at.path);
}
