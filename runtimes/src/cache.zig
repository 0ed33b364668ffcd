//! Unpacked payloads, for machines on which nothing better is to be had: one directory a payload,
//! made once, shared by its runs, locked by those that use it, and removed when long unused. Also
//! directories of a single run, which go with it, or with the next run after a crash.
const std = @import("std");
const sys = @import("sys.zig");
const log = @import("log.zig");
const remove = @import("remove.zig");
const text = @import("text.zig");
const Tree = remove.Tree;
const Environment = @import("environment.zig").Environment;
const Reader = @import("squashfs/reader.zig").Reader;
const Unpacking = @import("unpack.zig").Unpacking;

const trees_max = 8;
const unused_max = 7 * 24 * 3600;

/// Directories of one run begin with this, and so do those that are still being made.
const private_prefix = "run-";

pub const Cache = struct {
    arena: std.mem.Allocator,
    place: sys.fd_t,

    /// The user's cache directory, or one below the places for temporary files that is ours alone.
    pub fn open(arena: std.mem.Allocator, callers: *const Environment) !Cache {
        var candidates: std.ArrayList([]const u8) = .empty;
        if (callers.get("XDG_CACHE_HOME")) |dir| try candidates.append(arena, try text.alloc(arena, "{s}/dockerc/run", .{dir}));
        if (callers.get("HOME")) |dir| try candidates.append(arena, try text.alloc(arena, "{s}/.cache/dockerc/run", .{dir}));
        for ([_][]const u8{ "/var/tmp", "/tmp", "/dev/shm" }) |dir|
            try candidates.append(arena, try text.alloc(arena, "{s}/dockerc-{d}/run", .{ dir, sys.raw(.geteuid, .{}) }));
        for (candidates.items) |path| {
            const place = openOwn(arena, path) catch |err| {
                log.debug("no cache at {s}: {s}", .{ path, sys.text(err) });
                continue;
            };
            log.debug("cache at {s}", .{path});
            return .{ .arena = arena, .place = place };
        }
        log.die("there is no directory to unpack the payload to: set XDG_CACHE_HOME to one that can be written", .{});
    }

    /// Made where it is missing; never one in which another user could put things.
    fn openOwn(arena: std.mem.Allocator, path: []const u8) !sys.fd_t {
        if (path[0] != '/') return error.INVAL;
        var end: usize = 0;
        while (end < path.len) {
            end = std.mem.findScalarPos(u8, path, end + 1, '/') orelse path.len;
            sys.mkdir(try arena.dupeSentinel(u8, path[0..end], 0), 0o700) catch |err| if (err != error.EXIST) return err;
        }
        for ([_]usize{ std.mem.findScalarLast(u8, path, '/').?, path.len }) |len| {
            const st = try sys.lstat(sys.at_fdcwd, try arena.dupeSentinel(u8, path[0..len], 0));
            if (!sys.isDirectory(st.mode)) return error.NOTDIR;
            if (st.uid != sys.raw(.geteuid, .{}) or st.mode & 0o022 != 0) return error.PERM;
        }
        const fd = try sys.openat(sys.at_fdcwd, try arena.dupeSentinel(u8, path, 0), .{ .DIRECTORY = true, .CLOEXEC = true }, 0);
        errdefer sys.close(fd);
        const writable = 2;
        try sys.do(.faccessat, .{ fd, ".", writable });
        // Without locks, which some network file systems lack, the living are not told from the dead.
        try sys.tryLock(fd, .shared);
        return fd;
    }

    /// The payload's `name` unpacked, as it was left by an earlier run or by us.
    pub fn shared(self: *Cache, reader: *Reader, name: []const u8, owners: bool, key: []const u8) !Tree {
        const path = try self.arena.dupeSentinel(u8, key, 0);
        for (0..3) |_| {
            if (self.openLocked(path)) |tree| return tree else |err| if (err != error.NOENT) return err;
            self.sweep();
            const fresh = try self.private(reader, name, owners);
            log.debug("unpacked", .{});
            sys.do(.renameat, .{ self.place, fresh.name.ptr, self.place, path.ptr }) catch |err| switch (err) {
                // Another run was faster.
                error.EXIST, error.NOTEMPTY => fresh.discard(),
                else => return err,
            };
            sys.close(fresh.fd);
        }
        return error.BUSY;
    }

    fn openLocked(self: *Cache, path: [:0]const u8) sys.Error!Tree {
        const tree = try Tree.open(self.place, path, .shared);
        // Its time tells when it was last used.
        sys.do(.utimensat, .{ tree.fd, 0, 0, 0 }) catch {};
        return tree;
    }

    /// A directory of this run alone: empty, or with the payload's `name` in it.
    pub fn private(self: *Cache, reader: *Reader, name: []const u8, owners: bool) !Tree {
        const tree = try self.empty();
        errdefer tree.discard();
        var unpacking: Unpacking = .{ .arena = self.arena, .reader = reader, .into = tree.fd, .owners = owners };
        try unpacking.run(name);
        return tree;
    }

    pub fn empty(self: *Cache) !Tree {
        return Tree.make(self.arena, self.place, private_prefix);
    }

    /// Removes what crashed runs left, what was not used for long, and the oldest of too many.
    pub fn sweep(self: *Cache) void {
        remove.abandoned(self.place, private_prefix);
        while (true) {
            var list: remove.List = .{ .fd = sys.openat(self.place, ".", .{ .DIRECTORY = true, .CLOEXEC = true }, 0) catch return };
            defer sys.close(list.fd);
            var count: usize = 0;
            var oldest: ?[:0]const u8 = null;
            var oldest_time: i64 = std.math.maxInt(i64);
            while (list.next() catch return) |name| {
                if (!isOurs(std.mem.span(name))) continue;
                const fd = sys.openat(self.place, name, .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true }, 0) catch continue;
                defer sys.close(fd);
                const st = sys.stat(fd, "") catch continue;
                count += 1;
                sys.tryLock(fd, .exclusive) catch continue;
                if (st.mtime.sec >= oldest_time) continue;
                oldest_time = st.mtime.sec;
                oldest = self.arena.dupeSentinel(u8, std.mem.span(name), 0) catch return;
            }
            const victim = oldest orelse return;
            if (count <= trees_max and oldest_time > now() - unused_max) return;
            self.discardUnused(victim) catch |err| {
                log.debug("cannot remove {s}: {s}", .{ victim, sys.text(err) });
                return;
            };
        }
    }

    fn discardUnused(self: *Cache, name: [:0]const u8) !void {
        const unused = try Tree.open(self.place, name, .exclusive);
        defer sys.close(unused.fd);
        try remove.tree(self.place, name);
        log.debug("removed {s}", .{name});
    }
};

fn now() i64 {
    var ts: std.os.linux.timespec = undefined;
    const realtime = 0;
    _ = sys.raw(.clock_gettime, .{ realtime, &ts });
    return ts.sec;
}

/// Whether a name in the cache is one that `keyOf` has made: nothing else is removed.
fn isOurs(name: []const u8) bool {
    return std.ascii.isDigit(name[0]) and std.mem.count(u8, name, "-") == 2;
}

/// What tells a payload from every other: its configuration, in which the builder keeps the digest
/// of the image, and all its metadata (names, owners, times, sizes stored). Where the
/// configuration holds no digest, all of its data too. `kind` tells apart what whose ids made.
pub fn keyOf(arena: std.mem.Allocator, reader: *const Reader, config: []const u8, has_digest: bool, kind: []const u8) ![:0]const u8 {
    const image = reader.image;
    // Two of 64 bits: nobody but the user could bring another payload of the same key here.
    var hashes = [2]std.hash.XxHash64{ .init(0), .init(1) };
    for (&hashes) |*hash| hash.update(config);
    var at: u64 = if (has_digest) reader.superblock.inode_table else 0;
    const buf = try sys.anonymous(1 << 20);
    defer sys.release(buf);
    while (true) {
        const got = try image.read(buf, at);
        if (got.len == 0) break;
        for (&hashes) |*hash| hash.update(got);
        at += got.len;
    }
    return text.alloc(arena, "{d}-{d}-{s}", .{ hashes[0].final(), hashes[1].final(), kind });
}
