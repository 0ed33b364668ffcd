//! Paths inside the container's root, resolved by hand: a symbolic link of the image leads to where
//! its text leads inside the root, never out of it, and never through the magic links of /proc.
//! Missing files can be made. No program of the image runs yet, but in a volume others may change
//! what is there at any moment: once one is mounted, what is made, is made in a directory that was
//! opened without following a link (CVE-2021-30465).
const std = @import("std");
const sys = @import("../base/syscalls.zig");

pub const Make = enum { nothing, directory, file };

/// The kernel's limit.
const links_max = 40;

/// The same path without symbolic links. The root directory is the container's. `shared`: whether a
/// volume is mounted.
pub fn resolve(
    arena: std.mem.Allocator,
    path: []const u8,
    make: Make,
    shared: bool,
) ![:0]const u8 {
    var done: std.ArrayList(u8) = .empty;
    var rest = path;
    var links: usize = 0;
    while (rest.len > 0) {
        const name, rest = std.mem.cutScalar(u8, rest, '/') orelse .{ rest, "" };
        if (name.len == 0 or std.mem.eql(u8, name, ".")) continue;
        if (std.mem.eql(u8, name, "..")) {
            done.shrinkRetainingCapacity(std.mem.findScalarLast(u8, done.items, '/') orelse 0);
            continue;
        }
        const parent = done.items.len;
        try done.append(arena, '/');
        try done.appendSlice(arena, name);
        const here = try arena.dupeSentinel(u8, done.items, 0);
        const at_symlink_nofollow = 0x100;
        var st: std.os.linux.Statx = undefined;
        sys.do(.statx, .{ sys.at_fdcwd, here.ptr, at_symlink_nofollow, 1, &st }) catch |err| {
            if (err != error.NOENT or make == .nothing) return err;
            const above = if (shared) try open(arena, here[0..parent]) else sys.at_fdcwd;
            defer if (shared) sys.close(above);
            const name_there = if (shared) here[parent + 1 ..] else here;
            if (rest.len > 0 or make == .directory)
                try sys.do(.mkdirat, .{ above, name_there.ptr, 0o755 })
            else
                sys.close(try createAt(above, name_there));
            continue;
        };
        if (st.mode & 0o170000 != 0o120000) continue;
        links += 1;
        if (links > links_max) return error.LOOP;
        const buf = try arena.alloc(u8, std.posix.PATH_MAX);
        const target = buf[0..try sys.call(
            .readlinkat,
            .{ sys.at_fdcwd, here.ptr, buf.ptr, buf.len },
        )];
        done.shrinkRetainingCapacity(if (target.len > 0 and target[0] == '/') 0 else parent);
        rest = try std.mem.concat(arena, u8, &.{ target, "/", rest });
    }
    if (done.items.len == 0) try done.append(arena, '/');
    return arena.dupeSentinel(u8, done.items, 0);
}

/// Opens what a path leads to that `resolve` returned (O_PATH). A symbolic link that has appeared
/// in it since is not followed: the open fails.
pub fn open(arena: std.mem.Allocator, path: []const u8) !sys.fd_t {
    const how: sys.O = .{ .PATH = true, .NOFOLLOW = true, .CLOEXEC = true };
    var fd = try sys.openat(sys.at_fdcwd, "/", how, 0);
    errdefer sys.close(fd);
    var names = std.mem.tokenizeScalar(u8, path, '/');
    while (names.next()) |name| {
        const next = try sys.openat(fd, try arena.dupeSentinel(u8, name, 0), how, 0);
        sys.close(fd);
        fd = next;
    }
    return fd;
}

/// A new, empty file.
pub fn createAt(dir: sys.fd_t, path: [*:0]const u8) sys.Error!sys.fd_t {
    return sys.openat(
        dir,
        path,
        .{ .ACCMODE = .WRONLY, .CREAT = true, .EXCL = true, .NOFOLLOW = true, .CLOEXEC = true },
        0o644,
    );
}
