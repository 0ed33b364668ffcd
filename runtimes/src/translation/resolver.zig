//! Paths of the translated program (path_resolution(7)), step by step: links lead to where their
//! text leads below the program's root, `..` does not leave it, and the kernel follows no link.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const mounts = @import("mounts.zig");
const places = @import("place.zig");
const proc_links = @import("proc_links.zig");
const trees = @import("tree.zig");
const Directory = places.Directory;
const Place = places.Place;
const Thread = @import("threads.zig").Thread;
const Threads = @import("threads.zig").Threads;
const Tree = trees.Tree;

pub const Failure = anyerror;

/// The kernel's limit.
const links_max = 40;
const directories_max = 400;
const open_directory: sys.O = .{
    .PATH = true,
    .DIRECTORY = true,
    .NOFOLLOW = true,
    .CLOEXEC = true,
};

pub const Resolver = struct {
    tree: *Tree,
    mounts: mounts.Mounts,
    threads: *Threads,
    /// What one call needs.
    scratch: std.heap.FixedBufferAllocator,
    opened: [128]sys.fd_t = undefined,
    opened_count: usize = 0,
    /// Directories of the tree by their names, until one of them changes.
    known: std.StringHashMapUnmanaged(Directory) = .empty,
    known_memory: std.heap.ArenaAllocator,
    known_files: [directories_max]sys.fd_t = undefined,
    known_count: usize = 0,
    /// Whose call it is.
    viewer: *const Thread = undefined,
    links: u32 = 0,

    pub fn begin(self: *Resolver, viewer: *const Thread) void {
        for (self.opened[0..self.opened_count]) |fd| sys.close(fd);
        self.opened_count = 0;
        self.scratch.reset();
        self.viewer = viewer;
        self.links = 0;
        if (self.tree.changed or self.known_count == directories_max) self.forget();
    }

    pub fn arena(self: *Resolver) std.mem.Allocator {
        return self.scratch.allocator();
    }

    fn forget(self: *Resolver) void {
        for (self.known_files[0..self.known_count]) |fd| sys.close(fd);
        self.known_count = 0;
        self.known = .empty;
        _ = self.known_memory.reset(.retain_capacity);
        self.tree.changed = false;
    }

    /// To be closed when the next call begins.
    pub fn keep(self: *Resolver, fd: sys.fd_t) sys.Error!sys.fd_t {
        if (self.opened_count == self.opened.len) {
            sys.close(fd);
            return error.MFILE;
        }
        self.opened[self.opened_count] = fd;
        self.opened_count += 1;
        return fd;
    }

    fn isNewest(self: *const Resolver, fd: sys.fd_t) bool {
        return self.opened_count > 0 and self.opened[self.opened_count - 1] == fd;
    }

    fn learn(self: *Resolver, name: []const u8, dir: Directory, links: u32) !void {
        if (dir.where != .tree or self.tree.changed or self.known_count == directories_max) return;
        const memory = self.known_memory.allocator();
        var stored = dir;
        stored.path = try memory.dupe(u8, dir.path);
        stored.links = links;
        try self.known.put(memory, try memory.dupe(u8, name), stored);
        if (!self.isNewest(dir.fd)) return;
        self.opened_count -= 1;
        self.known_files[self.known_count] = dir.fd;
        self.known_count += 1;
    }

    fn find(self: *const Resolver, name: []const u8) ?Directory {
        return if (self.tree.changed) null else self.known.get(name);
    }

    /// The directory that an absolute path without a slash at its end leads to.
    pub fn directory(self: *Resolver, given: []const u8) Failure!Directory {
        const links = self.links;
        if (self.find(given)) |known| return self.reach(known, links);
        const fd, const layer = self.tree.root();
        var dir: Directory = .{ .fd = fd, .path = "", .where = .{ .tree = layer } };
        var at: usize = 0;
        while (at < given.len) {
            const end = std.mem.findScalarPos(u8, given, at + 1, '/') orelse given.len;
            const name = given[at + 1 .. end];
            at = end;
            if (name.len == 0 or std.mem.eql(u8, name, ".")) continue;
            if (self.find(given[0..end])) |known| {
                dir = try self.reach(known, links);
                continue;
            }
            const before = dir.fd;
            const temporary = self.isNewest(before);
            dir = try self.step(dir, name);
            // Long paths must not need many descriptors.
            if (temporary and self.opened_count > 1 and
                self.opened[self.opened_count - 2] == before and self.isNewest(dir.fd))
            {
                sys.close(before);
                self.opened[self.opened_count - 2] = dir.fd;
                self.opened_count -= 1;
            }
            try self.learn(given[0..end], dir, self.links - links);
        }
        return dir;
    }

    /// As if its links were followed again, after `links` others.
    fn reach(self: *Resolver, known: Directory, links: u32) !Directory {
        self.links = links + known.links;
        return if (self.links > links_max) error.LOOP else known;
    }

    fn step(self: *Resolver, dir: Directory, given: []const u8) Failure!Directory {
        if (std.mem.eql(u8, given, "..")) return self.directory(parentOf(dir.path));
        const name, const path = try self.child(dir, given);
        if (self.mounts.at(path)) |mount| {
            if (mount.name != null) return error.NOTDIR;
            return .{ .fd = mount.fd, .path = path, .where = .{ .mount = mount } };
        }
        const st = try sys.lstat(dir.fd, name);
        switch (st.mode & 0o170000) {
            places.link => return switch (try self.targetOf(dir, name)) {
                .path => |target| self.directory(trimmed(target)),
                // A directory that is not in the program's root.
                .open_file => error.ACCES,
            },
            places.directory => {},
            else => return error.NOTDIR,
        }
        const upper = dir.where == .tree and dir.where.tree == .upper;
        const fd, const layer: trees.Layer = if (upper)
            try self.tree.enter(dir.fd, name, st.ino, path)
        else
            .{ try sys.openat(dir.fd, name, open_directory, 0), .lower };
        return .{
            .fd = try self.keep(fd),
            .path = path,
            .where = if (dir.where == .tree) .{ .tree = layer } else dir.where,
        };
    }

    /// A name as the machine has it, and its path.
    const Child = struct { [:0]const u8, []const u8 };

    fn child(self: *Resolver, dir: Directory, given: []const u8) !Child {
        if (given.len > 255) return error.NAMETOOLONG;
        const memory = self.arena();
        const own = if (dir.where.isProc() and dir.path.len == dir.where.mount.target.len)
            try proc_links.ownName(memory, self.viewer, given)
        else
            null;
        const name = own orelse try memory.dupeSentinel(u8, given, 0);
        return .{ name, try text.alloc(memory, "{s}/{s}", .{ dir.path, name }) };
    }

    /// Of a link that the kernel makes.
    pub fn magic(self: *Resolver, dir: Directory, name: [:0]const u8) Failure!?proc_links.Target {
        return proc_links.targetOf(&.{
            .memory = self.arena(),
            .threads = self.threads,
            .mounts = &self.mounts,
            .tree = self.tree,
        }, dir, name);
    }

    fn targetOf(self: *Resolver, dir: Directory, name: [:0]const u8) Failure!proc_links.Target {
        self.links += 1;
        if (self.links > links_max) return error.LOOP;
        if (dir.where.isProc())
            if (try self.magic(dir, name)) |target| return target;
        const memory = self.arena();
        const buf = try memory.alloc(u8, std.posix.PATH_MAX);
        const len = try sys.call(.readlinkat, .{ dir.fd, name.ptr, buf.ptr, buf.len });
        const target = buf[0..len];
        if (len > 0 and target[0] == '/') return .{ .path = target };
        return .{ .path = try text.alloc(memory, "{s}/{s}", .{ dir.path, target }) };
    }

    /// Of a path that is absolute, or relative to `base`.
    pub fn place(
        self: *Resolver,
        base: []const u8,
        given: []const u8,
        follow: bool,
    ) Failure!Place {
        if (given.len == 0) return error.NOENT;
        var whole = if (given[0] == '/')
            given
        else
            try text.alloc(self.arena(), "{s}/{s}", .{ base, given });
        var slash = false;
        while (true) {
            const path = trimmed(whole);
            slash = slash or path.len < whole.len;
            const at = std.mem.findScalarLast(u8, path, '/') orelse 0;
            const last = path[@min(at + 1, path.len)..];
            if (last.len == 0 or text.isOneOf(last, &.{ ".", ".." })) {
                return itself(try self.directory(path));
            }
            const dir = try self.directory(trimmed(path[0..at]));
            var found = try self.inDirectory(dir, last);
            found.slash = slash;
            if (!found.is(places.link)) {
                if (slash and found.exists() and !found.is(places.directory)) return error.NOTDIR;
                return found;
            }
            if (!follow and !slash) return found;
            switch (try self.targetOf(dir, std.mem.span(found.name))) {
                .path => |target| whole = target,
                .open_file => {
                    found.magic = true;
                    return found;
                },
            }
        }
    }

    /// A directory that has no name any more, by the link of whoever has it open.
    pub fn removed(self: *Resolver, proc: sys.fd_t, link: [*:0]const u8) Failure!Place {
        const how: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
        return itself(.{
            .fd = try self.keep(try sys.openat(proc, link, how, 0)),
            .path = "/ (deleted)",
            .where = .{ .tree = .upper },
        });
    }

    fn inDirectory(self: *Resolver, dir: Directory, last: []const u8) Failure!Place {
        const name, const path = try self.child(dir, last);
        var found: Place = .{ .dir = dir.fd, .name = name, .path = path, .where = dir.where };
        if (self.mounts.at(path)) |mount| {
            found.where = .{ .mount = mount };
            found.dir = mount.fd;
            found.name = mount.name orelse ".";
        }
        const st = sys.lstat(found.dir, found.name) catch |err| {
            if (err != error.NOENT) return err;
            return found;
        };
        found.mode = st.mode;
        found.inode = st.ino;
        return found;
    }

    /// The same place where it may be changed: in the run's own layer.
    pub fn forWriting(self: *Resolver, given: *Place) Failure!void {
        switch (given.where) {
            .mount => |mount| if (mount.readonly) return error.ROFS,
            .tree => |layer| {
                if (self.tree.readonly) return error.ROFS;
                const whole = given.isItself();
                if (layer == .upper and !whole) return;
                const path = if (whole) given.path else parentOf(given.path);
                given.dir = try self.keep(try self.tree.writable(path));
                given.where = .{ .tree = .upper };
            },
        }
    }

    /// And what is there, too: a file of the payload is copied.
    pub fn forChange(self: *Resolver, given: *Place) Failure!void {
        try self.forWriting(given);
        // Its name in the tree is gone, and with it the place of a copy.
        if (given.magic) return if (try self.isPayloads(given)) error.ROFS;
        if (given.where != .tree or given.isItself()) return;
        if (given.is(places.directory)) {
            // By its name: the program may have taken all rights from it.
            if (self.tree.isStub((try sys.lstat(given.dir, given.name)).ino))
                sys.close(try self.tree.writable(given.path));
        } else if (given.exists()) try self.tree.own(given.dir, given.name);
    }

    /// Whether an open file is one of the unpacked payload, which never changes.
    pub fn isPayloads(self: *const Resolver, given: *const Place) !bool {
        const st = try sys.stat(given.dir, given.name);
        const device = [2]u32{ st.dev_major, st.dev_minor };
        return std.mem.eql(u32, &device, &self.tree.device) and self.tree.isLinked(st.ino);
    }

    /// The program's path of one of the machine; null if the program has none.
    pub fn guestOf(self: *Resolver, path: []const u8) !?[]const u8 {
        return self.mounts.guestOf(self.arena(), self.tree, path);
    }
};

fn itself(dir: Directory) Place {
    return .{
        .dir = dir.fd,
        .name = ".",
        .path = dir.path,
        .where = dir.where,
        .mode = places.directory | 0o755,
    };
}

fn trimmed(path: []const u8) []const u8 {
    return std.mem.trimEnd(u8, path, "/");
}

pub fn parentOf(path: []const u8) []const u8 {
    return path[0 .. std.mem.findScalarLast(u8, path, '/') orelse 0];
}
