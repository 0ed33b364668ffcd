//! Where what a run writes lives: a directory of its own on a disk, so that large writes cost no
//! memory. It stands in a place for temporary files, is locked by its run as long as that lives,
//! and goes with it (watcher.zig); what is left when all of a run is killed at once, the next one
//! removes.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const ownership = @import("../base/ownership.zig");
const run_dir = @import("../base/run_dir.zig");
const text = @import("../base/text.zig");
const RunDir = run_dir.RunDir;

/// statfs(2): of memory, or (overlayfs) nothing that an overlay could write to.
const unfit = [_]u64{ 0x0102_1994, 0x8584_58f6, 0x794c_7630 };

/// Null where no place will do. `attributes`: whether user.* attributes have to be kept, for an
/// overlay that may not write its own. `uid` is the caller's, outside of all namespaces of ours.
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

/// The directory of --overlay, in which what a run has written stays. Set-id files may be among
/// that, so that nobody else may enter it.
pub fn openKept(arena: std.mem.Allocator, path: []const u8) !sys.fd_t {
    return kept(try arena.dupeSentinel(u8, path, 0)) catch |err|
        log.die("--overlay {s}: {s}", .{ path, switch (err) {
            error.NotOurs => "it belongs to another user",
            error.Open => "others may enter it, and to keep set-id files there were a risk: " ++
                "chmod 700 it",
            else => errno.text(err),
        } });
}

fn kept(name: [:0]const u8) !sys.fd_t {
    sys.mkdir(name, 0o700) catch |err| if (err != error.EXIST) return err;
    const flags: sys.O = .{ .DIRECTORY = true, .CLOEXEC = true };
    const fd = try sys.openat(sys.at_fdcwd, name, flags, 0);
    const st = ownership.check(fd) catch |err| return if (err == error.PERM) error.NotOurs else err;
    if (st.mode & 0o077 != 0) return error.Open;
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
