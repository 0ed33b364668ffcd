//! Messages between a run and the keeper of its mount. Both are the same executable.
const std = @import("std");
const Ids = @import("../namespaces/userns.zig").Ids;

/// From a run that has found the keeper: how many seconds it should stay after this run.
pub const Hello = extern struct { linger: u32 };

/// From the payload's server to its keeper, and from that to a run. With `ready` come the mount
/// namespace that has the mount, and the user namespace, if it is not the caller's.
pub const Reply = extern struct {
    kind: Kind,
    ids: u8 = 0,
    /// Why there is no mount.
    failure: u8 = 0,
    /// Of the mount's file system.
    device: u64 = 0,

    pub const Kind = enum(u8) { ready, unavailable, _ };

    pub fn idsOf(self: Reply) ?Ids {
        return std.enums.fromInt(Ids, self.ids);
    }
};

/// Of the mount, in its namespace.
pub const payload_path = "/lower";

pub fn deviceOf(st: std.os.linux.Statx) u64 {
    return @as(u64, st.dev_major) << 32 | st.dev_minor;
}
