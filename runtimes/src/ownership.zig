//! Whether an open directory is ours and nobody else's, in the machine's ids: what an id of the file
//! system is called in a user namespace does not tell, for all that are not mapped have one name,
//! and it may be the name of our own (overflowuid, user_namespaces(7)).
const sys = @import("sys.zig");
const Statx = @import("std").os.linux.Statx;

/// Its status, or PERM. The descriptor must not be one of O_PATH.
pub fn check(fd: sys.fd_t) sys.Error!Statx {
    const st = try sys.stat(fd, "");
    if (st.uid != sys.raw(.geteuid, .{})) return error.PERM;
    // Nobody but the owner may do so (chmod(2)), though nothing is changed by it.
    try sys.do(.fchmod, .{ fd, st.mode & 0o7777 });
    return st;
}
