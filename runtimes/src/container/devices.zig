//! /dev of the container: the six devices that every container has (the runtime specification's
//! "default devices") and its links. They are the machine's, bound: a user namespace may not make
//! device nodes, and on a mount where root's could be opened, all that its app makes could be, too.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const text = @import("../base/text.zig");
const log = @import("../base/log.zig");
const path_in_root = @import("path_in_root.zig");
const DirIterator = @import("../base/dir_iter.zig").DirIterator;
const Ids = @import("../namespaces/userns.zig").Ids;
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;

const Device = struct { name: []const u8, major: u32, minor: u32 };
const devices = [_]Device{
    .{ .name = "null", .major = 1, .minor = 3 },
    .{ .name = "zero", .major = 1, .minor = 5 },
    .{ .name = "full", .major = 1, .minor = 7 },
    .{ .name = "random", .major = 1, .minor = 8 },
    .{ .name = "urandom", .major = 1, .minor = 9 },
    .{ .name = "tty", .major = 5, .minor = 0 },
};

const links = [_]struct { name: [:0]const u8, target: [:0]const u8 }{
    .{ .name = "fd", .target = "/proc/self/fd" },
    .{ .name = "stdin", .target = "/proc/self/fd/0" },
    .{ .name = "stdout", .target = "/proc/self/fd/1" },
    .{ .name = "stderr", .target = "/proc/self/fd/2" },
    .{ .name = "core", .target = "/proc/kcore" },
    .{ .name = "ptmx", .target = "pts/ptmx" },
};

/// Of the image where nothing can be mounted: `namespace` is null then.
pub fn make(arena: std.mem.Allocator, namespace: ?MountNamespace, ids: Ids) !void {
    const dev = try path_in_root.resolve(arena, "/dev", .directory);
    for (devices) |device| makeOne(arena, dev, device, namespace, ids) catch |err|
        log.debug("no /dev/{s}: {s}", .{ device.name, errno.text(err) });
    for (links) |link| {
        const path = try text.alloc(arena, "{s}/{s}", .{ dev, link.name });
        sys.do(.symlinkat, .{ link.target.ptr, sys.at_fdcwd, path.ptr }) catch |err|
            if (err != error.EXIST) return err;
    }
}

/// The machine's other devices, and its directories of devices (--privileged).
pub fn showAll(arena: std.mem.Allocator, namespace: MountNamespace) !void {
    var list: DirIterator = .{
        .fd = try sys.openat(sys.at_fdcwd, "dev", .{ .DIRECTORY = true, .CLOEXEC = true }, 0),
    };
    defer sys.close(list.fd);
    while (try list.next()) |name| {
        const path = try text.alloc(arena, "/dev/{s}", .{name});
        const st = sys.stat(list.fd, name) catch continue;
        if (st.mode & 0o170000 == 0o120000 or isThere(path)) continue;
        const target = path_in_root.resolve(
            arena,
            path,
            if (sys.isDirectory(st.mode)) .directory else .file,
        ) catch continue;
        if (target.len == 1) continue;
        namespace.mount(path[1..], target, null, sys.MS.bind | sys.MS.rec, null) catch |err|
            log.debug("no {s}: {s}", .{ path, errno.text(err) });
    }
}

/// The machine's node, bound; read-only, so that root's app cannot change its mode or owner, which
/// keeps nobody from writing to the device. A node of our own would need a mount in which any
/// device that the app makes can be opened.
fn makeOne(
    arena: std.mem.Allocator,
    dev: [:0]const u8,
    device: Device,
    mounts: ?MountNamespace,
    ids: Ids,
) !void {
    const path = try text.alloc(arena, "{s}/{s}", .{ dev, device.name });
    const namespace = mounts orelse {
        const char_device = 0o020666;
        try sys.do(
            .mknodat,
            .{ sys.at_fdcwd, path.ptr, char_device, device.major << 8 | device.minor },
        );
        // The mode less the umask is not what is wanted.
        return sys.do(.fchmodat, .{ sys.at_fdcwd, path.ptr, 0o666 });
    };
    const target = if (makeFile(path)) |_|
        path
    else |_|
        try path_in_root.resolve(arena, path, .file);
    if (target.len == 1) return error.INVAL;
    try namespace.mount(try text.alloc(arena, "dev/{s}", .{
        device.name,
    }), target, null, sys.MS.bind, null);
    // In a user namespace of ours the machine's root is not there.
    if (ids == .host or ids == .outer) try namespace.restrict(target, sys.MS.rdonly);
}

/// Where nothing stands yet, as on the /dev that was mounted just now.
fn makeFile(path: [*:0]const u8) sys.Error!void {
    sys.close(try sys.openat(
        sys.at_fdcwd,
        path,
        .{ .ACCMODE = .WRONLY, .CREAT = true, .EXCL = true, .NOFOLLOW = true, .CLOEXEC = true },
        0o644,
    ));
}

fn isThere(path: [*:0]const u8) bool {
    return if (sys.stat(sys.at_fdcwd, path)) |_| true else |_| false;
}
