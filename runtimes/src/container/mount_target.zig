//! Where the mounts of a plan go: paths of the container without symbolic links, made if there is
//! nothing, and none where a mount would be a danger.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const operations = @import("operation.zig");
const path_in_root = @import("path_in_root.zig");
const text = @import("../base/text.zig");
const MS = sys.MS;
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;

pub const Targets = struct {
    arena: std.mem.Allocator,
    /// Whether a volume is mounted: others may change what is in it while mounts are made there.
    shared: bool = false,
    /// A directory of the container to which no link leads; nothing has been mounted since.
    plain: ?[]const u8 = null,

    /// The target of a mount. A mount on the root would hide nothing, but `/..` would lead to what
    /// is below it: the machine.
    pub fn any(
        self: *Targets,
        destination: []const u8,
        make_it: path_in_root.Make,
    ) ![:0]const u8 {
        const path = if (make_it == .file)
            try self.file(destination)
        else
            try path_in_root.resolve(self.arena, destination, make_it, self.shared);
        if (path.len == 1) log.die(
            "cannot mount on {s}: it is the container's root, or leads there",
            .{destination},
        );
        return path;
    }

    /// The same for targets that a caller or an image names: a mount in /proc could make the
    /// runtime write its settings to another file (CVE-2019-16884, CVE-2019-19921).
    pub fn free(
        self: *Targets,
        destination: []const u8,
        make_it: path_in_root.Make,
    ) ![:0]const u8 {
        const path = try self.any(destination, make_it);
        const inside = std.mem.cutPrefix(u8, path, "/proc") orelse return path;
        if (inside.len > 0 and inside[0] != '/') return path;
        if (text.isOneOf(inside, &proc_files)) return path;
        log.die("cannot mount on {s}: it is in /proc, or leads there", .{destination});
    }

    /// The kernel's file systems are mounted at their own paths, not where a link of the image
    /// leads: the masks of /proc and /sys would miss them (CVE-2019-19921).
    pub fn ofMount(self: *Targets, mount: *const operations.Mount) ![:0]const u8 {
        const wanted = mount.target;
        if (text.isOneOf(mount.fstype, &.{ "tmpfs", "cgroup2" }))
            return self.free(wanted, .directory);
        const path = try self.any(wanted, .directory);
        if (!std.mem.eql(u8, path, std.mem.trimEnd(u8, wanted, "/"))) log.die(
            "cannot mount {s} on {s}: a link of the image leads elsewhere",
            .{ mount.fstype, wanted },
        );
        return path;
    }

    /// A file to mount on, which is made if there is none.
    fn file(self: *Targets, destination: []const u8) ![:0]const u8 {
        if (self.isPlain(parentOf(destination))) {
            const path = try self.arena.dupeSentinel(u8, destination, 0);
            if (path_in_root.createAt(sys.at_fdcwd, path)) |fd| {
                sys.close(fd);
                return path;
            } else |_| {}
        }
        const path = try path_in_root.resolve(self.arena, destination, .file, self.shared);
        if (std.mem.eql(u8, path, destination)) self.plain = parentOf(path);
        return path;
    }

    /// Where something is made whose directory may be reached by links.
    pub fn new(self: *const Targets, destination: []const u8) ![:0]const u8 {
        const parent = parentOf(destination);
        return text.alloc(self.arena, "{s}{s}", .{
            if (self.isPlain(parent))
                parent
            else
                try path_in_root.resolve(self.arena, parent, .directory, self.shared),
            destination[parent.len..],
        });
    }

    fn isPlain(self: *const Targets, directory: []const u8) bool {
        return !self.shared and std.mem.eql(u8, self.plain orelse return false, directory);
    }

    /// For mount(2): what the path leads to now, and not what it may lead to a moment later.
    pub fn pinned(self: *const Targets, path: [:0]const u8) ![*:0]const u8 {
        if (!self.shared) return path;
        const fd = try path_in_root.open(self.arena, path);
        // Of the machine's /proc, whose root is the working directory.
        return try text.alloc(self.arena, "proc/self/fd/{d}", .{fd});
    }

    /// Binds a file or directory, with all that is mounted in it.
    pub fn bind(
        self: *const Targets,
        namespace: MountNamespace,
        source: From,
        path: [:0]const u8,
        flags: usize,
    ) !void {
        if (self.shared) {
            if (self.bindPinned(namespace, source, path, flags)) |_| return else |err| {
                // Before Linux 5.12.
                if (err != error.NOSYS) return err;
            }
        }
        const target = try self.pinned(path);
        switch (source) {
            .path => |from| try namespace.mount(from, target, null, MS.bind | MS.rec, null),
            .tree => |tree| try namespace.attach(tree, target),
        }
        if (flags == 0) return;
        // Opened again, the path leads to what is mounted there now. It is restricted, or the app
        // does not start.
        namespace.restrict(try self.pinned(path), flags) catch |err|
            log.die("cannot restrict the mount on {s}: {s}", .{ path, errno.text(err) });
    }

    /// Restricted before it is attached, and attached to what was opened.
    fn bindPinned(
        self: *const Targets,
        namespace: MountNamespace,
        source: From,
        path: [:0]const u8,
        flags: usize,
    ) !void {
        const how: sys.O = .{ .PATH = true, .CLOEXEC = true };
        const tree = switch (source) {
            .tree => |tree| tree,
            .path => |from| blk: {
                const fd = try sys.openat(sys.at_fdcwd, from, how, 0);
                defer sys.close(fd);
                break :blk try namespace.detachedTree(fd);
            },
        };
        defer if (source == .path) sys.close(tree);
        if (flags != 0) try namespace.restrictTree(tree, flags);
        const target = try path_in_root.open(self.arena, path);
        defer sys.close(target);
        try namespace.attachTo(tree, target);
    }
};

/// What is bound: a path on the machine, or a detached mount.
pub const From = union(enum) { path: [*:0]const u8, tree: sys.fd_t };

/// Files that only show numbers; runc allows mounts on them, too (for lxcfs).
const proc_files = [_][]const u8{
    "/cpuinfo",  "/diskstats", "/meminfo", "/stat", "/swaps", "/uptime", "/loadavg",
    "/slabinfo",
};

pub fn parentOf(path: []const u8) []const u8 {
    return path[0 .. std.mem.findScalarLast(u8, path, '/') orelse 0];
}
