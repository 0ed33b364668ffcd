//! The root file system of the container, by the first of these ways that works on this machine:
//! the payload mounted by our FUSE server, under an overlay; the payload unpacked once into a
//! cache, under an overlay; a copy for this run, without an overlay; the same without any mount. A
//! slower way is prepared only when a faster one has failed.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const CpuPolicy = @import("../process/cpu_policy.zig").CpuPolicy;
const payload_mount = @import("payload_mount.zig");
const text = @import("../base/text.zig");
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const userns = @import("../namespaces/userns.zig");
const workspace = @import("workspace.zig");
const kept_tree = @import("kept_tree.zig");
const unpack_cache = @import("unpack_cache.zig");
const upper_dir = @import("upper_dir.zig");
const Quiesce = @import("../process/quiesce.zig").Quiesce;
const Owners = @import("../namespaces/owners.zig").Owners;
const Recorder = @import("../fuse/recorder.zig").Recorder;
const StartList = @import("../fuse/prefetch/prefetcher.zig").StartList;
const Server = @import("../fuse/server.zig").Server;
const Leftovers = @import("../process/leftovers.zig").Leftovers;
const RunDir = @import("../base/run_dir.zig").RunDir;
const Environment = @import("../cli/environment.zig").Environment;
const Reader = @import("../squashfs/reader.zig").Reader;
const squashfs_path = @import("../squashfs/path.zig");

pub const Kind = enum(u8) {
    /// Mounted on `root` of the workspace.
    mounted,
    /// A directory that is our working directory.
    directory,
    /// Two directories, which the program's paths are translated to.
    translated,
};

pub const Rootfs = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    callers: *const Environment,
    /// Of the root file system in the payload.
    path: []const u8,
    ids: userns.Ids,
    /// Null where nothing can be mounted.
    mounts: ?MountNamespace,
    owners: *const Owners,
    /// The caller's, outside of all namespaces of ours.
    caller: u32,
    tmpfs_allowed: bool,
    /// Whether there is neither a mount nor chroot(2).
    translated: bool = false,
    /// Where --overlay keeps what is written.
    kept: ?sys.fd_t,
    cpus: *CpuPolicy,
    quiesce: *Quiesce,
    /// The payload's mount, where another process serves it.
    shared: ?sys.fd_t,
    recorder: ?*Recorder = null,
    start_list: ?*StartList = null,

    /// The payload unpacked for this run, and the root that is mounted from it.
    own: ?RunDir = null,
    own_root: ?sys.fd_t = null,
    /// What the run writes, on a disk.
    written: ?RunDir = null,
    /// The payload's root in the cache, if paths are translated.
    unpacked: sys.fd_t = -1,

    pub fn make(self: *Rootfs) !Kind {
        const namespace = self.mounts orelse {
            if (self.translated) {
                self.unpacked = try self.rootOf(if (self.kept) |kept|
                    kept_tree.open(self.arena, self.reader, self.topName(), kept) catch |err|
                        cannotUnpack(err)
                else
                    (try self.openUnpacked()).fd);
                try self.writeToCache();
                return .translated;
            }
            const tree = try self.copy();
            try sys.do(.fchdir, .{try self.rootOf(tree.fd)});
            return .directory;
        };
        if (self.kept == null) try self.findDisk();
        try workspace.make(namespace);
        if (self.kept == null and self.written == null and !self.tmpfsServes()) {
            // The workspace may cover the directory of a cache.
            try workspace.leave(namespace);
            try self.writeToCache();
            try workspace.make(namespace);
        }
        self.mountPayload(namespace) catch |err| {
            if (self.recorder != null) log.die("nothing can be recorded: the payload cannot be " ++
                "mounted by FUSE: {s}", .{errno.text(err)});
            log.debug("the payload cannot be mounted: {s}", .{errno.text(err)});
            try self.bindUnpacked(namespace);
        };
        self.mountOverlay(namespace) catch |err| {
            // Another process's end is no reason to unpack all.
            if (self.shared) |tree| if (!payload_mount.isServed(tree)) {
                if (self.written) |written| written.discard();
                log.die("the keeper of the shared mount has ended, and with it this run", .{});
            };
            if (self.kept != null) log.die(
                "cannot mount an overlayfs that keeps what is written: {s}",
                .{errno.text(err)},
            );
            log.debug("no overlay: {s}", .{errno.text(err)});
            try workspace.leave(namespace);
            const tree = try self.copy();
            try workspace.make(namespace);
            try namespace.bindFd(try self.rootOf(tree.fd), "root");
            // It is on a file system of the machine, and the image may hold device nodes.
            try namespace.restrict("root", sys.MS.nodev);
            self.own_root = try sys.openat(
                sys.at_fdcwd,
                "root",
                .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true },
                0,
            );
        };
        return .mounted;
    }

    /// What has to be removed when the app has ended.
    pub fn leftovers(self: *const Rootfs) Leftovers {
        return .{
            .trees = .{ self.written, self.own },
            .root = self.own_root,
            .mounts = self.mounts,
        };
    }

    fn mountPayload(self: *Rootfs, namespace: MountNamespace) !void {
        if (self.forced("unpack")) return error.NOSYS;
        if (self.shared) |tree| return namespace.attach(tree, "lower");
        const serving = try self.arena.create(Server);
        serving.* = .{
            .arena = self.arena,
            .reader = self.reader,
            .owners = self.owners,
            .cpus = self.cpus,
            .quiesce = self.quiesce,
            .recorder = self.recorder,
            .start_list = self.start_list,
        };
        return payload_mount.mount(namespace, serving);
    }

    fn bindUnpacked(self: *Rootfs, namespace: MountNamespace) !void {
        try workspace.leave(namespace);
        const tree = try self.openUnpacked();
        try workspace.make(namespace);
        try namespace.bindFd(tree.fd, "lower");
        log.debug("payload unpacked in the cache", .{});
    }

    fn openUnpacked(self: *Rootfs) !RunDir {
        self.cpus.useAll();
        var store = try unpack_cache.Cache.open(self.arena, self.callers, self.caller);
        const kind = try self.owners.kind(self.arena, self.ids);
        const key = try store.keyOf(self.reader, kind);
        return store.shared(self.reader, self.topName(), self.settable(), key) catch |err|
            cannotUnpack(err);
    }

    fn copy(self: *Rootfs) !RunDir {
        self.cpus.useAll();
        if (self.own) |tree| tree.discard();
        var store = try unpack_cache.Cache.open(self.arena, self.callers, self.caller);
        store.sweep();
        self.own = store.private(self.reader, self.topName(), self.settable()) catch |err|
            cannotUnpack(err);
        log.debug("payload unpacked for this run", .{});
        return self.own.?;
    }

    /// Where one id is mapped, files are that one's anyway.
    fn settable(self: *const Rootfs) ?*const Owners {
        return if (self.ids == .single) null else self.owners;
    }

    fn cannotUnpack(err: anyerror) noreturn {
        log.die("cannot unpack the payload: {s}", .{errno.text(err)});
    }

    /// The first name of the path, below which all is unpacked.
    fn topName(self: *const Rootfs) []const u8 {
        return self.path[0 .. std.mem.findScalar(u8, self.path, '/') orelse self.path.len];
    }

    fn rootOf(self: *const Rootfs, tree: sys.fd_t) !sys.fd_t {
        return sys.openat(
            tree,
            try self.arena.dupeSentinel(u8, self.path, 0),
            .{ .PATH = true, .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true },
            0,
        );
    }

    /// For tests, which cannot choose a machine without FUSE or overlayfs.
    fn forced(self: *const Rootfs, way: []const u8) bool {
        return std.mem.eql(u8, self.callers.get("DOCKERC_FORCE") orelse return false, way);
    }

    fn mountOverlay(self: *Rootfs, namespace: MountNamespace) !void {
        if (self.forced("copy")) return error.NODEV;
        if (self.kept) |fd| {
            kept_tree.refuse(fd);
            try namespace.bindFd(fd, "changes");
            return self.mountOver(namespace, "");
        }
        const tree = self.written orelse return self.mountOver(namespace, "");
        try namespace.bindFd(tree.fd, "changes");
        // The upper directory is removed with the run, so it need not be synced: without
        // `volatile`, overlayfs syncs that whole file system at the end.
        if (self.mountOver(namespace, ",volatile")) |_|
            return
        else |err|
            log.debug("no overlay with changes on the disk: {s}", .{errno.text(err)});
        try namespace.unmount("changes");
        tree.discard();
        self.written = null;
        return self.mountOver(namespace, "");
    }

    fn mountOver(self: *Rootfs, namespace: MountNamespace, more: []const u8) !void {
        for ([_][:0]const u8{ "changes/upper", "changes/work" }) |dir|
            sys.mkdir(dir, 0o755) catch |err| if (err != error.EXIST) return err;
        try self.copyRootAttributes();
        const format = "lowerdir=lower/{s},upperdir=changes/upper,workdir=changes/work{s}{s}";
        const options = try text.alloc(self.arena, format, .{
            self.path,
            // An ordinary user may not write trusted.overlay.* attributes.
            if (self.ids == .host) "" else ",userxattr",
            more,
        });
        try namespace.mount("dockerc", "root", "overlay", sys.MS.nodev, options);
        log.debug("overlay mounted", .{});
    }

    /// Finds a directory on a disk for what the run writes; without one, writes go to the
    /// workspace's tmpfs. A disk costs half a millisecond (overlayfs makes and removes about ten
    /// inodes), and several where ext4 has no journal and has just removed many.
    fn findDisk(self: *Rootfs) !void {
        // $TMPDIR is meant for these files, too.
        const said = self.callers.get("TMPDIR");
        if (!self.forced("memory") and
            !self.forced("cache") and (said != null or !self.tmpfs_allowed))
            self.written = try upper_dir.onDisk(
                self.arena,
                said,
                self.caller,
                self.needsAttributes(),
            );
    }

    /// An ordinary user's overlay cannot replace directories without user.* attributes, and before
    /// Linux 6.6 a tmpfs keeps none.
    fn tmpfsServes(self: *const Rootfs) bool {
        if (!self.needsAttributes()) return true;
        if (self.forced("cache")) return false;
        return if (sys.do(.setxattr, .{ "changes", "user.dockerc", "y", 1, 0 })) |_|
            true
        else |_|
            false;
    }

    fn needsAttributes(self: *const Rootfs) bool {
        return self.ids != .host;
    }

    fn writeToCache(self: *Rootfs) !void {
        var store = try unpack_cache.Cache.open(self.arena, self.callers, self.caller);
        store.sweep();
        self.written = try store.empty();
        log.debug("changes go to the cache", .{});
    }

    /// The root of an overlay has the attributes of the upper directory, so that gets those of the
    /// image's root.
    fn copyRootAttributes(self: *Rootfs) !void {
        const decoder = try self.reader.newDecoder();
        const root = try squashfs_path.lookup(self.reader, decoder, self.path) orelse
            log.die("the payload holds no {s}", .{self.path});
        // What is kept may have a link there, which leads to a directory of the machine.
        const flags: sys.O = .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };
        const upper = try sys.openat(sys.at_fdcwd, "changes/upper", flags, 0);
        defer sys.close(upper);
        if (self.settable()) |owners| try sys.do(.fchown, .{
            upper,
            owners.uids.present(root.uid),
            owners.gids.present(root.gid),
        });
        try sys.do(.fchmodat, .{ upper, ".", root.permissions });
        const time: std.os.linux.timespec = .{ .sec = root.mtime, .nsec = 0 };
        try sys.do(.utimensat, .{ upper, 0, &[2]std.os.linux.timespec{ time, time }, 0 });
    }
};
