//! The standard streams of a process in the container, as far as they are the machine's.
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");

const all = [_]sys.fd_t{ 0, 1, 2 };

/// Gives pipes to the app's user, who may open them again (/dev/stdout), as runc does. Files keep
/// their owner, and so do pipes that have a name: they are the machine's.
pub fn give(uid: u32) void {
    for (all) |fd| {
        const st = sys.stat(fd, "") catch continue;
        if (st.mode & 0o170000 != 0o010000 or st.uid == uid) continue;
        if ((sys.fileSystem(fd) catch continue) != pipefs) continue;
        sys.do(.fchown, .{ fd, uid, -1 }) catch |err|
            log.debug("stream {d}: {s}", .{ fd, errno.text(err) });
    }
}

const pipefs = 0x5049_5045;

pub fn refuseDirectories() void {
    for (all) |fd| {
        const st = sys.stat(fd, "") catch continue;
        if (sys.isDirectory(st.mode)) log.die("standard stream {d} is a directory: the app " ++
            "would leave its root by it", .{fd});
    }
}

/// Replaces the machine's /dev/null by the container's: root's app could change the mode of the
/// machine's. With `required`, something else may have been put there, and ends the start.
pub fn replaceNullDevice(required: bool) sys.Error!void {
    const path = "/dev/null";
    for (all) |fd| {
        if (!isNullDevice(fd, "")) continue;
        const get_flags = 3;
        const access: u2 = @truncate(try sys.call(.fcntl, .{ fd, get_flags, 0 }));
        // Not opened if it is a pipe, which could keep us waiting.
        if (required and !isNullDevice(sys.at_fdcwd, path)) refuse();
        const own = sys.openat(sys.at_fdcwd, path, @bitCast(@as(u32, access)), 0) catch
            if (required) refuse() else continue;
        if (required and !isNullDevice(own, "")) refuse();
        try sys.do(.dup3, .{ own, fd, 0 });
        sys.close(own);
    }
}

fn refuse() noreturn {
    log.die("/dev/null of the run is not the null device: refusing to pass the machine's on", .{});
}

fn isNullDevice(dir: sys.fd_t, path: [*:0]const u8) bool {
    const st = sys.stat(dir, path) catch return false;
    return st.mode & 0o170000 == 0o020000 and st.rdev_major == 1 and st.rdev_minor == 3;
}
