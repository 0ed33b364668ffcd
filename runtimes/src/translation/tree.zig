//! The root file system of a translated run: the payload as it was unpacked once, which is never
//! changed, and above it a directory of this run. A directory in which something is to change gets
//! all its names in the upper one first: links to the unpacked files, and empty directories
//! (stubs), whose content is still looked up below. A file is copied before it is changed.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const text = @import("../base/text.zig");
const DirIterator = @import("../base/dir_iter.zig").DirIterator;
const OwnerFile = @import("owner_file.zig").OwnerFile;
const Owner = @import("owner_file.zig").Owner;
const below = @import("path_below.zig").below;

const at_symlink_nofollow = 0x100;
const open_path: sys.O = .{ .PATH = true, .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };
const open_list: sys.O = .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };

pub const Layer = enum { upper, lower };

const Inode = struct {
    /// An upper directory that has no names yet.
    is_stub: bool = false,
    /// A file of the payload that has names in the upper layer, too.
    is_linked: bool = false,
    /// What a directory of the payload had for a number before it came into the upper layer: a
    /// program that walks a tree compares them.
    number: ?u64 = null,
    /// Given by the program; without, files are the image's user's.
    owner: ?Owner = null,
};

pub const Tree = struct {
    memory: std.mem.Allocator,
    upper: sys.fd_t,
    lower: sys.fd_t,
    /// Their paths on the machine.
    upper_path: []const u8,
    lower_path: []const u8,
    readonly: bool,
    /// Of the upper layer, and of files that have names in both.
    inodes: std.AutoHashMapUnmanaged(u64, Inode) = .empty,
    /// Of the file system that both are on.
    device: [2]u32,
    top: u64,
    /// Whether directories have changed since the last look.
    changed: bool = false,
    /// Of a tree that is kept.
    owner_file: ?OwnerFile = null,
    copies: u32 = 0,

    /// `kept`: the upper one is whole, and its owners are kept in this directory.
    pub fn init(
        memory: std.mem.Allocator,
        upper: sys.fd_t,
        lower: sys.fd_t,
        kept: ?sys.fd_t,
    ) !Tree {
        const about = try sys.stat(upper, "");
        var self: Tree = .{
            .device = .{ about.dev_major, about.dev_minor },
            .top = about.ino,
            .memory = memory,
            .upper = upper,
            .lower = lower,
            .upper_path = try pathOf(memory, upper),
            .lower_path = try pathOf(memory, lower),
            .readonly = false,
        };
        if (kept) |directory| {
            try self.readOwners(directory);
            return self;
        }
        const top = try sys.stat(lower, "");
        (try self.inode(about.ino)).* = .{ .is_stub = true, .number = top.ino };
        try sys.do(.fchmod, .{ upper, top.mode & 0o7777 });
        return self;
    }

    fn readOwners(self: *Tree, directory: sys.fd_t) !void {
        var owners: std.AutoHashMapUnmanaged(u64, Owner) = .empty;
        defer owners.deinit(self.memory);
        const file = OwnerFile.open(self.memory, directory, &owners) catch |err| log.die(
            "--overlay: {s} in the directory, which has the owners of files: {s}",
            .{ OwnerFile.name, errno.text(err) },
        );
        var all = owners.iterator();
        while (all.next()) |each| (try self.inode(each.key_ptr.*)).owner = each.value_ptr.*;
        self.owner_file = file;
    }

    pub fn pathOf(memory: std.mem.Allocator, fd: sys.fd_t) ![]const u8 {
        var name: [32:0]u8 = undefined;
        var buf: [std.posix.PATH_MAX]u8 = undefined;
        const path = sys.fdPath(&name, fd);
        return memory.dupe(u8, buf[0..try sys.call(
            .readlinkat,
            .{ sys.at_fdcwd, path, &buf, buf.len },
        )]);
    }

    /// The root directory, and in which layer its names are.
    pub fn root(self: *const Tree) struct { sys.fd_t, Layer } {
        return if (self.isStub(self.top))
            .{ self.lower, .lower }
        else
            .{ self.upper, .upper };
    }

    fn inode(self: *Tree, number: u64) !*Inode {
        const found = try self.inodes.getOrPut(self.memory, number);
        if (!found.found_existing) found.value_ptr.* = .{};
        return found.value_ptr;
    }

    /// Of others than the root directory.
    pub fn knowsInodes(self: *const Tree) bool {
        return self.inodes.size > 1 or (self.owner_file != null and self.inodes.size > 0);
    }

    pub fn isStub(self: *const Tree, number: u64) bool {
        return if (self.inodes.getPtr(number)) |known| known.is_stub else false;
    }

    pub fn isLinked(self: *const Tree, number: u64) bool {
        return if (self.inodes.getPtr(number)) |known| known.is_linked else false;
    }

    pub fn setLinked(self: *Tree, number: u64) !void {
        (try self.inode(number)).is_linked = true;
    }

    /// What the program sees in place of an inode's number.
    pub fn shownNumber(self: *const Tree, number: u64) u64 {
        const known = self.inodes.getPtr(number) orelse return number;
        return known.number orelse number;
    }

    pub fn ownerOf(self: *const Tree, number: u64) ?Owner {
        return if (self.inodes.getPtr(number)) |known| known.owner else null;
    }

    pub fn setOwner(self: *Tree, number: u64, owner: ?Owner) !void {
        if (owner == null and !self.inodes.contains(number)) return;
        if (std.meta.eql(self.ownerOf(number), owner)) return;
        (try self.inode(number)).owner = owner;
        if (self.owner_file) |file| try file.append(number, owner);
    }

    /// Something new, whose number may have been another's.
    pub fn setNew(self: *Tree, number: u64, owner: ?Owner) !void {
        const known = self.inodes.fetchRemove(number);
        if (owner != null) return self.setOwner(number, owner);
        if (known != null) if (self.owner_file) |file| try file.append(number, null);
    }

    /// A directory in an upper one, with its inode: the descriptor, and the layer of its names.
    pub fn enter(
        self: *const Tree,
        dir: sys.fd_t,
        name: [*:0]const u8,
        number: u64,
        path: []const u8,
    ) sys.Error!struct { sys.fd_t, Layer } {
        if (self.isStub(number)) return .{ try openBelow(self.lower, path), .lower };
        return .{ try sys.openat(dir, name, open_path, 0), .upper };
    }

    /// The program's path of a path of the machine; null if it is not in the tree.
    pub fn guestOf(self: *const Tree, path: []const u8) ?[]const u8 {
        return below(path, self.upper_path) orelse below(path, self.lower_path);
    }

    /// The upper directory of that path, with all its names, whose ancestors are directories.
    pub fn writable(self: *Tree, path: []const u8) !sys.fd_t {
        if (self.readonly) return error.ROFS;
        var fd = try sys.openat(self.upper, ".", open_path, 0);
        errdefer sys.close(fd);
        try self.fill(fd, "");
        var at: usize = 0;
        while (at < path.len) {
            const end = std.mem.findScalarPos(u8, path, at + 1, '/') orelse path.len;
            var name: [256]u8 = undefined;
            const next = try sys.openat(fd, try nameOf(&name, path[at + 1 .. end]), open_path, 0);
            sys.close(fd);
            fd = next;
            try self.fill(fd, path[0..end]);
            at = end;
        }
        return fd;
    }

    /// With all directories in it: one that is renamed must not have names below any more.
    pub fn fillAll(self: *Tree, path: []const u8) !void {
        var waiting: std.ArrayList([]const u8) = .empty;
        defer {
            for (waiting.items) |each| self.memory.free(each);
            waiting.deinit(self.memory);
        }
        sys.close(try self.writable(path));
        try self.listBelow(path, &waiting);
        while (waiting.pop()) |inner| {
            defer self.memory.free(inner);
            // It may have been removed, or replaced.
            const fd = self.writable(inner) catch |err| switch (err) {
                error.NOENT, error.NOTDIR, error.LOOP => continue,
                else => return err,
            };
            sys.close(fd);
            try self.listBelow(inner, &waiting);
        }
    }

    /// The directories that the payload has in one. One of the run's own has nothing there.
    fn listBelow(self: *Tree, path: []const u8, into: *std.ArrayList([]const u8)) !void {
        var list: DirIterator = .{ .fd = openList(self.lower, path) catch return };
        defer sys.close(list.fd);
        while (try list.next()) |name| {
            const st = sys.lstat(list.fd, name) catch continue;
            if (!sys.isDirectory(st.mode)) continue;
            const inner = try text.alloc(self.memory, "{s}/{s}", .{ path, std.mem.span(name) });
            errdefer self.memory.free(inner);
            try into.append(self.memory, inner);
        }
    }

    /// Gives a stub its names.
    fn fill(self: *Tree, dir: sys.fd_t, path: []const u8) !void {
        const number = (try sys.stat(dir, "")).ino;
        if (!self.isStub(number)) return;
        const upper = try reopen(dir);
        defer sys.close(upper);
        var list: DirIterator = .{ .fd = try openList(self.lower, path) };
        defer sys.close(list.fd);
        const about = try sys.stat(list.fd, "");
        try sys.do(.fchmod, .{ upper, 0o700 });
        while (try list.next()) |name| self.link(list.fd, upper, name) catch |err|
            if (err != error.EXIST) return err;
        try setAttributes(upper, &about);
        (try self.inode(number)).is_stub = false;
        self.changed = true;
    }

    fn link(self: *Tree, lower: sys.fd_t, upper: sys.fd_t, name: [*:0]const u8) !void {
        const st = try sys.lstat(lower, name);
        if (sys.isDirectory(st.mode)) {
            try sys.do(.mkdirat, .{ upper, name, 0o700 });
            const made = try sys.openat(upper, name, open_list, 0);
            defer sys.close(made);
            try setAttributes(made, &st);
            const number = (try sys.stat(made, "")).ino;
            (try self.inode(number)).* = .{
                .is_stub = true,
                .number = st.ino,
                .owner = self.ownerOf(st.ino),
            };
            return;
        }
        if (sys.do(.linkat, .{ lower, name, upper, name, 0 })) |_|
            return self.setLinked(st.ino)
        else |err| if (err == error.EXIST) return err;
        try copy(lower, name, upper, name, &st);
    }

    /// Makes a file of an upper directory one of this run alone.
    pub fn own(self: *Tree, dir: sys.fd_t, name: [*:0]const u8) !void {
        const st = try sys.lstat(dir, name);
        if (!self.isLinked(st.ino)) return;
        self.copies += 1;
        var buf: [32]u8 = undefined;
        const new = text.print(&buf, ".dockerc-copy-{d}", .{self.copies});
        buf[new.len] = 0;
        const temporary = buf[0..new.len :0];
        try copy(dir, name, dir, temporary, &st);
        try sys.do(.renameat, .{ dir, temporary.ptr, dir, name });
        try self.setNew((try sys.lstat(dir, name)).ino, self.ownerOf(st.ino));
    }
};

pub fn nameOf(buf: *[256]u8, name: []const u8) sys.Error![*:0]const u8 {
    if (name.len >= buf.len) return error.NAMETOOLONG;
    @memcpy(buf[0..name.len], name);
    buf[name.len] = 0;
    return buf[0..name.len :0];
}

/// A directory, through no link. The path begins with a slash, or is empty.
pub fn openBelow(top: sys.fd_t, path: []const u8) sys.Error!sys.fd_t {
    var fd = try sys.openat(top, ".", open_path, 0);
    errdefer sys.close(fd);
    var names = std.mem.tokenizeScalar(u8, path, '/');
    while (names.next()) |each| {
        var name: [256]u8 = undefined;
        const next = try sys.openat(fd, try nameOf(&name, each), open_path, 0);
        sys.close(fd);
        fd = next;
    }
    return fd;
}

fn openList(top: sys.fd_t, path: []const u8) sys.Error!sys.fd_t {
    const fd = try openBelow(top, path);
    defer sys.close(fd);
    return reopen(fd);
}

/// A directory that was opened by its path alone, for more.
fn reopen(fd: sys.fd_t) sys.Error!sys.fd_t {
    return sys.openat(fd, ".", open_list, 0);
}

fn timesOf(st: *const linux.Statx) [2]linux.timespec {
    return .{
        .{ .sec = st.atime.sec, .nsec = st.atime.nsec },
        .{ .sec = st.mtime.sec, .nsec = st.mtime.nsec },
    };
}

fn setAttributes(fd: sys.fd_t, st: *const linux.Statx) sys.Error!void {
    try sys.do(.fchmod, .{ fd, st.mode & 0o7777 });
    const times = timesOf(st);
    return sys.do(.utimensat, .{ fd, 0, &times, 0 });
}

fn copy(
    from: sys.fd_t,
    name: [*:0]const u8,
    to: sys.fd_t,
    new: [*:0]const u8,
    st: *const linux.Statx,
) !void {
    switch (st.mode & 0o170000) {
        0o100000 => {
            const source = try sys.openat(from, name, .{ .NOFOLLOW = true, .CLOEXEC = true }, 0);
            defer sys.close(source);
            const made = try sys.openat(to, new, .{
                .ACCMODE = .WRONLY,
                .CREAT = true,
                .EXCL = true,
                .NOFOLLOW = true,
                .CLOEXEC = true,
            }, 0o600);
            defer sys.close(made);
            try copyData(source, made);
            try setAttributes(made, st);
        },
        0o120000 => {
            var target: [std.posix.PATH_MAX:0]u8 = undefined;
            const len = try sys.call(.readlinkat, .{ from, name, &target, target.len });
            target[len] = 0;
            try sys.do(.symlinkat, .{ &target, to, new });
            const times = timesOf(st);
            try sys.do(.utimensat, .{ to, new, &times, at_symlink_nofollow });
        },
        else => try sys.do(.mknodat, .{ to, new, @as(u32, st.mode), 0 }),
    }
}

fn copyData(from: sys.fd_t, to: sys.fd_t) sys.Error!void {
    // linux/fs.h
    const ficlone = 0x4004_9409;
    if (sys.do(.ioctl, .{ to, ficlone, from })) |_| return else |_| {}
    var buf: [16384]u8 = undefined;
    while (true) {
        const got = try sys.readAll(from, &buf);
        if (got.len == 0) return;
        try sys.writeAll(to, got);
    }
}
