//! Files of the machine for the container, opened.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const MS = sys.MS;

/// A file or directory of the machine for the container; opened before our mounts hide it.
pub const Source = struct {
    fd: sys.fd_t,
    directory: bool,
    /// As it was opened.
    name: []const u8,
    /// The descriptor is a mount of its own, of the directory as it was then.
    detached: bool = false,

    pub fn open(path: [*:0]const u8) sys.Error!Source {
        const fd = try sys.openat(sys.at_fdcwd, path, .{ .PATH = true, .CLOEXEC = true }, 0);
        return .{
            .fd = fd,
            .directory = sys.isDirectory(try sys.fdMode(fd)),
            .name = std.mem.span(path),
        };
    }

    /// A path through the machine's /proc, valid while the machine's root is our working directory.
    pub fn machinePath(self: Source, buf: *[32:0]u8) [*:0]const u8 {
        return sys.fdPath(buf, self.fd) + 1;
    }
};

pub const Volume = struct {
    source: Source,
    destination: []const u8,
    readonly: bool,

    pub fn flags(self: Volume) usize {
        return if (self.readonly) MS.rdonly else 0;
    }
};
