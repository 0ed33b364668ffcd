//! Where the keeper of a mount is found: a socket in a directory of the caller's, named by all that
//! has to be the same for runs to share one mount.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const remove = @import("../base/remove.zig");
const socket = @import("../base/socket.zig");
const text = @import("../base/text.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Pair = @import("../namespaces/userns.zig").Pair;
const PrivateDir = @import("../base/private_dir.zig").PrivateDir;
const Sha256 = @import("../base/sha256.zig").Sha256;

pub const prefix = "keeper-";

/// The ids of a mount's files: how they are mapped, and to whom those belong that are not.
pub const Ids = struct { range: bool, user: Pair, mapped: Pair };

pub const Address = struct {
    dir: sys.fd_t,
    name: [:0]const u8,

    /// `file` is our own.
    pub fn of(
        arena: std.mem.Allocator,
        callers: *const Environment,
        file: sys.fd_t,
        ids: Ids,
    ) !Address {
        const digest = try key(file, ids);
        const hex = std.fmt.bytesToHex(digest[0..16], .lower);
        const name = try text.alloc(arena, prefix ++ "{s}", .{@as([]const u8, &hex)});
        const candidates = try directories(arena, callers);
        var last: anyerror = error.NOENT;
        for (candidates) |candidate| {
            const dir = candidate.open(arena) catch |err| {
                log.debug("no keeper at {s}: {s}", .{ candidate.base, errno.text(err) });
                last = err;
                continue;
            };
            return .{ .dir = dir, .name = name };
        }
        return last;
    }

    /// A path of a few bytes, as an address of a socket holds 107.
    fn path(self: Address, buf: *[96]u8) []const u8 {
        return text.print(buf, "/proc/self/fd/{d}/{s}", .{ self.dir, self.name });
    }

    pub fn connect(self: Address, to: sys.fd_t) sys.Error!void {
        var buf: [96]u8 = undefined;
        return socket.connect(to, self.path(&buf));
    }

    /// A socket that listens there. Its inode tells it from one that is made there later.
    pub fn listen(self: Address) sys.Error!struct { socket: sys.fd_t, inode: u64 } {
        var buf: [96]u8 = undefined;
        const own = try socket.listen(self.path(&buf));
        errdefer sys.close(own);
        return .{ .socket = own, .inode = (try sys.lstat(self.dir, self.name)).ino };
    }

    /// Held by whoever replaces or removes what is there, until it is closed; null if another
    /// process has it.
    pub fn lock(self: Address) sys.Error!?sys.fd_t {
        const own = try sys.openat(self.dir, ".", .{ .DIRECTORY = true, .CLOEXEC = true }, 0);
        sys.tryLock(own, .exclusive) catch |err| {
            sys.close(own);
            return if (err == error.AGAIN) null else err;
        };
        return own;
    }

    /// What a killed keeper has left: nobody listens there, and the caller has the lock.
    pub fn removeLeftover(self: Address) sys.Error!void {
        remove.file(self.dir, self.name) catch |err| if (err != error.NOENT) return err;
    }

    /// Unless it is another's by now.
    pub fn removeOwn(self: Address, inode: u64) void {
        const there = sys.lstat(self.dir, self.name) catch return;
        if (there.ino == inode) remove.file(self.dir, self.name) catch {};
    }
};

/// Of the user alone, the first that can be used. Without a runtime directory, the cache's.
pub fn directories(
    arena: std.mem.Allocator,
    callers: *const Environment,
) error{OutOfMemory}![]const PrivateDir {
    const below: []const [:0]const u8 = &.{ "dockerc", "keeper" };
    const out = try arena.create([3]PrivateDir);
    var count: usize = 0;
    if (callers.get("XDG_RUNTIME_DIR")) |dir| {
        out[count] = .{ .base = dir, .names = below[0..1], .makes = .names };
        count += 1;
    }
    if (callers.get("XDG_CACHE_HOME")) |dir| {
        out[count] = .{ .base = dir, .names = below };
        count += 1;
    }
    if (callers.get("HOME")) |dir| {
        out[count] = .{ .base = try text.alloc(arena, "{s}/.cache", .{dir}), .names = below };
        count += 1;
    }
    return out[0..count];
}

/// The file as it is, its payload's digest (docs/format.md) and footer among it; the ids, and the
/// tables of subordinate ids; the namespaces and the machine of the caller, whose home directory
/// others may have, too.
fn key(file: sys.fd_t, ids: Ids) ![32]u8 {
    var hash: Sha256 = .{};
    const st = try sys.stat(file, "");
    const digest_and_footer = 64;
    var end: [digest_and_footer]u8 = undefined;
    hash.update(end[0..try sys.preadAll(file, &end, st.size -| digest_and_footer)]);
    const numbers = [_]u64{
        st.dev_major,
        st.dev_minor,
        st.ino,
        st.size,
        @bitCast(st.mtime.sec),
        st.mtime.nsec,
        @intFromBool(ids.range),
        ids.user.uid,
        ids.user.gid,
        ids.mapped.uid,
        ids.mapped.gid,
        sys.raw(.geteuid, .{}),
        sys.raw(.getegid, .{}),
        (try sys.stat(sys.at_fdcwd, "/proc/self/ns/user")).ino,
        (try sys.stat(sys.at_fdcwd, "/proc/self/ns/pid")).ino,
    };
    hash.update(std.mem.sliceAsBytes(&numbers));
    if (ids.range) for ([_][:0]const u8{ "/etc/subuid", "/etc/subgid" }) |path| {
        const table = sys.stat(sys.at_fdcwd, path) catch continue;
        const version = [_]u64{
            table.ino,
            table.size,
            @bitCast(table.mtime.sec),
            table.mtime.nsec,
        };
        hash.update(std.mem.sliceAsBytes(&version));
    };
    var machine: std.os.linux.utsname = undefined;
    try sys.do(.uname, .{&machine});
    hash.update(std.mem.sliceTo(&machine.nodename, 0));
    return hash.final();
}

test "a keeper is for one file and one mapping" {
    const file = try sys.openat(sys.at_fdcwd, "/proc/self/exe", .{}, 0);
    const other = try sys.openat(sys.at_fdcwd, "/proc/self/status", .{}, 0);
    defer for ([_]sys.fd_t{ file, other }) |each| sys.close(each);
    const one: Ids = .{
        .range = false,
        .user = .{ .uid = 0, .gid = 0 },
        .mapped = .{ .uid = 0, .gid = 0 },
    };
    var two = one;
    two.user.gid = 7;
    const first = try key(file, one);
    try std.testing.expectEqual(first, try key(file, one));
    try std.testing.expect(!std.mem.eql(u8, &first, &try key(file, two)));
    try std.testing.expect(!std.mem.eql(u8, &first, &try key(other, one)));
}
