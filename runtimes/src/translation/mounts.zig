//! What of the machine the translated program sees below its root: volumes, /proc, /dev and /sys.
//! Nothing is mounted; paths that reach a target go on in the directory of the machine.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const below = @import("path_below.zig").below;
const Tree = @import("tree.zig").Tree;

pub const Mount = struct {
    /// The program's path, without links.
    target: []const u8,
    /// The machine's.
    host: []const u8,
    /// The directory, or the one that the file is in.
    fd: sys.fd_t,
    /// Of a file in that directory.
    name: ?[:0]const u8 = null,
    readonly: bool = false,
    /// The machine's /proc, whose links are the kernel's (proc(5)).
    is_proc: bool = false,
};

pub const Mounts = struct {
    list: []const Mount = &.{},

    pub fn at(self: *const Mounts, path: []const u8) ?*const Mount {
        for (self.list) |*mount| if (std.mem.eql(u8, mount.target, path)) return mount;
        return null;
    }

    /// What the program's path is in; null if that is the tree.
    pub fn holding(self: *const Mounts, path: []const u8) ?*const Mount {
        var found: ?*const Mount = null;
        for (self.list) |*mount| if (below(path, mount.target) != null) {
            if (found == null or found.?.target.len <= mount.target.len) found = mount;
        };
        return found;
    }

    /// The program's path of one of the machine; null if the program has none.
    pub fn guestOf(
        self: *const Mounts,
        memory: std.mem.Allocator,
        tree: *const Tree,
        path: []const u8,
    ) !?[]const u8 {
        if (path.len == 0 or path[0] != '/' or std.mem.endsWith(u8, path, " (deleted)"))
            return null;
        var longest: usize = 0;
        var found: ?[]const u8 = null;
        if (tree.guestOf(path)) |rest| {
            longest = path.len - rest.len;
            found = rest;
        }
        for (self.list) |*mount| if (below(path, mount.host)) |rest| {
            if (mount.host.len <= longest) continue;
            longest = mount.host.len;
            found = try text.alloc(memory, "{s}{s}", .{ mount.target, rest });
        };
        return found;
    }
};
