//! Whether an open directory is ours, in the machine's ids. The uid that a user namespace shows
//! does not tell: all ids that are not mapped are shown as one, which may be the one that ours is
//! mapped to (overflowuid, user_namespaces(7)).
const sys = @import("syscalls.zig");
const Statx = @import("std").os.linux.Statx;

/// Its status, or PERM. The descriptor must not be one of O_PATH.
pub fn check(fd: sys.fd_t) sys.Error!Statx {
    const st = try sys.stat(fd, "");
    if (st.uid != sys.raw(.geteuid, .{})) return error.PERM;
    // Nobody but the owner may do so (chmod(2)), though nothing is changed by it.
    try sys.do(.fchmod, .{ fd, st.mode & 0o7777 });
    return st;
}
