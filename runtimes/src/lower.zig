//! The payload as a mounted file system, at `lower` of the workspace: for real root the kernel's
//! squashfs on a loop device, else (and where that is not to be had) our own FUSE server.
//! Neither may be possible; rootfs.zig then knows what else to do.
const std = @import("std");
const sys = @import("sys.zig");
const text = @import("text.zig");
const log = @import("log.zig");
const Affinity = @import("affinity.zig").Affinity;
const userns = @import("userns.zig");
const Image = @import("squashfs/image.zig").Image;
const Reader = @import("squashfs/reader.zig").Reader;
const blocks = @import("squashfs/blocks.zig");
const read_max = @import("fuse/operations.zig").read_max;
const server = @import("fuse/server.zig");

pub fn mount(arena: std.mem.Allocator, reader: *Reader, ids: userns.Ids, uid: u32, gid: u32, anywhere: Affinity) !void {
    if (ids == .host) {
        if (mountLoop(arena, reader.image)) |_| {
            log.debug("payload mounted by the kernel", .{});
            return;
        } else |err| log.debug("no loop device with squashfs: {s}", .{sys.text(err)});
    }
    const owner: ?server.Owner = if (ids == .single) .{ .uid = uid, .gid = gid } else null;
    const mounter: server.Owner = owner orelse .{ .uid = 0, .gid = 0 };
    // The kernel wants /dev/fuse opened in the user namespace that mounts it.
    const device = try sys.openat(sys.at_fdcwd, "/dev/fuse", .{ .ACCMODE = .RDWR, .CLOEXEC = true }, 0);
    const options = try text.alloc(arena, "fd={d},rootmode=40000,user_id={d},group_id={d},allow_other,default_permissions,max_read={d}", .{ device, mounter.uid, mounter.gid, read_max });
    try sys.mount("dockerc", "lower", "fuse", sys.MS.rdonly | sys.MS.nodev, options);
    const root = try sys.openat(sys.at_fdcwd, "lower", .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true }, 0);
    const serving = try arena.create(server.Server);
    serving.* = .{ .reader = reader, .owner = owner, .device = device, .root = root, .anywhere = anywhere };
    try serving.start(threadCount());
    log.debug("payload mounted by FUSE", .{});
}

fn threadCount() usize {
    return std.math.clamp(sys.processors(), 2, blocks.threads_max - 1);
}

// linux/loop.h
const loop_get_free = 0x4c82;
const loop_configure = 0x4c0a;
const LoopConfig = extern struct {
    fd: u32,
    block_size: u32 = 0,
    device: u64 = 0,
    inode: u64 = 0,
    rdevice: u64 = 0,
    offset: u64,
    /// To the end of the file: a limit in the middle of a sector would cut that off.
    size_limit: u64 = 0,
    number: u32 = 0,
    encrypt_type: u32 = 0,
    encrypt_key_size: u32 = 0,
    flags: u32 = read_only | autoclear,
    names_and_key: [64 + 64 + 32]u8 = @splat(0),
    init: [2]u64 = @splat(0),
    reserved: [8]u64 = @splat(0),

    const read_only = 1;
    const autoclear = 4;
};

/// Auto-clear: the device lets go of the file when the mount vanishes.
fn mountLoop(arena: std.mem.Allocator, image: *const Image) !void {
    const control = try sys.openat(sys.at_fdcwd, "/dev/loop-control", .{ .ACCMODE = .RDWR, .CLOEXEC = true }, 0);
    defer sys.close(control);
    // Another process may take the free device before us.
    for (0..64) |_| {
        const number = try sys.call(.ioctl, .{ control, loop_get_free, 0 });
        const path = try text.alloc(arena, "/dev/loop{d}", .{number});
        const device = try sys.openat(sys.at_fdcwd, path, .{ .ACCMODE = .RDONLY, .CLOEXEC = true }, 0);
        defer sys.close(device);
        const config: LoopConfig = .{ .fd = @intCast(image.fd), .offset = image.start };
        sys.do(.ioctl, .{ device, loop_configure, &config }) catch |err| {
            if (err == error.BUSY) continue;
            return err;
        };
        return sys.mount(path, "lower", "squashfs", sys.MS.rdonly | sys.MS.nodev, null);
    }
    return error.BUSY;
}

comptime {
    std.debug.assert(@sizeOf(LoopConfig) == 304);
}
