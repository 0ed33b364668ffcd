//! The mounts of the container, made after pivot_root: absolute paths lead into the container, the
//! working directory is still the machine's root, so that relative sources lead there.
const std = @import("std");
const sys = @import("sys.zig");
const text = @import("text.zig");
const log = @import("log.zig");
const config = @import("config.zig");
const jail_path = @import("jail_path.zig");
const Ids = @import("userns.zig").Ids;
const MS = sys.MS;

/// Something of the machine to be seen in the container; opened before our mounts hide it.
pub const Source = struct {
    fd: sys.fd_t,
    directory: bool,

    pub fn open(path: [*:0]const u8) sys.Error!Source {
        const fd = try sys.openat(sys.at_fdcwd, path, .{ .PATH = true, .CLOEXEC = true }, 0);
        return .{ .fd = fd, .directory = sys.isDirectory(try sys.fdMode(fd)) };
    }

    /// Through /proc of the machine: a mount point as long as the machine's root is our working
    /// directory.
    fn machinePath(self: Source, buf: *[32:0]u8) [*:0]const u8 {
        const path = text.print(buf, "proc/self/fd/{d}", .{self.fd});
        buf[path.len] = 0;
        return buf;
    }
};

pub const Volume = struct {
    source: Source,
    destination: []const u8,
    readonly: bool,

    pub fn flags(self: Volume) usize {
        return if (self.readonly) MS.rdonly else 0;
    }
};

pub fn bind(arena: std.mem.Allocator, source: Source, destination: []const u8, flags: usize) !void {
    const target = try jail_path.resolve(arena, destination, if (source.directory) .directory else .file);
    var buf: [32:0]u8 = undefined;
    try sys.mount(source.machinePath(&buf), target, null, MS.bind | MS.rec, null);
    if (flags & restrictions != 0) try restrict(target, flags & restrictions);
}

/// Where nothing can be mounted: the file's content, as it is now.
pub fn copy(arena: std.mem.Allocator, source: Source, destination: []const u8) !void {
    if (try sys.fdMode(source.fd) & 0o170000 != 0o100000) return error.INVAL;
    const target = try jail_path.resolve(arena, destination, .file);
    var buf: [32:0]u8 = undefined;
    const from = try sys.openat(sys.at_fdcwd, source.machinePath(&buf), .{ .CLOEXEC = true }, 0);
    defer sys.close(from);
    // In place of what the image has there, which may be a pipe or a device.
    try sys.do(.unlinkat, .{ sys.at_fdcwd, target.ptr, 0 });
    const fd = try sys.openat(sys.at_fdcwd, target, .{ .ACCMODE = .WRONLY, .CREAT = true, .EXCL = true, .CLOEXEC = true }, 0o644);
    defer sys.close(fd);
    copyAll(from, fd) catch |err| log.die("cannot copy {s}: {s}", .{ destination, sys.text(err) });
}

fn copyAll(from: sys.fd_t, to: sys.fd_t) sys.Error!void {
    var buf: [16384]u8 = undefined;
    while (true) {
        const got = try sys.readAll(from, &buf);
        if (got.len == 0) return;
        try sys.writeAll(to, got);
    }
}

/// What a mount takes away, in mount(2) as in mount_setattr(2).
const restrictions = MS.rdonly | MS.nosuid | MS.nodev | MS.noexec;

/// The whole tree under a mount point.
fn restrict(target: [*:0]const u8, flags: usize) sys.Error!void {
    const MountAttr = extern struct { set: u64, clear: u64 = 0, propagation: u64 = 0, userns: u64 = 0 };
    const at_recursive = 0x8000;
    const attr: MountAttr = .{ .set = flags };
    if (sys.do(.mount_setattr, .{ sys.at_fdcwd, target, at_recursive, &attr, @sizeOf(MountAttr) })) |_| return else |err| {
        if (err != error.NOSYS) return err;
    }
    // Before Linux 5.12 only the mount itself, and flags that came with it have to be named.
    const again = MS.remount | MS.bind | flags;
    sys.mount(null, target, null, again, null) catch
        try sys.mount(null, target, null, again | restrictions & ~@as(usize, MS.rdonly), null);
}

const Parsed = struct { flags: usize = 0, bind: bool = false, data: []const u8 };

const option_flags = [_]struct { name: []const u8, set: usize, clear: usize = 0 }{
    .{ .name = "ro", .set = MS.rdonly },
    .{ .name = "rw", .set = 0, .clear = MS.rdonly },
    .{ .name = "nosuid", .set = MS.nosuid },
    .{ .name = "nodev", .set = MS.nodev },
    .{ .name = "noexec", .set = MS.noexec },
    .{ .name = "noatime", .set = 1024 },
    .{ .name = "nodiratime", .set = 2048 },
    .{ .name = "relatime", .set = 1 << 21 },
    .{ .name = "strictatime", .set = 1 << 24 },
    .{ .name = "sync", .set = 16 },
    .{ .name = "bind", .set = MS.bind },
    .{ .name = "rbind", .set = MS.bind | MS.rec },
    .{ .name = "defaults", .set = 0 },
    .{ .name = "suid", .set = 0, .clear = MS.nosuid },
    .{ .name = "dev", .set = 0, .clear = MS.nodev },
    .{ .name = "exec", .set = 0, .clear = MS.noexec },
};
/// Options that say how mounts spread, which ours do not, or that other runtimes invented.
const without_meaning = [_][]const u8{ "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable", "tmpcopyup" };

fn parseOptions(arena: std.mem.Allocator, options: []const []const u8) !Parsed {
    var out: Parsed = .{ .data = "" };
    var data: std.ArrayList([]const u8) = .empty;
    next: for (options) |option| {
        for (option_flags) |known| if (std.mem.eql(u8, option, known.name)) {
            out.flags = (out.flags & ~known.clear) | known.set;
            continue :next;
        };
        for (without_meaning) |word| if (std.mem.eql(u8, option, word)) continue :next;
        try data.append(arena, option);
    }
    out.bind = out.flags & MS.bind != 0;
    out.data = try std.mem.join(arena, ",", data.items);
    return out;
}

/// Binds that config.json lists are the machine's files that a container is given (the old tool's
/// payloads list /etc/resolv.conf and /sys). Null for what this machine has not, and for mounts
/// that are no binds.
pub fn openSource(arena: std.mem.Allocator, mount: config.Mount) !?Source {
    const options = try parseOptions(arena, mount.options);
    if (!options.bind) return null;
    return Source.open(try arena.dupeSentinel(u8, mount.source, 0)) catch |err| {
        log.debug("no {s} to bind: {s}", .{ mount.source, sys.text(err) });
        return null;
    };
}

pub fn make(arena: std.mem.Allocator, mount: config.Mount, source: ?Source, ids: Ids, cgroup_namespace: bool) !void {
    if (mount.destination.len == 0 or mount.destination[0] != '/') return error.INVAL;
    const options = try parseOptions(arena, mount.options);
    const kind = mount.type;
    if (options.bind) return if (source) |s| bind(arena, s, mount.destination, options.flags);
    if (std.mem.eql(u8, kind, "cgroup") or std.mem.eql(u8, kind, "cgroup2")) return mountCgroup(arena, mount.destination, options, cgroup_namespace);

    const target = try jail_path.resolve(arena, mount.destination, .directory);
    const fstype = try arena.dupeSentinel(u8, kind, 0);
    const first = sys.mount(fstype, target, fstype, options.flags, try arena.dupeSentinel(u8, options.data, 0));
    log.debug("mounted {s}", .{mount.destination});
    if (first) |_| return else |err| {
        // A user namespace that lacks an id (devpts' group 5), or a kernel that lacks an option.
        if (err == error.INVAL) if (try withoutIds(arena, options.data)) |data|
            return sys.mount(fstype, target, fstype, options.flags, data);
        const refused = err == error.PERM or err == error.ACCES;
        // A fresh sysfs belongs to a network namespace of its own, a fresh proc is refused where
        // an outer container masks parts of its own: show the machine's.
        if (std.mem.eql(u8, kind, "sysfs") and refused) {
            try sys.mount("sys", target, null, MS.bind | MS.rec, null);
            return restrict(target, MS.rdonly);
        }
        if (std.mem.eql(u8, kind, "proc") and refused) return sys.mount("proc", target, null, MS.bind | MS.rec, null);
        // Kernels are built without it, and few programs ask.
        if (std.mem.eql(u8, kind, "mqueue")) return log.debug("no mqueue: {s}", .{sys.text(err)});
        if (ids != .host and err == error.ACCES) @import("userns.zig").explainAppArmor();
        return err;
    }
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

/// With a cgroup namespace the container's own view, where the machine has cgroup v2 and lets us;
/// else what the machine shows, which /sys may have brought already.
fn mountCgroup(arena: std.mem.Allocator, destination: []const u8, options: Parsed, own: bool) !void {
    const target = jail_path.resolve(arena, destination, .directory) catch return;
    if (own) {
        if (sys.mount("cgroup2", target, "cgroup2", options.flags, null)) |_| return else |err| log.debug("no cgroup mount: {s}", .{sys.text(err)});
    }
    sys.mount("sys/fs/cgroup", target, null, MS.bind | MS.rec, null) catch return;
    try restrict(target, MS.rdonly);
}

/// Hidden from the app: a directory under an empty one, a file under /dev/null.
pub fn mask(arena: std.mem.Allocator, path: []const u8) !void {
    const target = jail_path.resolve(arena, path, .nothing) catch return;
    const st = sys.stat(sys.at_fdcwd, target) catch return;
    if (sys.isDirectory(st.mode)) {
        try sys.mount("tmpfs", target, "tmpfs", MS.rdonly, "size=0k");
    } else try sys.mount("dev/null", target, null, MS.bind, null);
}

pub fn protect(arena: std.mem.Allocator, path: []const u8) !void {
    const target = jail_path.resolve(arena, path, .nothing) catch return;
    try sys.mount(target, target, null, MS.bind | MS.rec, null);
    try restrict(target, MS.rdonly);
}

test "mount options" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const parsed = try parseOptions(arena.allocator(), &.{ "nosuid", "ro", "rw", "mode=755", "rprivate", "size=64k" });
    try std.testing.expectEqual(MS.nosuid, parsed.flags);
    try std.testing.expectEqualStrings("mode=755,size=64k", parsed.data);
    try std.testing.expectEqualStrings("newinstance,mode=0620", (try withoutIds(arena.allocator(), "newinstance,gid=5,mode=0620")).?);
    try std.testing.expect(try withoutIds(arena.allocator(), "mode=0620") == null);
}
