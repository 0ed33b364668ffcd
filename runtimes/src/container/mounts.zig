//! The mounts of the container, made after pivot_root: absolute paths lead into the container, the
//! working directory is still the machine's root, so that relative sources lead there.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const text = @import("../base/text.zig");
const log = @import("../base/log.zig");
const Source = @import("../config/source.zig").Source;
const config = @import("../config/spec.zig");
const mount_options = @import("../config/mount_options.zig");
const path_in_root = @import("path_in_root.zig");
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const restrictions = @import("../namespaces/mount_namespace.zig").restrictions;
const Ids = @import("../namespaces/userns.zig").Ids;
const MS = sys.MS;

/// The target of a mount. A mount on the root would hide nothing, but `/..` would lead to what is
/// below it: the machine.
fn targetOf(
    arena: std.mem.Allocator,
    destination: []const u8,
    make_it: path_in_root.Make,
) ![:0]const u8 {
    const path = try path_in_root.resolve(arena, destination, make_it);
    if (path.len == 1)
        log.die("cannot mount on {s}: it is the container's root, or leads there", .{destination});
    return path;
}

/// The same for targets that a caller or an image names: a mount in /proc could make the runtime
/// write its settings to another file (CVE-2019-16884, CVE-2019-19921).
fn freeTarget(
    arena: std.mem.Allocator,
    destination: []const u8,
    make_it: path_in_root.Make,
) ![:0]const u8 {
    const path = try targetOf(arena, destination, make_it);
    const inside = std.mem.cutPrefix(u8, path, "/proc") orelse return path;
    if (inside.len > 0 and inside[0] != '/') return path;
    if (isOneOf(inside, &proc_files)) return path;
    log.die("cannot mount on {s}: it is in /proc, or leads there", .{destination});
}

/// Files that only show numbers; runc allows mounts on them, too (for lxcfs).
const proc_files = [_][]const u8{
    "/cpuinfo",  "/diskstats", "/meminfo", "/stat", "/swaps", "/uptime", "/loadavg",
    "/slabinfo",
};

pub fn bind(
    arena: std.mem.Allocator,
    namespace: MountNamespace,
    source: Source,
    destination: []const u8,
    flags: usize,
) !void {
    const path = try freeTarget(arena, destination, if (source.directory) .directory else .file);
    var buf: [32:0]u8 = undefined;
    try namespace.mount(source.machinePath(&buf), path, null, MS.bind | MS.rec, null);
    // nodev has no meaning for a file.
    const without = (flags & restrictions) | if (source.directory) @as(usize, MS.nodev) else 0;
    if (without != 0) try namespace.restrict(path, without);
}

/// If nothing can be mounted: copies the file's present content.
pub fn copy(arena: std.mem.Allocator, source: Source, destination: []const u8) !void {
    if (try sys.fdMode(source.fd) & 0o170000 != 0o100000) return error.INVAL;
    const target = try path_in_root.resolve(arena, destination, .file);
    var buf: [32:0]u8 = undefined;
    const from = try sys.openat(sys.at_fdcwd, source.machinePath(&buf), .{ .CLOEXEC = true }, 0);
    defer sys.close(from);
    // Replaces what the image has there, which may be a pipe or a device.
    try sys.do(.unlinkat, .{ sys.at_fdcwd, target.ptr, 0 });
    const fd = try sys.openat(
        sys.at_fdcwd,
        target,
        .{ .ACCMODE = .WRONLY, .CREAT = true, .EXCL = true, .CLOEXEC = true },
        0o644,
    );
    defer sys.close(fd);
    copyAll(from, fd) catch |err|
        log.die("cannot copy {s}: {s}", .{ destination, errno.text(err) });
}

fn copyAll(from: sys.fd_t, to: sys.fd_t) sys.Error!void {
    var buf: [16384]u8 = undefined;
    while (true) {
        const got = try sys.readAll(from, &buf);
        if (got.len == 0) return;
        try sys.writeAll(to, got);
    }
}

/// File systems that may be mounted: none that reads a device or changes the machine.
const kinds = [_][]const u8{ "proc", "sysfs", "tmpfs", "devpts", "mqueue" };

/// Makes the mounts that config.json lists.
pub const Maker = struct {
    arena: std.mem.Allocator,
    namespace: MountNamespace,
    ids: Ids,
    cgroup_namespace: bool,
    /// An instance that has the app's terminal.
    devpts: ?sys.fd_t,

    pub fn make(self: *const Maker, mount: config.Mount, source: ?Source) !void {
        if (mount.destination.len == 0 or mount.destination[0] != '/') return error.INVAL;
        const options = try mount_options.parse(self.arena, mount.options);
        const kind = mount.type;
        if (options.bind) return if (source) |s| bind(
            self.arena,
            self.namespace,
            s,
            mount.destination,
            options.flags,
        );
        if (isOneOf(kind, &.{ "cgroup", "cgroup2" })) return mountCgroup(
            self.arena,
            self.namespace,
            mount.destination,
            options,
            self.cgroup_namespace,
        );
        if (!isOneOf(kind, &kinds)) return error.NODEV;
        const path = try kernelTarget(self.arena, kind, mount.destination);
        if (isOneOf(kind, &.{"devpts"}))
            if (self.devpts) |mounted| return self.namespace.attach(mounted, path);
        self.mountNew(kind, path, options) catch |err|
            try self.substitute(kind, path, options, err);
        log.debug("mounted {s}", .{mount.destination});
    }

    fn mountNew(
        self: *const Maker,
        kind: []const u8,
        path: [*:0]const u8,
        options: mount_options.Parsed,
    ) !void {
        const fstype = try self.arena.dupeSentinel(u8, kind, 0);
        return self.namespace.mount(
            fstype,
            path,
            fstype,
            flagsOf(kind, options),
            try self.arena.dupeSentinel(u8, options.data, 0),
        );
    }

    fn substitute(
        self: *const Maker,
        kind: []const u8,
        path: [*:0]const u8,
        options: mount_options.Parsed,
        err: anyerror,
    ) !void {
        // The user namespace lacks an id (devpts' group 5), or the kernel an option.
        if (err == error.INVAL) if (try withoutIds(self.arena, options.data)) |data|
            return self.mountNew(kind, path, .{ .flags = options.flags, .data = data });
        const refused = err == error.PERM or err == error.ACCES;
        // A new sysfs needs a network namespace of our own, and a new proc is refused if an outer
        // container masks parts of its own: bind the machine's.
        if (refused and isOneOf(kind, &.{ "sysfs", "proc" })) {
            const own: [*:0]const u8 = if (kind[0] == 's') "sys" else "proc";
            try self.namespace.mount(own, path, null, MS.bind | MS.rec, null);
            return self.namespace.restrict(
                path,
                MS.nodev | if (kind[0] == 's') @as(usize, MS.rdonly) else 0,
            );
        }
        // Some kernels lack it, and few programs use it.
        if (isOneOf(kind, &.{"mqueue"})) return log.debug("no mqueue: {s}", .{errno.text(err)});
        if (self.ids != .host and err == error.ACCES)
            @import("../namespaces/userns.zig").explainAppArmor();
        return err;
    }
};

/// Device nodes that the app makes cannot be opened.
fn flagsOf(kind: []const u8, options: mount_options.Parsed) usize {
    return options.flags | if (isOneOf(kind, &.{"tmpfs"})) @as(usize, MS.nodev) else 0;
}

fn isOneOf(word: []const u8, list: []const []const u8) bool {
    for (list) |known| if (std.mem.eql(u8, word, known)) return true;
    return false;
}

/// The kernel's file systems are mounted at their own paths, not where a link of the image leads:
/// the masks of /proc and /sys would miss them (CVE-2019-19921).
fn kernelTarget(arena: std.mem.Allocator, kind: []const u8, destination: []const u8) ![:0]const u8 {
    if (std.mem.eql(u8, kind, "tmpfs")) return freeTarget(arena, destination, .directory);
    const path = try targetOf(arena, destination, .directory);
    if (!std.mem.eql(u8, path, std.mem.trimEnd(u8, destination, "/")))
        log.die(
            "cannot mount {s} on {s}: a link of the image leads elsewhere",
            .{ kind, destination },
        );
    return path;
}

fn withoutIds(arena: std.mem.Allocator, data: []const u8) !?[:0]const u8 {
    var kept: std.ArrayList([]const u8) = .empty;
    var words = std.mem.tokenizeScalar(u8, data, ',');
    while (words.next()) |word| {
        if (std.mem.startsWith(u8, word, "gid=") or std.mem.startsWith(u8, word, "uid=")) continue;
        try kept.append(arena, word);
    }
    const out = try std.mem.joinZ(arena, ",", kept.items);
    return if (out.len == data.len) null else out;
}

/// With a cgroup namespace, a mount of cgroup v2 if that is allowed; else the machine's, read-only,
/// which /sys may contain already.
fn mountCgroup(
    arena: std.mem.Allocator,
    namespace: MountNamespace,
    destination: []const u8,
    options: mount_options.Parsed,
    own: bool,
) !void {
    const path = freeTarget(arena, destination, .directory) catch return;
    if (own) {
        if (namespace.mount("cgroup2", path, "cgroup2", options.flags | MS.nodev, null)) |_|
            return
        else |err|
            log.debug("no cgroup mount: {s}", .{errno.text(err)});
    }
    namespace.mount("sys/fs/cgroup", path, null, MS.bind | MS.rec, null) catch return;
    try namespace.restrict(path, MS.rdonly | MS.nodev);
}

/// Masks a path: a directory with an empty one, a file with the machine's /dev/null, for the
/// image's could be anything (CVE-2025-31133).
pub fn mask(arena: std.mem.Allocator, namespace: MountNamespace, destination: []const u8) !void {
    const st = try present(arena, destination) orelse return;
    const path = try targetOf(arena, destination, .nothing);
    if (sys.isDirectory(st.mode)) {
        try namespace.mount("tmpfs", path, "tmpfs", MS.rdonly, "size=0k");
    } else {
        try namespace.mount("dev/null", path, null, MS.bind, null);
        try namespace.restrict(path, MS.rdonly);
    }
}

pub fn protect(arena: std.mem.Allocator, namespace: MountNamespace, destination: []const u8) !void {
    _ = try present(arena, destination) orelse return;
    const path = try targetOf(arena, destination, .nothing);
    try namespace.mount(path, path, null, MS.bind | MS.rec, null);
    try namespace.restrict(path, MS.rdonly);
}

/// Null for what is not there: most kernels lack some of the masked paths. Any other error ends the
/// start: what cannot be looked at is not left unmasked.
fn present(arena: std.mem.Allocator, path: []const u8) !?std.os.linux.Statx {
    const name = try arena.dupeSentinel(u8, path, 0);
    return sys.stat(sys.at_fdcwd, name) catch |err| switch (err) {
        error.NOENT, error.NOTDIR => null,
        else => err,
    };
}

test "options that name ids" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    try std.testing.expectEqualStrings(
        "newinstance,mode=0620",
        (try withoutIds(arena.allocator(), "newinstance,gid=5,mode=0620")).?,
    );
    try std.testing.expect(try withoutIds(arena.allocator(), "mode=0620") == null);
}
