//! What --overlay keeps where no overlay can be mounted: the whole root file system, unpacked by
//! the first run, which runs then change.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const remove = @import("../base/remove.zig");
const Reader = @import("../squashfs/reader.zig").Reader;
const Unpacking = @import("unpack.zig").Unpacking;

const name = "tree";
const unfinished = "tree.new";
const flags: sys.O = .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };

/// With `top` of the payload in it. `kept` is the directory that was given, locked.
pub fn open(
    arena: std.mem.Allocator,
    reader: *Reader,
    top: []const u8,
    kept: sys.fd_t,
) !sys.fd_t {
    if (reader.image.tree != null)
        log.die("--overlay: what is kept cannot be verified where no overlayfs can be " ++
            "mounted", .{});
    if (sys.lstat(kept, "upper")) |_|
        log.die("--overlay: the directory has what a run with an overlayfs wrote, and here " ++
            "there is none: name another directory", .{})
    else |err| if (err != error.NOENT) return err;
    return sys.openat(kept, name, flags, 0) catch |err| {
        if (err != error.NOENT) return err;
        try remove.tree(kept, unfinished);
        try sys.do(.mkdirat, .{ kept, unfinished, 0o700 });
        const fd = try sys.openat(kept, unfinished, flags, 0);
        var unpacking: Unpacking = .{
            .arena = arena,
            .reader = reader,
            .into = fd,
            .owners = null,
        };
        try unpacking.run(top);
        try sys.do(.syncfs, .{fd});
        try sys.do(.renameat, .{ kept, unfinished, kept, name });
        return fd;
    };
}

/// Ends the start if such a tree is there: an overlayfs would not show it.
pub fn refuse(kept: sys.fd_t) void {
    if (sys.lstat(kept, name)) |_|
        log.die("--overlay: the directory has what a run without user namespaces wrote: name " ++
            "another directory, or set DOCKERC_FORCE=translate", .{})
    else |_| {}
}
