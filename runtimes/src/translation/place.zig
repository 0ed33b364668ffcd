//! Where a path of the translated program leads on the machine.
const sys = @import("../base/syscalls.zig");
const Layer = @import("tree.zig").Layer;
const Mount = @import("mounts.zig").Mount;

/// A directory.
pub const Directory = struct {
    fd: sys.fd_t,
    /// The program's path, without links, "" for the root.
    path: []const u8,
    where: Where,
    /// Followed to reach it by the name that it is known by.
    links: u32 = 0,
};

pub const Where = union(enum) {
    tree: Layer,
    mount: *const Mount,

    pub fn isProc(self: Where) bool {
        return self == .mount and self.mount.is_proc;
    }
};

/// A name in a directory of the machine, "." for the directory itself.
pub const Place = struct {
    dir: sys.fd_t,
    name: [*:0]const u8,
    /// The program's path, without links.
    path: []const u8,
    where: Where,
    /// 0 if nothing is there.
    mode: u32 = 0,
    inode: u64 = 0,
    /// A link of the kernel's, which leads to an open file.
    magic: bool = false,
    /// The path ends with a slash.
    slash: bool = false,

    pub fn exists(self: *const Place) bool {
        return self.mode != 0;
    }

    pub fn is(self: *const Place, kind: u32) bool {
        return self.mode & 0o170000 == kind;
    }

    pub fn isItself(self: *const Place) bool {
        return self.name[0] == '.' and self.name[1] == 0;
    }
};

pub const directory = 0o040000;
pub const link = 0o120000;
pub const regular = 0o100000;
pub const pipe = 0o010000;
pub const character_device = 0o020000;
