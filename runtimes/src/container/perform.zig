//! Does the operations of a plan, after pivot_root: absolute paths lead into the container, the
//! working directory is still the machine's root, so that relative sources lead there.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const text = @import("../base/text.zig");
const log = @import("../base/log.zig");
const mount_options = @import("../config/mount_options.zig");
const operations = @import("operation.zig");
const path_in_root = @import("path_in_root.zig");
const userns = @import("../namespaces/userns.zig");
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const Operation = operations.Operation;
const MS = sys.MS;
const isOneOf = text.isOneOf;

pub const Performer = struct {
    arena: std.mem.Allocator,
    /// Null where nothing can be mounted; the plan has no mounts then.
    namespace: ?MountNamespace,
    ids: userns.Ids,
    /// In a range, whether the app's user is another than root.
    app_is_caller: bool,
    /// An instance that has the app's terminal.
    devpts: ?sys.fd_t,
    /// A directory of the run, for files that are bound.
    workspace: sys.fd_t,
    /// A directory of the container to which no link leads; nothing has been mounted since.
    plain: ?[]const u8 = null,

    pub fn perform(self: *Performer, operation: *const Operation) error{OutOfMemory}!void {
        if (log.debugging) log.debug("{s}", .{try operation.describe(self.arena)});
        self.attempt(operation) catch |err| {
            if (err == error.OutOfMemory) return error.OutOfMemory;
            // The target is there by now; a working directory that was removed could be opened.
            const why = if (operation.what == .bind and err == error.NOENT)
                "its source has been removed"
            else
                errno.text(err);
            const what = try operation.describe(self.arena);
            if (!operation.optional) log.die("cannot {s}: {s}", .{ what, why });
            log.debug("could not {s}: {s}", .{ what, why });
        };
    }

    fn attempt(self: *Performer, operation: *const Operation) !void {
        switch (operation.what) {
            .bind => |*bind| if (bind.directory) {
                self.plain = null;
            },
            .link => {},
            else => self.plain = null,
        }
        const namespace = self.namespace orelse return self.fill(operation);
        switch (operation.what) {
            .mount => |*mount| try self.mountNew(namespace, mount, operation.optional),
            .bind => |*bind| try self.bindMachines(namespace, bind),
            .show => |path| try self.show(namespace, path),
            .write => |*write| try self.bindNew(namespace, write),
            .mask => |path| try self.mask(namespace, path),
            .sysctl => |sysctl| try sys.writeFile(sys.at_fdcwd, sysctl.path, sysctl.value),
            .read_only => |path| try self.protect(namespace, path),
            .remount => |flags| try namespace.mount(
                null,
                "/",
                null,
                MS.remount | MS.bind | flags,
                null,
            ),
            else => try self.fill(operation),
        }
    }

    /// What is done without a mount.
    fn fill(self: *Performer, operation: *const Operation) !void {
        switch (operation.what) {
            .copy => |*copy| try self.copyFile(copy),
            .directory => |*directory| try self.makeDirectory(directory),
            .device => |*device| try self.makeDevice(device),
            .link => |*link| {
                const path = try self.newPath(link.path);
                if (sys.do(.symlinkat, .{ link.to.ptr, sys.at_fdcwd, path.ptr })) |_|
                    self.giveToRoot(sys.at_fdcwd, path)
                else |err| if (err != error.EXIST) return err;
            },
            .write => |*write| try self.writeFile(try self.replace(write.path), write),
            else => return error.PERM,
        }
    }

    fn mountNew(
        self: *Performer,
        namespace: MountNamespace,
        mount: *const operations.Mount,
        optional: bool,
    ) !void {
        const path = try self.mountTarget(mount);
        const is_devpts = std.mem.eql(u8, mount.fstype, "devpts");
        if (if (is_devpts) self.devpts else null) |mounted|
            try namespace.attach(mounted, path)
        else
            try self.mountOn(namespace, mount, path, optional);
        // Only what is mounted by now: a volume may be below.
        if (is_devpts)
            self.giveToRoot(sys.at_fdcwd, try text.alloc(self.arena, "{s}/ptmx", .{path}))
        else if (mount.fstype[0] == 'm') self.giveToRoot(sys.at_fdcwd, path);
    }

    fn mountOn(
        self: *Performer,
        namespace: MountNamespace,
        mount: *const operations.Mount,
        path: [*:0]const u8,
        optional: bool,
    ) !void {
        // Before the options that are given, which may name another owner.
        const owner = if (self.rootIsOther() and mount.fstype[0] == 't') "uid=0,gid=0," else "";
        const all = try text.alloc(self.arena, "{s}{s}", .{ owner, mount.data });
        self.tryMount(namespace, mount, path, all) catch |err| {
            // The user namespace lacks an id (devpts' group 5), or the kernel an option.
            if (err == error.INVAL) if (try mount_options.withoutIds(self.arena, all)) |data|
                return self.tryMount(namespace, mount, path, data);
            const refused = err == error.PERM or err == error.ACCES;
            if (mount.instead) |machines| if (refused or optional) {
                try namespace.mount(machines.path[1..], path, null, MS.bind | MS.rec, null);
                restrict(namespace, path, machines.flags);
                return if (machines.hidden.len > 0) self.mask(namespace, machines.hidden);
            };
            if (!optional and self.ids != .host and err == error.ACCES)
                userns.explainAppArmor();
            return err;
        };
    }

    fn tryMount(
        self: *const Performer,
        namespace: MountNamespace,
        mount: *const operations.Mount,
        path: [*:0]const u8,
        data: []const u8,
    ) !void {
        const fstype = try self.arena.dupeSentinel(u8, mount.fstype, 0);
        const own = try self.arena.dupeSentinel(u8, data, 0);
        return namespace.mount(fstype, path, fstype, mount.flags, own);
    }

    fn bindMachines(
        self: *Performer,
        namespace: MountNamespace,
        bind: *const operations.Bind,
    ) !void {
        var buf: [32:0]u8 = undefined;
        const path = try self.freeTarget(bind.target, if (bind.directory) .directory else .file);
        const source = switch (bind.source) {
            .opened => |source| if (source.detached) null else source.machinePath(&buf),
            .path => |path_there| path_there[1..].ptr,
        };
        if (source) |from| {
            try namespace.mount(from, path, null, MS.bind | MS.rec, null);
        } else try namespace.attach(bind.source.opened.fd, path);
        if (bind.flags != 0) restrict(namespace, path, bind.flags);
    }

    fn show(self: *Performer, namespace: MountNamespace, device: []const u8) !void {
        const path = try self.arena.dupeSentinel(u8, device, 0);
        const st = try sys.stat(sys.at_fdcwd, path[1..]);
        if (sys.stat(sys.at_fdcwd, path)) |_| return else |_| {}
        return self.bindMachines(namespace, &.{
            .source = .{ .path = path },
            .directory = sys.isDirectory(st.mode),
            .target = path,
        });
    }

    /// Binds a file that is made in the workspace.
    fn bindNew(
        self: *Performer,
        namespace: MountNamespace,
        write: *const operations.Write,
    ) !void {
        const base = std.fs.path.basename(write.path);
        const name = try text.alloc(self.arena, ".dockerc.{s}", .{base});
        const fd = createAt(self.workspace, name) catch |err| cannotWrite(write.path, err);
        try self.writeFile(fd, write);
        self.giveToRoot(fd, "");
        const path = try self.freeTarget(write.path, .file);
        var buf: [32:0]u8 = undefined;
        try namespace.mount(sys.fdPath(&buf, fd) + 1, path, null, MS.bind, null);
    }

    /// What we make belongs to the app's user, who is the caller outside; as in docker's containers
    /// it is root's, where there is a root.
    noinline fn giveToRoot(self: *const Performer, dir: sys.fd_t, path: [*:0]const u8) void {
        if (!self.rootIsOther()) return;
        const empty_path = 0x1000;
        sys.do(.fchownat, .{ dir, path, 0, 0, no_follow | empty_path }) catch |err|
            log.debug("{s} stays the app's: {s}", .{ std.mem.span(path), errno.text(err) });
    }

    fn rootIsOther(self: *const Performer) bool {
        return self.ids == .range and self.app_is_caller;
    }

    fn writeFile(_: *const Performer, fd: sys.fd_t, write: *const operations.Write) !void {
        sys.writeAll(fd, write.content) catch |err| cannotWrite(write.path, err);
    }

    /// Masks a path: a directory with an empty one, a file with the machine's /dev/null, for the
    /// image's could be anything (CVE-2025-31133).
    fn mask(self: *Performer, namespace: MountNamespace, destination: []const u8) !void {
        const st = try self.present(destination) orelse return;
        const path = try self.target(destination, .nothing);
        if (sys.isDirectory(st.mode))
            return namespace.mount("tmpfs", path, "tmpfs", MS.rdonly, "size=0k");
        try namespace.mount("dev/null", path, null, MS.bind, null);
        try namespace.restrict(path, MS.rdonly);
    }

    fn protect(self: *Performer, namespace: MountNamespace, destination: []const u8) !void {
        _ = try self.present(destination) orelse return;
        const path = try self.target(destination, .nothing);
        try namespace.mount(path, path, null, MS.bind | MS.rec, null);
        try namespace.restrict(path, MS.rdonly);
    }

    /// Null for what is not there: most kernels lack some of the masked paths. Any other error ends
    /// the start: what cannot be looked at is not left unmasked.
    fn present(self: *const Performer, path: []const u8) !?std.os.linux.Statx {
        const name = try self.arena.dupeSentinel(u8, path, 0);
        return sys.stat(sys.at_fdcwd, name) catch |err| switch (err) {
            error.NOENT, error.NOTDIR => null,
            else => err,
        };
    }

    /// The target of a mount. A mount on the root would hide nothing, but `/..` would lead to what
    /// is below it: the machine.
    fn target(
        self: *Performer,
        destination: []const u8,
        make_it: path_in_root.Make,
    ) ![:0]const u8 {
        const path = if (make_it == .file)
            try self.fileTarget(destination)
        else
            try path_in_root.resolve(self.arena, destination, make_it);
        if (path.len == 1) log.die(
            "cannot mount on {s}: it is the container's root, or leads there",
            .{destination},
        );
        return path;
    }

    /// The same for targets that a caller or an image names: a mount in /proc could make the
    /// runtime write its settings to another file (CVE-2019-16884, CVE-2019-19921).
    fn freeTarget(
        self: *Performer,
        destination: []const u8,
        make_it: path_in_root.Make,
    ) ![:0]const u8 {
        const path = try self.target(destination, make_it);
        const inside = std.mem.cutPrefix(u8, path, "/proc") orelse return path;
        if (inside.len > 0 and inside[0] != '/') return path;
        if (isOneOf(inside, &proc_files)) return path;
        log.die("cannot mount on {s}: it is in /proc, or leads there", .{destination});
    }

    /// The kernel's file systems are mounted at their own paths, not where a link of the image
    /// leads: the masks of /proc and /sys would miss them (CVE-2019-19921).
    fn mountTarget(self: *Performer, mount: *const operations.Mount) ![:0]const u8 {
        const wanted = mount.target;
        if (isOneOf(mount.fstype, &.{ "tmpfs", "cgroup2" }))
            return self.freeTarget(wanted, .directory);
        const path = try self.target(wanted, .directory);
        if (!std.mem.eql(u8, path, std.mem.trimEnd(u8, wanted, "/"))) log.die(
            "cannot mount {s} on {s}: a link of the image leads elsewhere",
            .{ mount.fstype, wanted },
        );
        return path;
    }

    /// A file to mount on, which is made if there is none.
    fn fileTarget(self: *Performer, destination: []const u8) ![:0]const u8 {
        if (self.isPlain(parentOf(destination))) {
            const path = try self.arena.dupeSentinel(u8, destination, 0);
            if (createAt(sys.at_fdcwd, path)) |fd| {
                sys.close(fd);
                return path;
            } else |_| {}
        }
        const path = try path_in_root.resolve(self.arena, destination, .file);
        if (std.mem.eql(u8, path, destination)) self.plain = parentOf(path);
        return path;
    }

    /// Where something is made whose directory may be reached by links.
    fn newPath(self: *const Performer, destination: []const u8) ![:0]const u8 {
        const parent = parentOf(destination);
        return text.alloc(self.arena, "{s}{s}", .{
            if (self.isPlain(parent))
                parent
            else
                try path_in_root.resolve(self.arena, parent, .directory),
            destination[parent.len..],
        });
    }

    fn isPlain(self: *const Performer, directory: []const u8) bool {
        return std.mem.eql(u8, self.plain orelse return false, directory);
    }

    /// Replaces what the image has there, which may be a pipe or a device.
    fn replace(self: *const Performer, destination: []const u8) !sys.fd_t {
        const path = try path_in_root.resolve(self.arena, destination, .file);
        try sys.do(.unlinkat, .{ sys.at_fdcwd, path.ptr, 0 });
        return createAt(sys.at_fdcwd, path);
    }

    fn copyFile(self: *const Performer, copy: *const operations.Copy) !void {
        const source = copy.source;
        if (try sys.fdMode(source.fd) & 0o170000 != 0o100000) return error.INVAL;
        var buf: [32:0]u8 = undefined;
        const path = source.machinePath(&buf);
        const from = try sys.openat(sys.at_fdcwd, path, .{ .CLOEXEC = true }, 0);
        defer sys.close(from);
        const fd = try self.replace(copy.target);
        defer sys.close(fd);
        copyAll(from, fd) catch |err|
            log.die("cannot copy {s}: {s}", .{ copy.target, errno.text(err) });
    }

    fn makeDirectory(self: *const Performer, directory: *const operations.Directory) !void {
        const wanted = directory.path;
        if (path_in_root.resolve(self.arena, wanted, .nothing)) |_| return else |_| {}
        const path = try path_in_root.resolve(self.arena, wanted, .directory);
        if (self.ids == .single) return;
        if (directory.owner) |owner|
            try sys.do(.fchownat, .{ sys.at_fdcwd, path.ptr, owner.uid, owner.gid, no_follow });
    }

    fn makeDevice(self: *const Performer, device: *const operations.Device) !void {
        const path = try self.newPath(device.path);
        const char_device = 0o020666;
        const number = device.major << 8 | device.minor;
        try sys.do(.mknodat, .{ sys.at_fdcwd, path.ptr, char_device, number });
        // The umask must not apply.
        try sys.do(.fchmodat, .{ sys.at_fdcwd, path.ptr, 0o666 });
    }
};

/// Of *at(2) calls.
const no_follow = 0x100;

/// Files that only show numbers; runc allows mounts on them, too (for lxcfs).
const proc_files = [_][]const u8{
    "/cpuinfo",  "/diskstats", "/meminfo", "/stat", "/swaps", "/uptime", "/loadavg",
    "/slabinfo",
};

/// Whatever is mounted, is so with its restrictions, or the app does not start.
fn restrict(namespace: MountNamespace, path: [*:0]const u8, flags: usize) void {
    namespace.restrict(path, flags) catch |err|
        log.die("cannot restrict the mount on {s}: {s}", .{ path, errno.text(err) });
}

fn cannotWrite(path: []const u8, err: sys.Error) noreturn {
    log.die("cannot write {s}: {s}", .{ path, errno.text(err) });
}

fn parentOf(path: []const u8) []const u8 {
    return path[0 .. std.mem.findScalarLast(u8, path, '/') orelse 0];
}

fn createAt(dir: sys.fd_t, path: [*:0]const u8) sys.Error!sys.fd_t {
    return sys.openat(
        dir,
        path,
        .{ .ACCMODE = .WRONLY, .CREAT = true, .EXCL = true, .NOFOLLOW = true, .CLOEXEC = true },
        0o644,
    );
}

fn copyAll(from: sys.fd_t, to: sys.fd_t) sys.Error!void {
    var buf: [16384]u8 = undefined;
    while (true) {
        const got = try sys.readAll(from, &buf);
        if (got.len == 0) return;
        try sys.writeAll(to, got);
    }
}
