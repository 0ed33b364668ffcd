//! Links of /proc that the kernel makes (proc_pid_exe(5), proc_pid_fd(5)): their text names files
//! of the machine, and following them leads there.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const quantity = @import("../cli/quantity.zig");
const text = @import("../base/text.zig");
const below = @import("path_below.zig").below;
const Directory = @import("place.zig").Directory;
const Mounts = @import("mounts.zig").Mounts;
const Thread = @import("threads.zig").Thread;
const Threads = @import("threads.zig").Threads;
const Tree = @import("tree.zig").Tree;

/// What the text of a link may name.
pub const Seen = struct {
    memory: std.mem.Allocator,
    threads: *const Threads,
    mounts: *const Mounts,
    tree: *const Tree,

    fn guestOf(self: *const Seen, path: []const u8) !?[]const u8 {
        return self.mounts.guestOf(self.memory, self.tree, path);
    }
};

pub const Target = union(enum) {
    /// The program's, to be resolved.
    path: []const u8,
    /// What the kernel would open.
    open_file,
};

/// /proc/self and /proc/thread-self would be this process's.
pub fn ownName(memory: std.mem.Allocator, viewer: *const Thread, name: []const u8) !?[:0]const u8 {
    const pid = viewer.process.pid;
    if (std.mem.eql(u8, name, "self")) return try text.alloc(memory, "{d}", .{pid});
    if (std.mem.eql(u8, name, "thread-self"))
        return try text.alloc(memory, "{d}/task/{d}", .{ pid, viewer.tid });
    return null;
}

/// Null for a link whose text is an ordinary path. What is not the program's own is not entered.
pub fn targetOf(seen: *const Seen, dir: Directory, name: [:0]const u8) !?Target {
    const inside = below(dir.path, dir.where.mount.target).?;
    if (inside.len == 0) return null;
    const number, const rest = std.mem.cutScalar(u8, inside[1..], '/') orelse .{ inside[1..], "" };
    const pid = quantity.number(i32, number) orelse return null;
    const last = rest[if (std.mem.findScalarLast(u8, rest, '/')) |at| at + 1 else 0..];
    if (std.mem.eql(u8, last, "ns")) return .open_file;
    const thread = seen.threads.find(pid);
    if (text.isOneOf(last, &.{ "fd", "map_files" })) {
        const path = try seen.guestOf(try read(seen, dir, name));
        return if (path) |own| .{ .path = nonempty(own) } else .open_file;
    }
    if (std.mem.eql(u8, name, "exe")) {
        const exe = if (thread) |known| known.process.exe else "";
        return if (exe.len > 0) .{ .path = exe } else .open_file;
    }
    if (std.mem.eql(u8, name, "root"))
        return if (thread != null) .{ .path = "/" } else error.ACCES;
    if (!std.mem.eql(u8, name, "cwd")) return null;
    const machine = if (thread) |known| try cwdOf(seen, known) else try read(seen, dir, name);
    const path = try seen.guestOf(machine) orelse return error.ACCES;
    return .{ .path = nonempty(path) };
}

fn cwdOf(seen: *const Seen, thread: *const Thread) ![]const u8 {
    return readAt(seen, seen.threads.proc, try thread.cwd.link(seen.memory, thread.tid));
}

fn read(seen: *const Seen, dir: Directory, name: [:0]const u8) ![]const u8 {
    return readAt(seen, dir.fd, name);
}

fn readAt(seen: *const Seen, dir: sys.fd_t, name: [:0]const u8) ![]const u8 {
    const buf = try seen.memory.alloc(u8, std.posix.PATH_MAX);
    return buf[0..try sys.call(.readlinkat, .{ dir, name.ptr, buf.ptr, buf.len })];
}

fn nonempty(path: []const u8) []const u8 {
    return if (path.len == 0) "/" else path;
}
