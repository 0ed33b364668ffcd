//! What of the machine a container is shown, opened.
const sys = @import("../base/syscalls.zig");
const MS = sys.MS;

/// Something of the machine to be seen in the container; opened before our mounts hide it.
pub const Source = struct {
    fd: sys.fd_t,
    directory: bool,

    pub fn open(path: [*:0]const u8) sys.Error!Source {
        const fd = try sys.openat(sys.at_fdcwd, path, .{ .PATH = true, .CLOEXEC = true }, 0);
        return .{ .fd = fd, .directory = sys.isDirectory(try sys.fdMode(fd)) };
    }

    /// Through /proc of the machine: a mount point as long as the machine's root is our working
    /// directory.
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
