//! Node ids: references to inodes, moved up to leave 1 to the root (FUSE_ROOT_ID).
const root_id = @import("protocol.zig").root_id;
const Reference = @import("../squashfs/inode.zig").Reference;

const first = root_id + 1;

pub fn of(reference_: Reference) u64 {
    return reference_ + first;
}

/// Null for the root, which is not found by its id, and for what is no id.
pub fn reference(nodeid: u64) ?Reference {
    return if (nodeid < first) null else nodeid - first;
}
