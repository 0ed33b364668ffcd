//! The upper directory of a run on a disk, so that large writes cost no memory. It is made in a
//! directory for temporary files, locked by its run, and removed with it (watchdog.zig); if all
//! processes of a run are killed at once, the next run removes it.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const ownership = @import("../base/ownership.zig");
const run_dir = @import("../base/run_dir.zig");
const text = @import("../base/text.zig");
const RunDir = run_dir.RunDir;

/// statfs(2): file systems in memory, and overlayfs, which cannot hold an upper directory.
const unfit = [_]u64{ 0x0102_1994, 0x8584_58f6, 0x794c_7630 };

/// Null if no directory can be used. `attributes`: whether user.* attributes must be stored, for an
/// overlay that may not write trusted ones. `uid` is the caller's, outside of all namespaces of
/// ours.
pub fn onDisk(arena: std.mem.Allocator, first: ?[]const u8, uid: usize, attributes: bool) !?RunDir {
    for ([_][]const u8{ first orelse "", "/var/tmp" }) |path| {
        if (path.len == 0) continue;
        if (make(arena, path, uid, attributes)) |tree| {
            log.debug("changes go to {s}", .{path});
            return tree;
        } else |err| log.debug("no changes in {s}: {s}", .{ path, errno.text(err) });
    }
    return null;
}

/// The directory of --overlay, which keeps what a run has written. Set-id files may be among that,
/// so only its owner may enter it. It is of one run at a time, and of one image, whose digest is in
/// it: overlayfs's behaviour is undefined with the upper directory of another mount, or of another
/// lower one.
pub fn openKept(arena: std.mem.Allocator, path: []const u8, digest: ?[]const u8) !sys.fd_t {
    const fd = kept(try arena.dupeSentinel(u8, path, 0)) catch |err|
        log.die("--overlay {s}: {s}", .{ path, switch (err) {
            error.NotOurs => "it belongs to another user",
            error.Open => "others may enter it, which is a risk with set-id files: chmod 700 it",
            error.AGAIN => "another run uses it: give each its own",
            else => errno.text(err),
        } });
    if (digest) |own| if (checkImage(fd, own)) |other| log.die(
        "--overlay {s}: it keeps what a program of another image wrote ({s}, and this is {s}): " ++
            "name another directory",
        .{ path, try arena.dupe(u8, other), own },
    );
    return fd;
}

/// The digest of another image whose the directory is.
fn checkImage(fd: sys.fd_t, own: []const u8) ?[]const u8 {
    var buf: [256]u8 = undefined;
    const found = sys.readStart(fd, image_name, &buf) catch "";
    if (found.len > 0) return if (std.mem.eql(u8, found, own)) null else found;
    // A pipe there has no reader.
    const flags: sys.O = .{
        .ACCMODE = .WRONLY,
        .CREAT = true,
        .NOFOLLOW = true,
        .NONBLOCK = true,
        .CLOEXEC = true,
    };
    const file = sys.openat(fd, image_name, flags, 0o600) catch return null;
    defer sys.close(file);
    sys.writeAll(file, own) catch {};
    return null;
}

const image_name = "image";

fn kept(name: [:0]const u8) !sys.fd_t {
    sys.mkdir(name, 0o700) catch |err| if (err != error.EXIST) return err;
    const flags: sys.O = .{ .DIRECTORY = true, .CLOEXEC = true };
    const fd = try sys.openat(sys.at_fdcwd, name, flags, 0);
    const st = ownership.check(fd) catch |err| return if (err == error.PERM) error.NotOurs else err;
    if (st.mode & 0o077 != 0) return error.Open;
    sys.tryLock(fd, .exclusive) catch |err| switch (err) {
        error.AGAIN => return err,
        // Some network file systems have no locks.
        else => log.debug("no lock of {s}: {s}", .{ name, errno.text(err) }),
    };
    return fd;
}

fn make(arena: std.mem.Allocator, path: []const u8, uid: usize, attributes: bool) !RunDir {
    const place = try sys.openat(
        sys.at_fdcwd,
        try arena.dupeSentinel(u8, path, 0),
        .{ .DIRECTORY = true, .CLOEXEC = true },
        0,
    );
    errdefer sys.close(place);
    // struct statfs has 120 bytes, and begins with the file system's magic number.
    var about: [15]u64 = undefined;
    try sys.do(.fstatfs, .{ place, &about });
    if (std.mem.findScalar(u64, &unfit, about[0]) != null) return error.OPNOTSUPP;
    const prefix = try text.alloc(arena, "dockerc-{d}-", .{uid});
    run_dir.removeAbandoned(place, prefix);
    const tree = try RunDir.make(arena, place, prefix);
    errdefer tree.discard();
    if (attributes) try sys.do(.fsetxattr, .{ tree.fd, "user.dockerc", "y", 1, 0 });
    return tree;
}
