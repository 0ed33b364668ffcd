//! --dockerc-extract: the payload as ordinary files in a new directory that only the caller may
//! enter.
const std = @import("std");
const log = @import("base/log.zig");
const errno = @import("base/errno.zig");
const ownership = @import("base/ownership.zig");
const remove = @import("base/remove.zig");
const sys = @import("base/syscalls.zig");
const Owners = @import("namespaces/owners.zig").Owners;
const Reader = @import("squashfs/reader.zig").Reader;
const Unpacking = @import("rootfs/unpack.zig").Unpacking;

pub fn run(arena: std.mem.Allocator, reader: *Reader, path: []const u8, privileged: bool) !void {
    const base = std.fs.path.basename(path);
    const name = try arena.dupeSentinel(u8, base, 0);
    const above = try arena.dupeSentinel(u8, std.fs.path.dirname(path) orelse ".", 0);
    const flags: sys.O = .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };
    const place: sys.O = .{ .DIRECTORY = true, .CLOEXEC = true };
    const parent = sys.openat(sys.at_fdcwd, above, place, 0) catch |err|
        log.die("cannot make {s}: {s}", .{ path, errno.text(err) });
    sys.do(.mkdirat, .{ parent, name.ptr, 0o700 }) catch |err|
        log.die("cannot make {s}: {s}", .{ path, errno.text(err) });
    const into = try sys.openat(parent, name, flags, 0);
    // Where others may rename it, it could be a different one.
    if ((try ownership.check(into)).mode & 0o077 != 0) return error.PERM;
    var unpacking: Unpacking = .{
        .arena = arena,
        .reader = reader,
        .into = into,
        .owners = if (sys.raw(.geteuid, .{}) == 0) &Owners.all else null,
        .privileged = privileged,
    };
    unpacking.run("") catch |err| {
        remove.tree(parent, name) catch {};
        log.die("cannot unpack to {s}: {s}", .{ path, errno.text(err) });
    };
    const left_out = unpacking.left_out.load(.monotonic);
    if (left_out > 0) log.note("{s} is without {d} device nodes, set-id bits and security " ++
        "attributes of the image; --dockerc-privileged-files keeps them", .{ path, left_out });
}
