//! Paths inside the container's root, resolved by hand: a symbolic link of the image leads to
//! where its text leads inside the root, never out of it, and never through the magic links of
//! /proc. What is missing can be made. Nothing of the image runs yet, so nothing changes under us.
const std = @import("std");
const sys = @import("../base/syscalls.zig");

pub const Make = enum { nothing, directory, file };

/// The kernel's own bound.
const links_max = 40;

/// The same path without symbolic links. The root directory is the container's.
pub fn resolve(arena: std.mem.Allocator, path: []const u8, make: Make) ![:0]const u8 {
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
            if (rest.len > 0 or make == .directory) {
                try sys.mkdir(here, 0o755);
            } else {
                sys.close(try sys.openat(sys.at_fdcwd, here, .{
                    .ACCMODE = .WRONLY,
                    .CREAT = true,
                    .EXCL = true,
                    .NOFOLLOW = true,
                    .CLOEXEC = true,
                }, 0o644));
            }
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
