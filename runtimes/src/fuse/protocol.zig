//! The FUSE kernel protocol as far as a read-only file system needs it (linux/fuse.h, 7.36).
const std = @import("std");

pub const major = 7;
pub const minor = 36;
pub const root_id = 1;

pub const Opcode = enum(u32) {
    lookup = 1,
    forget = 2,
    getattr = 3,
    setattr = 4,
    readlink = 5,
    symlink = 6,
    mknod = 8,
    mkdir = 9,
    unlink = 10,
    rmdir = 11,
    rename = 12,
    link = 13,
    open = 14,
    read = 15,
    write = 16,
    statfs = 17,
    setxattr = 21,
    getxattr = 22,
    listxattr = 23,
    removexattr = 24,
    init = 26,
    opendir = 27,
    readdir = 28,
    interrupt = 36,
    destroy = 38,
    batch_forget = 42,
    readdirplus = 44,
    create = 35,
    rename2 = 45,
    _,
};

pub const InHeader = extern struct {
    len: u32,
    opcode: Opcode,
    unique: u64,
    nodeid: u64,
    uid: u32,
    gid: u32,
    pid: u32,
    extension_len: u16,
    padding: u16,
};

pub const OutHeader = extern struct {
    len: u32,
    /// A negated errno; the code of a notification when `unique` is 0.
    err: i32,
    unique: u64,
};

pub const Attr = extern struct {
    ino: u64,
    size: u64,
    blocks: u64,
    atime: u64,
    mtime: u64,
    ctime: u64,
    atime_nsec: u32 = 0,
    mtime_nsec: u32 = 0,
    ctime_nsec: u32 = 0,
    mode: u32,
    nlink: u32,
    uid: u32,
    gid: u32,
    rdev: u32,
    block_size: u32,
    flags: u32 = 0,
};

pub const EntryOut = extern struct {
    nodeid: u64,
    generation: u64 = 0,
    entry_valid: u64,
    attr_valid: u64,
    entry_valid_nsec: u32 = 0,
    attr_valid_nsec: u32 = 0,
    attr: Attr,
};

pub const AttrOut = extern struct {
    attr_valid: u64,
    attr_valid_nsec: u32 = 0,
    padding: u32 = 0,
    attr: Attr,
};

pub const InitIn = extern struct {
    major: u32,
    minor: u32,
    readahead_max: u32,
    flags: u32,
};

pub const InitOut = extern struct {
    major: u32,
    minor: u32,
    readahead_max: u32,
    flags: u32,
    background_max: u16,
    congestion_threshold: u16,
    write_max: u32,
    time_gran: u32,
    pages_max: u16,
    map_alignment: u16 = 0,
    flags2: u32 = 0,
    stack_depth_max: u32 = 0,
    unused: [6]u32 = @splat(0),
};

pub const flag = struct {
    pub const readdirplus = 1 << 13;
    pub const readdirplus_auto = 1 << 14;
    pub const no_open_support = 1 << 17;
    pub const parallel_dirops = 1 << 18;
    pub const max_pages = 1 << 22;
    pub const cache_symlinks = 1 << 23;
    pub const no_opendir_support = 1 << 24;
};

pub const ReadIn = extern struct {
    handle: u64,
    offset: u64,
    size: u32,
    read_flags: u32,
    lock_owner: u64,
    flags: u32,
    padding: u32,
};

pub const GetxattrIn = extern struct { size: u32, padding: u32 };
pub const GetxattrOut = extern struct { size: u32, padding: u32 = 0 };

pub const Dirent = extern struct {
    ino: u64,
    offset: u64,
    name_len: u32,
    kind: u32,

    /// To the reply to a READDIR, or with `full` to a READDIRPLUS; false if it has no room.
    pub fn append(
        self: *const Dirent,
        full: ?*const EntryOut,
        name: []const u8,
        out: *std.ArrayList(u8),
    ) bool {
        const zeros: [8]u8 = @splat(0);
        const padding = (8 - name.len % 8) % 8;
        const size = (if (full != null) @as(usize, @sizeOf(EntryOut)) else 0) +
            @sizeOf(Dirent) + name.len + padding;
        if (out.capacity - out.items.len < size) return false;
        if (full) |entry| out.appendSliceAssumeCapacity(std.mem.asBytes(entry));
        out.appendSliceAssumeCapacity(std.mem.asBytes(self));
        out.appendSliceAssumeCapacity(name);
        out.appendSliceAssumeCapacity(zeros[0..padding]);
        return true;
    }
};

pub const StatfsOut = extern struct {
    blocks: u64,
    blocks_free: u64 = 0,
    blocks_available: u64 = 0,
    files: u64,
    files_free: u64 = 0,
    block_size: u32,
    name_max: u32 = 256,
    fragment_size: u32,
    padding: u32 = 0,
    spare: [6]u32 = @splat(0),
};

pub const notify_store = 4;

pub const StoreOut = extern struct {
    nodeid: u64,
    offset: u64,
    size: u32,
    padding: u32 = 0,
};

/// FUSE_DEV_IOC_CLONE, _IOR(229, 0, uint32_t).
pub const clone_ioctl = 0x8004e500;

comptime {
    const assert = std.debug.assert;
    assert(@sizeOf(InHeader) == 40 and @sizeOf(OutHeader) == 16);
    assert(@sizeOf(EntryOut) == 128 and @sizeOf(AttrOut) == 104 and @sizeOf(InitOut) == 64);
    assert(@sizeOf(ReadIn) == 40 and @sizeOf(StatfsOut) == 80 and @sizeOf(Dirent) == 24);
}
