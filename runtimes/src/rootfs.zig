//! The root file system of the container, by the first way that this machine allows, found by
//! trying: the payload mounted (by the kernel or by ourselves) under an overlay; unpacked once into
//! a cache, under an overlay; a copy of this run's own, without an overlay; the same, without any
//! mount at all. What a slower way needs is only looked for when a faster one has failed.
const std = @import("std");
const sys = @import("sys.zig");
const log = @import("log.zig");
const Affinity = @import("affinity.zig").Affinity;
const lower = @import("lower.zig");
const text = @import("text.zig");
const userns = @import("userns.zig");
const workspace = @import("workspace.zig");
const cache = @import("cache.zig");
const changes = @import("changes.zig");
const Tree = @import("remove.zig").Tree;
const Environment = @import("environment.zig").Environment;
const Reader = @import("squashfs/reader.zig").Reader;

pub const Kind = enum(u8) {
    /// Mounted on `root` of the workspace.
    mounted,
    /// A directory that is our working directory.
    directory,
};

pub const Rootfs = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    callers: *const Environment,
    /// Of the root file system in the payload.
    path: []const u8,
    ids: userns.Ids,
    uid: u32,
    gid: u32,
    /// The caller's, outside of all namespaces of ours.
    caller: u32,
    memory_is_plenty: bool,
    /// Where --overlay keeps what is written.
    kept: ?sys.fd_t,
    /// Where threads may run that the start is not waiting for.
    anywhere: Affinity,

    /// The payload, unpacked for this run.
    own: ?Tree = null,
    /// What the run writes, on a disk.
    written: ?Tree = null,

    pub fn make(self: *Rootfs) !Kind {
        if (self.ids == .none) {
            const tree = try self.copy();
            try sys.do(.fchdir, .{try self.rootOf(tree)});
            return .directory;
        }
        if (self.kept == null) try self.findDisk();
        try workspace.make();
        if (self.kept == null and self.written == null and !self.memoryServes()) {
            // Places for a cache may be covered by the workspace.
            try workspace.leave();
            try self.writeToCache();
            try workspace.make();
        }
        self.mountLower() catch |err| {
            log.debug("the payload cannot be mounted: {s}", .{sys.text(err)});
            try self.bindUnpacked();
        };
        self.mountOverlay() catch |err| {
            if (self.kept != null) log.die("cannot mount an overlayfs that keeps what is written: {s}", .{sys.text(err)});
            log.debug("no overlay: {s}", .{sys.text(err)});
            try workspace.leave();
            const tree = try self.copy();
            try workspace.make();
            try bind(try self.rootOf(tree), "root");
        };
        return .mounted;
    }

    /// After the app's end. `proc` is the machine's.
    pub fn discard(self: *Rootfs, proc: sys.fd_t) void {
        if (self.written) |tree| tree.discard();
        const tree = self.own orelse return;
        self.unmountAll(proc) catch |err| log.debug("mounts: {s}", .{sys.text(err)});
        tree.discard();
    }

    /// What is mounted on directories keeps them from being removed.
    fn unmountAll(self: *Rootfs, proc: sys.fd_t) !void {
        var rest: []const u8 = try sys.readLarge(proc, "self/mountinfo", 1 << 20);
        while (std.mem.findScalarLast(u8, std.mem.trimEnd(u8, rest, "\n"), '\n')) |at| {
            var fields = std.mem.splitScalar(u8, rest[at + 1 ..], ' ');
            rest = rest[0..at];
            // proc_pid_mountinfo(5): the fifth is where.
            for (0..4) |_| _ = fields.next();
            const target = fields.next() orelse continue;
            if (!std.mem.eql(u8, target, "/")) sys.unmount(try self.arena.dupeSentinel(u8, target, 0)) catch {};
        }
    }

    fn mountLower(self: *Rootfs) !void {
        if (self.forced("unpack")) return error.NOSYS;
        return lower.mount(self.arena, self.reader, self.ids, self.uid, self.gid, self.anywhere);
    }

    fn bindUnpacked(self: *Rootfs) !void {
        // All processors are wanted for this.
        self.anywhere.set();
        try workspace.leave();
        var store = try cache.Cache.open(self.arena, self.callers, self.caller);
        const key = try cache.keyOf(self.arena, self.reader, @tagName(self.ids));
        const tree = store.shared(self.reader, self.topName(), self.ids != .single, key) catch |err| cannotUnpack(err);
        try workspace.make();
        try bind(tree.fd, "lower");
        log.debug("payload unpacked in the cache", .{});
    }

    fn copy(self: *Rootfs) !Tree {
        self.anywhere.set();
        if (self.own) |tree| tree.discard();
        var store = try cache.Cache.open(self.arena, self.callers, self.caller);
        store.sweep();
        self.own = store.private(self.reader, self.topName(), self.ids != .single) catch |err| cannotUnpack(err);
        log.debug("payload unpacked for this run", .{});
        return self.own.?;
    }

    fn cannotUnpack(err: anyerror) noreturn {
        log.die("cannot unpack the payload: {s}", .{sys.text(err)});
    }

    /// The first name of the path, below which all is unpacked.
    fn topName(self: *const Rootfs) []const u8 {
        return self.path[0 .. std.mem.findScalar(u8, self.path, '/') orelse self.path.len];
    }

    fn rootOf(self: *const Rootfs, tree: Tree) !sys.fd_t {
        return sys.openat(tree.fd, try self.arena.dupeSentinel(u8, self.path, 0), .{ .PATH = true, .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true }, 0);
    }

    /// For tests: a machine that lacks this cannot be had for the asking.
    fn forced(self: *const Rootfs, way: []const u8) bool {
        return std.mem.eql(u8, self.callers.get("DOCKERC_FORCE") orelse return false, way);
    }

    fn mountOverlay(self: *Rootfs) !void {
        if (self.forced("copy")) return error.NODEV;
        if (self.kept) |fd| {
            try bind(fd, "changes");
            return self.mountOver("");
        }
        const tree = self.written orelse return self.mountOver("");
        try bind(tree.fd, "changes");
        // Nothing of it outlives the run, and so nothing has to reach the disk: else the end would
        // write out all of that disk's file system.
        if (self.mountOver(",volatile")) |_| return else |err| log.debug("no overlay with changes on the disk: {s}", .{sys.text(err)});
        try sys.unmount("changes");
        tree.discard();
        self.written = null;
        return self.mountOver("");
    }

    fn mountOver(self: *Rootfs, more: []const u8) !void {
        for ([_][:0]const u8{ "changes/upper", "changes/work" }) |dir| sys.mkdir(dir, 0o755) catch |err| if (err != error.EXIST) return err;
        try self.dress();
        const options = try text.alloc(self.arena, "lowerdir=lower/{s},upperdir=changes/upper,workdir=changes/work{s}{s}", .{
            self.path,
            // An ordinary user may not write trusted.overlay.* attributes.
            if (self.ids == .host) "" else ",userxattr",
            more,
        });
        try sys.mount("dockerc", "root", "overlay", sys.MS.nodev, options);
        log.debug("overlay mounted", .{});
    }

    /// For what the run writes; where there is none it is kept in memory, by the workspace. A disk
    /// costs half a millisecond (ten inodes made and removed, most of them by overlayfs), and
    /// several where ext4 has no journal and has just removed many.
    fn findDisk(self: *Rootfs) !void {
        // Who says where temporary files go means these, too.
        const said = self.callers.get("TMPDIR");
        if (!self.forced("memory") and !self.forced("cache") and (said != null or !self.memory_is_plenty))
            self.written = try changes.onDisk(self.arena, said, self.caller, self.needsAttributes());
    }

    /// An ordinary user's overlay cannot replace directories without user.* attributes, and before
    /// Linux 6.6 a tmpfs keeps none.
    fn memoryServes(self: *const Rootfs) bool {
        if (!self.needsAttributes()) return true;
        if (self.forced("cache")) return false;
        return if (sys.do(.setxattr, .{ "changes", "user.dockerc", "y", 1, 0 })) |_| true else |_| false;
    }

    fn needsAttributes(self: *const Rootfs) bool {
        return self.ids != .host;
    }

    fn writeToCache(self: *Rootfs) !void {
        var store = try cache.Cache.open(self.arena, self.callers, self.caller);
        store.sweep();
        self.written = try store.empty();
        log.debug("changes go to the cache", .{});
    }

    /// An overlay's root has the attributes of its upper directory: give that those of the image's.
    fn dress(self: *Rootfs) !void {
        const root = try self.reader.find(try self.reader.newDecoder(), self.path) orelse
            log.die("the payload holds no {s}", .{self.path});
        const upper = "changes/upper";
        if (self.ids != .single) try sys.do(.fchownat, .{ sys.at_fdcwd, upper, root.uid, root.gid, 0 });
        try sys.do(.fchmodat, .{ sys.at_fdcwd, upper, root.permissions });
        const time: std.os.linux.timespec = .{ .sec = root.mtime, .nsec = 0 };
        try sys.do(.utimensat, .{ sys.at_fdcwd, upper, &[2]std.os.linux.timespec{ time, time }, 0 });
    }
};

fn bind(fd: sys.fd_t, target: [*:0]const u8) !void {
    var buf: [32:0]u8 = undefined;
    const source = text.print(&buf, "/proc/self/fd/{d}", .{fd});
    buf[source.len] = 0;
    return sys.mount(&buf, target, null, sys.MS.bind | sys.MS.rec, null);
}
