//! The payload as a mounted file system, at `lower` of the workspace, by our own FUSE server. Root has
//! no other way: the kernel's squashfs driver is not for what a stranger made. Where FUSE is not to
//! be had, rootfs.zig knows what else to do.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const log = @import("../base/log.zig");
const Affinity = @import("../process/cpu_policy.zig").Affinity;
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const userns = @import("../namespaces/userns.zig");
const Reader = @import("../squashfs/reader.zig").Reader;
const blocks = @import("../squashfs/blocks.zig");
const read_max = @import("../fuse/channel.zig").read_max;
const Owner = @import("../fuse/requests.zig").Owner;
const server = @import("../fuse/server.zig");

pub fn mount(arena: std.mem.Allocator, namespace: MountNamespace, reader: *Reader, ids: userns.Ids, uid: u32, gid: u32, caller_mask: Affinity) !void {
    const owner: ?Owner = if (ids == .single) .{ .uid = uid, .gid = gid } else null;
    const mounter: Owner = owner orelse .{ .uid = 0, .gid = 0 };
    // The kernel wants /dev/fuse opened in the user namespace that mounts it.
    const device = try sys.openat(sys.at_fdcwd, "/dev/fuse", .{ .ACCMODE = .RDWR, .CLOEXEC = true }, 0);
    const options = try text.alloc(arena, "fd={d},rootmode=40000,user_id={d},group_id={d},allow_other,default_permissions,max_read={d}", .{ device, mounter.uid, mounter.gid, read_max });
    try namespace.mount("dockerc", "lower", "fuse", sys.MS.rdonly | sys.MS.nodev, options);
    const root = try sys.openat(sys.at_fdcwd, "lower", .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true }, 0);
    const serving = try arena.create(server.Server);
    serving.* = .{ .arena = arena, .reader = reader, .owner = owner, .device = device, .root = root, .caller_mask = caller_mask };
    try serving.start(threadCount());
    log.debug("payload mounted by FUSE", .{});
}

fn threadCount() usize {
    return std.math.clamp(sys.processors(), 2, blocks.threads_max - 1);
}
