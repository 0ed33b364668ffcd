//! The payload as a mounted file system, at `lower` of the workspace, by our own FUSE server. Root
//! uses it too: the kernel's squashfs driver is not safe for images that somebody else made. Where
//! FUSE is not available, rootfs.zig chooses another way.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const log = @import("../base/log.zig");
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const blocks = @import("../squashfs/blocks.zig");
const read_max = @import("../fuse/channel.zig").read_max;
const Server = @import("../fuse/server.zig").Server;

/// `server` gets its device and the mount's root here, and is started.
pub fn mount(namespace: MountNamespace, server: *Server) !void {
    const user, const group = .{ server.owners.uids.present(0), server.owners.gids.present(0) };
    const device_flags: sys.O = .{ .ACCMODE = .RDWR, .CLOEXEC = true };
    // The kernel wants /dev/fuse opened in the user namespace that mounts it.
    server.device = try sys.openat(sys.at_fdcwd, "/dev/fuse", device_flags, 0);
    const format = "fd={d},rootmode=40000,user_id={d},group_id={d}," ++
        "allow_other,default_permissions,max_read={d}";
    const args = .{ server.device, user, group, read_max };
    const options = try text.alloc(server.arena, format, args);
    try namespace.mount("dockerc", "lower", "fuse", sys.MS.rdonly | sys.MS.nodev, options);
    const root_flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
    server.root = try sys.openat(sys.at_fdcwd, "lower", root_flags, 0);
    try server.start(threadCount());
    log.debug("payload mounted by FUSE", .{});
}

fn threadCount() usize {
    return std.math.clamp(sys.processors(), 2, blocks.threads_max - 1);
}
