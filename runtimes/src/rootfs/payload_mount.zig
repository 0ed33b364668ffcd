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
    server.device = try mountDevice(namespace, server.arena, user, group);
    const root_flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
    server.root = try sys.openat(sys.at_fdcwd, "lower", root_flags, 0);
    try server.start(threadCount());
    log.debug("payload mounted by FUSE", .{});
}

/// Returns the device by which the mount on `lower` of the workspace is served.
pub fn mountDevice(
    namespace: MountNamespace,
    arena: std.mem.Allocator,
    user: u32,
    group: u32,
) !sys.fd_t {
    const device_flags: sys.O = .{ .ACCMODE = .RDWR, .CLOEXEC = true };
    // The kernel wants /dev/fuse opened in the user namespace that mounts it.
    const device = try sys.openat(sys.at_fdcwd, "/dev/fuse", device_flags, 0);
    const format = "fd={d},rootmode=40000,user_id={d},group_id={d}," ++
        "allow_other,default_permissions,max_read={d}";
    const options = try text.alloc(arena, format, .{ device, user, group, read_max });
    try namespace.mount("dockerc", "lower", "fuse", sys.MS.rdonly | sys.MS.nodev, options);
    return device;
}

/// Whether a mount of it is served still: asks for attributes, past the kernel's cache.
pub fn isServed(tree: sys.fd_t) bool {
    const empty_path_and_force_sync = 0x1000 | 0x2000;
    var st: std.os.linux.Statx = undefined;
    return if (sys.do(.statx, .{ tree, "", empty_path_and_force_sync, 1, &st })) |_|
        true
    else |_|
        false;
}

pub fn threadCount() usize {
    return std.math.clamp(sys.processors(), 2, blocks.threads_max - 1);
}
