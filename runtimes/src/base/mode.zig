//! Changing the rights of what a name is (chmod(2)). fchmodat(2) follows links, and a link may have
//! taken the name's place since it was looked at.
const sys = @import("syscalls.zig");

/// Of what a link leads to, nothing changes.
pub fn change(dir: sys.fd_t, name: [*:0]const u8, mode: u32) sys.Error!void {
    const fd = try sys.openat(dir, name, .{ .PATH = true, .NOFOLLOW = true, .CLOEXEC = true }, 0);
    defer sys.close(fd);
    return changeOpen(fd, mode);
}

/// Of what was opened by its path alone, and is no link.
pub fn changeOpen(fd: sys.fd_t, mode: u32) sys.Error!void {
    var path: [32:0]u8 = undefined;
    return sys.do(.fchmodat, .{ sys.at_fdcwd, sys.fdPath(&path, fd), mode });
}
