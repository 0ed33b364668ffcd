//! The executable that the runtime is a part of, and the payload in it.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const footer = @import("footer.zig");

/// A disk has whole sectors, so its size says not how large the file is.
pub const OwnFile = struct { fd: sys.fd_t, size: ?u64 = null };

/// Our own file, on a descriptor above the standard three: if the caller closed one of those, it
/// stays closed for the app.
pub fn open() !sys.fd_t {
    while (true) {
        const fd = sys.openat(sys.at_fdcwd, "/proc/self/exe", .{ .CLOEXEC = true }, 0) catch |err|
            if (err == error.NOENT)
                log.die("/proc is not mounted: the runtime finds its own file by it", .{})
            else
                log.die("cannot read my own file: {s}", .{errno.text(err)});
        if (fd > 2) return fd;
    }
}

/// Another executable.
pub fn openOther(arena: std.mem.Allocator, path: []const u8) !sys.fd_t {
    const name = try arena.dupeSentinel(u8, path, 0);
    return sys.openat(sys.at_fdcwd, name, .{ .CLOEXEC = true }, 0) catch |err|
        log.die("cannot read {s}: {s}", .{ path, errno.text(err) });
}

const File = struct {
    fd: sys.fd_t,

    pub fn readAt(self: File, buf: []u8, offset: u64) !usize {
        return sys.preadAll(self.fd, buf, offset);
    }
};

pub fn findPayload(self: OwnFile) footer.Payload {
    const size = self.size orelse sys.fileSize(self.fd) catch |err|
        log.die("cannot read my own file: {s}", .{errno.text(err)});
    var compressor: []const u8 = "";
    return footer.find(File{ .fd = self.fd }, size, &compressor) catch |err| switch (err) {
        error.NoPayload => log.die("this file has no payload: it is incomplete or stripped " ++
            "(compare its size and checksum with the original's), or a runtime alone", .{}),
        error.Truncated => log.die("this file is incomplete: its payload is cut off " ++
            "(compare its size and checksum with the original's)", .{}),
        error.Compressor => log.die("this runtime reads payloads compressed with zstd, and " ++
            "this one is compressed with {s}", .{compressor}),
        error.Corrupt => log.die("the payload is damaged: its superblock is not valid", .{}),
        else => log.die("cannot read my own file: {s}", .{errno.text(err)}),
    };
}
