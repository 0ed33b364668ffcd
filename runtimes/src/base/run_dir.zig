//! Directories with all that is in them, removed; and those that have to be: directories of a single
//! run, which go with it, or with a later run after a crash. A lock tells the living from the dead.
const std = @import("std");
const sys = @import("syscalls.zig");
const log = @import("log.zig");
const ownership = @import("ownership.zig");
const text = @import("text.zig");

const at_removedir = 0x200;

pub fn directory(dir: sys.fd_t, name: [*:0]const u8) sys.Error!void {
    return sys.do(.unlinkat, .{ dir, name, at_removedir });
}

/// What somebody has mounted on it or in it stays, and with it the directories above.
pub fn tree(dir: sys.fd_t, name: [*:0]const u8) sys.Error!void {
    return level(dir, name, null, (try sys.stat(dir, "")).mnt_id);
}

/// A directory in `dir`, which is `top`, the tree's own, unless it is the tree itself. What is deeper
/// is moved up first: descending to it could take more descriptors and memory than there are. Only
/// what is on the same mount is listed, as the open directory tells: a bind mount may be of the same
/// file system.
fn level(dir: sys.fd_t, name: [*:0]const u8, top: ?sys.fd_t, mount: u64) sys.Error!void {
    if (directory(dir, name)) |_| return else |err| switch (err) {
        error.NOENT => return,
        error.NOTDIR => return sys.do(.unlinkat, .{ dir, name, 0 }),
        error.NOTEMPTY, error.EXIST => {},
        else => return err,
    }
    const fd = sys.openat(dir, name, .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true }, 0) catch |err| blk: {
        if (err != error.ACCES) return err;
        if ((try sys.lstat(dir, name)).mnt_id != mount) return error.XDEV;
        try sys.do(.fchmodat, .{ dir, name, 0o700 });
        break :blk try sys.openat(dir, name, .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true }, 0);
    };
    defer sys.close(fd);
    if ((try sys.stat(fd, "")).mnt_id != mount) return error.XDEV;
    // Removing what was listed does not disturb the listing, but one pass may not see all.
    while (try pass(fd, top, mount)) {}
    return directory(dir, name);
}

pub const Tree = struct {
    /// The directory itself, locked.
    fd: sys.fd_t,
    /// Where it stands and its name, for what goes with the run.
    parent: sys.fd_t,
    name: [:0]const u8,

    /// One that is empty, and nobody else's.
    pub fn make(arena: std.mem.Allocator, parent: sys.fd_t, prefix: []const u8) !Tree {
        while (true) {
            var random: [8]u8 = undefined;
            try sys.do(.getrandom, .{ &random, random.len, 0 });
            const name = try text.alloc(arena, "{s}{d}", .{ prefix, std.mem.readInt(u64, &random, .little) });
            try sys.do(.mkdirat, .{ parent, name.ptr, 0o700 });
            // Until it is locked it looks abandoned, and another run may have removed it.
            return open(parent, name, .shared) catch |err| {
                if (err == error.NOENT) continue;
                directory(parent, name) catch {};
                return err;
            };
        }
    }

    /// As it was left by another run; not there if somebody is about to remove or, with an exclusive
    /// lock, uses it.
    pub fn open(parent: sys.fd_t, name: [:0]const u8, lock: sys.Lock) sys.Error!Tree {
        const fd = try sys.openat(parent, name, .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true }, 0);
        errdefer sys.close(fd);
        // In a place for everybody it may be somebody's who would have us remove what is ours.
        const st = try ownership.check(fd);
        sys.tryLock(fd, lock) catch |err| return if (err == error.AGAIN) error.NOENT else err;
        if ((try sys.lstat(parent, name)).ino != st.ino) return error.NOENT;
        return .{ .fd = fd, .parent = parent, .name = name };
    }

    pub fn discard(self: Tree) void {
        tree(self.parent, self.name) catch |err| log.debug("{s} is left behind: {s}", .{ self.name, sys.text(err) });
    }
};

/// Those directories of single runs whose runs are no more.
pub fn abandoned(parent: sys.fd_t, prefix: []const u8) void {
    var list: List = .{ .fd = sys.openat(parent, ".", .{ .DIRECTORY = true, .CLOEXEC = true }, 0) catch return };
    defer sys.close(list.fd);
    while (list.next() catch return) |name| {
        // As `make` names them: what somebody else has put here under a like name is theirs.
        const number = std.mem.cutPrefix(u8, std.mem.span(name), prefix) orelse continue;
        _ = std.fmt.parseInt(u64, number, 10) catch continue;
        const dead = Tree.open(parent, std.mem.span(name), .exclusive) catch continue;
        defer sys.close(dead.fd);
        log.debug("removing {s}", .{dead.name});
        dead.discard();
    }
}

fn pass(fd: sys.fd_t, top: ?sys.fd_t, mount: u64) sys.Error!bool {
    var list: List = .{ .fd = fd };
    try sys.do(.lseek, .{ fd, 0, 0 });
    var any = false;
    while (try list.next()) |name| {
        sys.do(.unlinkat, .{ fd, name, 0 }) catch |err| switch (err) {
            // The second one is what unlink(2) says of a directory on some file systems.
            error.ISDIR, error.PERM => if (top) |t| try raise(fd, name, t) else try level(fd, name, fd, mount),
            else => return err,
        };
        any = true;
    }
    return any;
}

fn raise(dir: sys.fd_t, name: [*:0]const u8, top: sys.fd_t) sys.Error!void {
    if (directory(dir, name)) |_| return else |err| if (err != error.NOTEMPTY and err != error.EXIST) return err;
    var number: u32 = 0;
    while (true) : (number += 1) {
        var free: [16]u8 = undefined;
        free[text.print(&free, "{d}", .{number}).len] = 0;
        return sys.do(.renameat, .{ dir, name, top, &free }) catch |err| switch (err) {
            error.NOTEMPTY, error.EXIST, error.NOTDIR => continue,
            else => err,
        };
    }
}

/// The names in an open directory, but for the two that every one has.
pub const List = struct {
    fd: sys.fd_t,
    buf: [4096]u8 align(8) = undefined,
    at: usize = 0,
    end: usize = 0,

    pub fn next(self: *List) sys.Error!?[*:0]const u8 {
        while (true) {
            if (self.at == self.end) {
                self.end = try sys.call(.getdents64, .{ self.fd, &self.buf, self.buf.len });
                self.at = 0;
                if (self.end == 0) return null;
            }
            // struct linux_dirent64 (getdents(2)).
            const entry = self.buf[self.at..];
            self.at += std.mem.readInt(u16, entry[16..18], .little);
            const name: [*:0]const u8 = @ptrCast(entry[19..].ptr);
            if (std.mem.eql(u8, std.mem.span(name), ".") or std.mem.eql(u8, std.mem.span(name), "..")) continue;
            return name;
        }
    }
};
