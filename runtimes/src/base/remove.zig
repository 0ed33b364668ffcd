//! Removing a directory with all that is in it (unlinkat(2)).
const mode = @import("mode.zig");
const sys = @import("syscalls.zig");
const text = @import("text.zig");
const DirIterator = @import("dir_iter.zig").DirIterator;

const at_removedir = 0x200;

pub fn directory(dir: sys.fd_t, name: [*:0]const u8) sys.Error!void {
    return sys.do(.unlinkat, .{ dir, name, at_removedir });
}

/// What is no directory.
pub fn file(dir: sys.fd_t, name: [*:0]const u8) sys.Error!void {
    return sys.do(.unlinkat, .{ dir, name, 0 });
}

/// Mounts on it or in it stay, and so do the directories above them.
pub fn tree(dir: sys.fd_t, name: [*:0]const u8) sys.Error!void {
    return level(dir, name, null, (try sys.stat(dir, "")).mnt_id);
}

/// A directory in `dir`, which is `top`, the tree's own, unless it is the tree itself. What is
/// deeper is moved up first: descending to it could take more descriptors and memory than there
/// are. Only what is on the same mount is listed, as the open directory tells: a bind mount may be
/// of the same file system.
fn level(dir: sys.fd_t, name: [*:0]const u8, top: ?sys.fd_t, mount: u64) sys.Error!void {
    if (directory(dir, name)) |_| return else |err| switch (err) {
        error.NOENT => return,
        error.NOTDIR => return sys.do(.unlinkat, .{ dir, name, 0 }),
        error.NOTEMPTY, error.EXIST => {},
        else => return err,
    }
    const fd = sys.openat(
        dir,
        name,
        .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true },
        0,
    ) catch |err| blk: {
        if (err != error.ACCES) return err;
        try allow(dir, name, mount);
        break :blk try sys.openat(
            dir,
            name,
            .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true },
            0,
        );
    };
    defer sys.close(fd);
    const st = try sys.stat(fd, "");
    if (st.mnt_id != mount) return error.XDEV;
    if (st.mode & rights != rights) try sys.do(.fchmod, .{ fd, rights });
    // Removing what was listed does not disturb the listing, but one pass may not see all.
    while (try pass(fd, top, mount)) {}
    return directory(dir, name);
}

const rights = 0o700;

/// Its owner may have taken these from himself.
fn allow(dir: sys.fd_t, name: [*:0]const u8, mount: u64) sys.Error!void {
    const flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };
    const fd = try sys.openat(dir, name, flags, 0);
    defer sys.close(fd);
    if ((try sys.stat(fd, "")).mnt_id != mount) return error.XDEV;
    return mode.changeOpen(fd, rights);
}

fn pass(fd: sys.fd_t, top: ?sys.fd_t, mount: u64) sys.Error!bool {
    var list: DirIterator = .{ .fd = fd };
    try sys.do(.lseek, .{ fd, 0, 0 });
    var any = false;
    while (try list.next()) |name| {
        sys.do(.unlinkat, .{ fd, name, 0 }) catch |err| switch (err) {
            // The second one is what unlink(2) says of a directory on some file systems.
            error.ISDIR, error.PERM => if (top) |t|
                try raise(fd, name, t, mount)
            else
                try level(fd, name, fd, mount),
            else => return err,
        };
        any = true;
    }
    return any;
}

fn raise(dir: sys.fd_t, name: [*:0]const u8, top: sys.fd_t, mount: u64) sys.Error!void {
    if (directory(dir, name)) |_|
        return
    else |err| if (err != error.NOTEMPTY and err != error.EXIST) return err;
    var allowed = false;
    var number: u32 = 0;
    while (true) : (number += 1) {
        var free: [16]u8 = undefined;
        free[text.print(&free, "{d}", .{number}).len] = 0;
        return sys.do(.renameat, .{ dir, name, top, &free }) catch |err| switch (err) {
            error.NOTEMPTY, error.EXIST, error.NOTDIR => continue,
            // Its `..` changes (rename(2)).
            error.ACCES => {
                if (allowed) return err;
                allowed = true;
                try allow(dir, name, mount);
                continue;
            },
            else => err,
        };
    }
}
