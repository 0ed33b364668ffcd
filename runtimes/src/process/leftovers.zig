//! What a run has made outside of memory, and how it is removed.
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const errno = @import("../base/errno.zig");
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const RunDir = @import("../base/run_dir.zig").RunDir;

/// Directories of this run, to be removed when its app is gone.
pub const Leftovers = struct {
    trees: [2]?RunDir = .{ null, null },
    /// The root that is mounted from one of them, and the mounts in it, keep its directories from
    /// being removed.
    root: ?sys.fd_t = null,
    mounts: ?MountNamespace = null,

    pub fn discard(self: Leftovers) void {
        if (self.root) |fd| if (self.mounts) |namespace| {
            namespace.abandon(fd) catch |err| log.debug("mounts: {s}", .{errno.text(err)});
            sys.close(fd);
        };
        for (self.trees) |tree| if (tree) |t| t.discard();
    }
};
