//! Unpacked payloads, for machines without FUSE: one directory a payload, made once, shared by its
//! runs, locked while in use, and removed when unused for long. Also directories of a single run,
//! removed at its end, or by the next run after a crash.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const payload_digest = @import("../payload/payload_digest.zig");
const quantity = @import("../cli/quantity.zig");
const DirIterator = @import("../base/dir_iter.zig").DirIterator;
const remove = @import("../base/remove.zig");
const run_dir = @import("../base/run_dir.zig");
const PrivateDir = @import("../base/private_dir.zig").PrivateDir;
const text = @import("../base/text.zig");
const RunDir = run_dir.RunDir;
const Owners = @import("../namespaces/owners.zig").Owners;
const Environment = @import("../cli/environment.zig").Environment;
const Image = @import("../squashfs/image.zig").Image;
const Reader = @import("../squashfs/reader.zig").Reader;
const Unpacking = @import("unpack.zig").Unpacking;

const trees_max = 8;
const unused_max = 7 * 24 * 3600;

/// Directories of one run begin with this, and so do those that are still being made.
const private_prefix = "run-";

/// Links from files to names of payloads begin with this.
const memo_prefix = "file-";

/// The caller's id outside of a user namespace that somebody else made, in which everybody is root:
/// the name of the cache must differ for different users.
fn machineId(uid: u32) u32 {
    if (uid != 0) return uid;
    var buf: [4096]u8 = undefined;
    const map = sys.readStart(sys.at_fdcwd, "/proc/self/uid_map", &buf) catch return uid;
    var lines = std.mem.tokenizeScalar(u8, map, '\n');
    while (lines.next()) |line| {
        var words = std.mem.tokenizeScalar(u8, line, ' ');
        const inside = words.next() orelse continue;
        if (!std.mem.eql(u8, inside, "0")) continue;
        return quantity.number(u32, words.next() orelse "") orelse uid;
    }
    return uid;
}

pub const Cache = struct {
    arena: std.mem.Allocator,
    place: sys.fd_t,

    /// The user's cache directory, or a private one below a directory for temporary files. `uid` is
    /// the caller's, outside of all namespaces of ours.
    pub fn open(arena: std.mem.Allocator, callers: *const Environment, uid: u32) !Cache {
        const usual: []const [:0]const u8 = &.{ "dockerc", "run" };
        const own = try arena.dupe([:0]const u8, &.{
            try text.alloc(arena, "dockerc-{d}", .{machineId(uid)}),
            "run",
        });
        const home = if (callers.get("HOME")) |dir|
            try text.alloc(arena, "{s}/.cache", .{dir})
        else
            null;
        for ([_]?PrivateDir{
            if (callers.get("XDG_CACHE_HOME")) |dir| .{ .base = dir, .names = usual } else null,
            if (home) |dir| .{ .base = dir, .names = usual } else null,
            .{ .base = "/var/tmp", .names = own },
            .{ .base = "/tmp", .names = own },
            .{ .base = "/dev/shm", .names = own },
        }) |each| if (each) |candidate| {
            const place = lockable(candidate, arena) catch |err| {
                log.debug("no cache at {s}: {s}", .{ candidate.base, errno.text(err) });
                continue;
            };
            log.debug("cache at {s}", .{candidate.base});
            return .{ .arena = arena, .place = place };
        };
        log.die("there is no directory to unpack the payload to: set XDG_CACHE_HOME to one " ++
            "that can be written", .{});
    }

    /// Some network file systems have no locks; without them a directory in use looks abandoned.
    fn lockable(candidate: PrivateDir, arena: std.mem.Allocator) !sys.fd_t {
        const fd = try candidate.open(arena);
        errdefer sys.close(fd);
        try sys.tryLock(fd, .shared);
        return fd;
    }

    /// The payload's `name` unpacked, as it was left by an earlier run or by us.
    pub fn shared(
        self: *Cache,
        reader: *Reader,
        name: []const u8,
        owners: ?*const Owners,
        key: []const u8,
    ) !RunDir {
        const path = try self.arena.dupeSentinel(u8, key, 0);
        for (0..3) |_| {
            if (self.openLocked(path)) |tree|
                return tree
            else |err| if (err != error.NOENT) return err;
            self.sweep();
            const fresh = try self.private(reader, name, owners);
            log.debug("unpacked", .{});
            sys.do(
                .renameat,
                .{ self.place, fresh.name.ptr, self.place, path.ptr },
            ) catch |err| switch (err) {
                // Another run was faster.
                error.EXIST, error.NOTEMPTY => fresh.discard(),
                else => return err,
            };
            sys.close(fresh.fd);
        }
        return error.BUSY;
    }

    /// The name of a payload in the cache. It is remembered for the file that the payload is in:
    /// the digest of a large one takes longer than all else.
    pub fn keyOf(self: *Cache, reader: *const Reader, kind: []const u8) ![:0]const u8 {
        // Only what was read by the tree goes there: it is the root's name, and nobody else's.
        if (reader.image.tree) |tree| return keyText(self.arena, &tree.root, kind);
        const memo = try self.memoOf(reader.image, kind);
        var buf: [128]u8 = undefined;
        if (sys.call(.readlinkat, .{ self.place, memo.ptr, &buf, buf.len })) |len| {
            if (isOurs(buf[0..len])) return self.arena.dupeSentinel(u8, buf[0..len], 0);
        } else |_| {}
        const key = try digestKey(self.arena, reader, kind);
        sys.do(.symlinkat, .{ key.ptr, self.place, memo.ptr }) catch {};
        return key;
    }

    /// A change of a file shows in its ctime, which only the kernel sets (inode(7)).
    fn memoOf(self: *Cache, image: *const Image, kind: []const u8) ![:0]const u8 {
        const st = try sys.stat(image.fd, "");
        return text.alloc(self.arena, memo_prefix ++ "{d}-{d}-{d}-{d}-{d}.{d}-{d}.{d}-{s}", .{
            st.dev_major,
            st.dev_minor,
            st.ino,
            st.size,
            st.mtime.sec,
            st.mtime.nsec,
            st.ctime.sec,
            st.ctime.nsec,
            kind,
        });
    }

    fn openLocked(self: *Cache, path: [:0]const u8) sys.Error!RunDir {
        const tree = try RunDir.open(self.place, path, .shared);
        // Its modification time is the time of its last use.
        sys.do(.utimensat, .{ tree.fd, 0, 0, 0 }) catch {};
        return tree;
    }

    /// A directory of this run alone: empty, or with the payload's `name` in it.
    pub fn private(
        self: *Cache,
        reader: *Reader,
        name: []const u8,
        owners: ?*const Owners,
    ) !RunDir {
        const tree = try self.empty();
        errdefer tree.discard();
        var unpacking: Unpacking = .{
            .arena = self.arena,
            .reader = reader,
            .into = tree.fd,
            .owners = owners,
        };
        try unpacking.run(name);
        return tree;
    }

    pub fn empty(self: *Cache) !RunDir {
        return RunDir.make(self.arena, self.place, private_prefix);
    }

    /// Removes what crashed runs left, what was unused for long, and the oldest while there are too
    /// many.
    pub fn sweep(self: *Cache) void {
        run_dir.removeAbandoned(self.place, private_prefix);
        while (true) {
            var list: DirIterator = .{ .fd = sys.openat(
                self.place,
                ".",
                .{ .DIRECTORY = true, .CLOEXEC = true },
                0,
            ) catch return };
            defer sys.close(list.fd);
            var count: usize = 0;
            var oldest: ?[:0]const u8 = null;
            var oldest_time: i64 = std.math.maxInt(i64);
            while (list.next() catch return) |name| {
                self.forget(name);
                if (!isOurs(std.mem.span(name))) continue;
                const fd = sys.openat(
                    self.place,
                    name,
                    .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true },
                    0,
                ) catch continue;
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
                log.debug("cannot remove {s}: {s}", .{ victim, errno.text(err) });
                return;
            };
        }
    }

    /// A remembered name that was not made anew for long.
    fn forget(self: *Cache, name: [*:0]const u8) void {
        if (!std.mem.startsWith(u8, std.mem.span(name), memo_prefix)) return;
        const st = sys.lstat(self.place, name) catch return;
        if (st.mtime.sec < now() - unused_max) remove.file(self.place, name) catch {};
    }

    fn discardUnused(self: *Cache, name: [:0]const u8) !void {
        const unused = try RunDir.open(self.place, name, .exclusive);
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

/// Whether `keyOf` made this name, now or before it used SHA-256: nothing else is removed.
fn isOurs(name: []const u8) bool {
    const digest, _ = std.mem.cutScalar(u8, name, '-') orelse return false;
    for (digest) |digit| if (!std.ascii.isHex(digit)) return false;
    if (digest.len == 64) return true;
    return std.ascii.isDigit(name[0]) and std.mem.count(u8, name, "-") == 2;
}

/// A digest of all of a payload, data, metadata and config.json. `kind` separates copies with
/// different owners.
fn digestKey(arena: std.mem.Allocator, reader: *const Reader, kind: []const u8) ![:0]const u8 {
    const digest = try payload_digest.of(arena, reader.image);
    return keyText(arena, &digest, kind);
}

fn keyText(arena: std.mem.Allocator, digest: *const [32]u8, kind: []const u8) ![:0]const u8 {
    const hex = std.fmt.bytesToHex(digest.*, .lower);
    return text.alloc(arena, "{s}-{s}", .{ @as([]const u8, &hex), kind });
}
