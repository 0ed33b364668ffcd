//! Unpacked payloads, for machines without FUSE: one directory a payload, made once, shared by its
//! runs, locked while in use, and removed when unused for long. Also directories of a single run,
//! removed at its end, or by the next run after a crash.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const ownership = @import("../base/ownership.zig");
const payload_digest = @import("../payload/payload_digest.zig");
const quantity = @import("../cli/quantity.zig");
const DirIterator = @import("../base/dir_iter.zig").DirIterator;
const remove = @import("../base/remove.zig");
const run_dir = @import("../base/run_dir.zig");
const text = @import("../base/text.zig");
const RunDir = run_dir.RunDir;
const Owners = @import("../namespaces/owners.zig").Owners;
const Environment = @import("../cli/environment.zig").Environment;
const Reader = @import("../squashfs/reader.zig").Reader;
const Unpacking = @import("unpack.zig").Unpacking;

const trees_max = 8;
const unused_max = 7 * 24 * 3600;

/// Directories of one run begin with this, and so do those that are still being made.
const private_prefix = "run-";

/// A directory for the cache: BASE/NAME/run.
const Candidate = struct {
    base: []const u8,
    name: [:0]const u8 = "dockerc",

    /// Made if it is missing; never a directory that another user can write to.
    fn open(self: Candidate, arena: std.mem.Allocator) !sys.fd_t {
        const base = self.base;
        if (base.len == 0 or base[0] != '/') return error.INVAL;
        var end: usize = 0;
        while (end < base.len) {
            end = std.mem.findScalarPos(u8, base, end + 1, '/') orelse base.len;
            const part = try arena.dupeSentinel(u8, base[0..end], 0);
            sys.mkdir(part, 0o700) catch |err| if (err != error.EXIST) return err;
        }
        const flags: sys.O = .{ .DIRECTORY = true, .CLOEXEC = true };
        var fd = try sys.openat(sys.at_fdcwd, try arena.dupeSentinel(u8, base, 0), flags, 0);
        errdefer sys.close(fd);
        for ([_][:0]const u8{ self.name, "run" }) |name| {
            sys.do(.mkdirat, .{ fd, name.ptr, 0o700 }) catch |err| switch (err) {
                error.EXIST => {},
                else => return err,
            };
            const inside: sys.O = .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };
            const next = try sys.openat(fd, name, inside, 0);
            sys.close(fd);
            fd = next;
            if ((try ownership.check(fd)).mode & 0o022 != 0) return error.PERM;
        }
        const writable = 2;
        try sys.do(.faccessat, .{ fd, ".", writable });
        // Some network file systems have no locks; without them a directory in use looks abandoned.
        try sys.tryLock(fd, .shared);
        return fd;
    }
};

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
        var candidates: std.ArrayList(Candidate) = .empty;
        if (callers.get("XDG_CACHE_HOME")) |dir| try candidates.append(arena, .{ .base = dir });
        if (callers.get("HOME")) |dir|
            try candidates.append(arena, .{ .base = try text.alloc(arena, "{s}/.cache", .{dir}) });
        const own = try text.alloc(arena, "dockerc-{d}", .{machineId(uid)});
        for ([_][]const u8{ "/var/tmp", "/tmp", "/dev/shm" }) |dir|
            try candidates.append(arena, .{ .base = dir, .name = own });
        for (candidates.items) |candidate| {
            const place = candidate.open(arena) catch |err| {
                log.debug("no cache at {s}: {s}", .{ candidate.base, errno.text(err) });
                continue;
            };
            log.debug("cache at {s}", .{candidate.base});
            return .{ .arena = arena, .place = place };
        }
        log.die("there is no directory to unpack the payload to: set XDG_CACHE_HOME to one " ++
            "that can be written", .{});
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

/// The name of a payload in the cache: a digest of all of it, data, metadata and config.json.
/// `kind` separates copies with different owners.
pub fn keyOf(arena: std.mem.Allocator, reader: *const Reader, kind: []const u8) ![:0]const u8 {
    const digest = try payload_digest.of(arena, reader.image);
    const hex = std.fmt.bytesToHex(digest, .lower);
    return text.alloc(arena, "{s}-{s}", .{ @as([]const u8, &hex), kind });
}
