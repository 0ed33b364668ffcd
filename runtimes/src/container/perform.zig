//! Does the operations of a plan, after pivot_root: absolute paths lead into the container, the
//! working directory is still the machine's root, so that relative sources lead there.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const text = @import("../base/text.zig");
const log = @import("../base/log.zig");
const mount_options = @import("../config/mount_options.zig");
const operations = @import("operation.zig");
const mount_target = @import("mount_target.zig");
const path_in_root = @import("path_in_root.zig");
const userns = @import("../namespaces/userns.zig");
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const Operation = operations.Operation;
const MS = sys.MS;
const createAt = path_in_root.createAt;

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
    targets: mount_target.Targets,

    pub fn perform(self: *Performer, operation: *const Operation) error{OutOfMemory}!void {
        if (log.debugging) log.debug("{s}", .{try operation.describe(self.arena)});
        self.attempt(operation) catch |err| {
            if (err == error.OutOfMemory) return error.OutOfMemory;
            // The target is there by now; a working directory that was removed could be opened.
            const why = self.otherKind(operation) orelse
                if (operation.what == .bind and err == error.NOENT)
                    "its source has been removed"
                else
                    errno.text(err);
            const what = try operation.describe(self.arena);
            if (!operation.optional) log.die("cannot {s}: {s}", .{ what, why });
            log.debug("could not {s}: {s}", .{ what, why });
        };
    }

    /// Why nothing can be mounted there, if the image has a file where a directory is mounted, or
    /// the reverse.
    fn otherKind(self: *const Performer, operation: *const Operation) ?[]const u8 {
        const target, const directory = switch (operation.what) {
            .mount => |*mount| .{ mount.target, true },
            .bind => |*bind| .{ bind.target, bind.directory },
            else => return null,
        };
        const st = (self.present(target) catch return null) orelse return null;
        if (sys.isDirectory(st.mode) == directory) return null;
        return if (directory) "a file is there" else "a directory is there";
    }

    fn attempt(self: *Performer, operation: *const Operation) !void {
        switch (operation.what) {
            .bind => |*bind| if (bind.directory) {
                self.targets.plain = null;
            },
            .link => {},
            else => self.targets.plain = null,
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
                const path = try self.targets.new(link.path);
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
        const path = try self.targets.ofMount(mount);
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
        path: [:0]const u8,
        optional: bool,
    ) !void {
        // Before the options that are given, which may name another owner.
        const owner = if (self.rootIsOther() and mount.fstype[0] == 't') "uid=0,gid=0," else "";
        const all = try text.alloc(self.arena, "{s}{s}", .{ owner, mount.data });
        const target = try self.targets.pinned(path);
        self.tryMount(namespace, mount, target, all) catch |err| {
            // The user namespace lacks an id (devpts' group 5), or the kernel an option.
            if (err == error.INVAL) if (try mount_options.withoutIds(self.arena, all)) |data|
                return self.tryMount(namespace, mount, target, data);
            const refused = err == error.PERM or err == error.ACCES;
            if (mount.instead) |machines| if (refused or optional) {
                const source: mount_target.From = .{ .path = machines.path[1..] };
                try self.targets.bind(namespace, source, path, machines.flags);
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
        const path = try self.targets.free(bind.target, if (bind.directory) .directory else .file);
        const source: mount_target.From = switch (bind.source) {
            .opened => |source| if (source.detached)
                .{ .tree = source.fd }
            else
                .{ .path = source.machinePath(&buf) },
            .path => |path_there| .{ .path = path_there[1..] },
        };
        try self.targets.bind(namespace, source, path, bind.flags);
        if (bind.shared) self.targets.shared = true;
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
        if (write.for_single_root) {
            if (self.ids != .single) return;
            const directory = std.fs.path.dirname(write.path).?;
            if (try self.present(directory) == null) return;
        }
        const base = std.fs.path.basename(write.path);
        const name = try text.alloc(self.arena, ".dockerc.{s}", .{base});
        const fd = createAt(self.workspace, name) catch |err| cannotWrite(write.path, err);
        try self.writeFile(fd, write);
        self.giveToRoot(fd, "");
        const path = try self.targets.free(write.path, .file);
        var buf: [32:0]u8 = undefined;
        const source: mount_target.From = .{ .path = sys.fdPath(&buf, fd) + 1 };
        try self.targets.bind(namespace, source, path, 0);
    }

    /// What we make belongs to the app's user, who is the caller outside; as in docker's containers
    /// it is root's, where there is a root.
    noinline fn giveToRoot(self: *const Performer, dir: sys.fd_t, path: [*:0]const u8) void {
        if (!self.rootIsOther()) return;
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
        const path = try self.targets.any(destination, .nothing);
        if (sys.isDirectory(st.mode))
            return namespace.mount(
                "tmpfs",
                try self.targets.pinned(path),
                "tmpfs",
                MS.rdonly,
                "size=0k",
            );
        try self.targets.bind(namespace, .{ .path = "dev/null" }, path, MS.rdonly);
    }

    fn protect(self: *Performer, namespace: MountNamespace, destination: []const u8) !void {
        _ = try self.present(destination) orelse return;
        const path = try self.targets.any(destination, .nothing);
        const source: mount_target.From = .{ .path = try self.targets.pinned(path) };
        try self.targets.bind(namespace, source, path, MS.rdonly);
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

    /// Replaces what the image has there, which may be a pipe or a device.
    fn replace(self: *const Performer, destination: []const u8) !sys.fd_t {
        const path = try path_in_root.resolve(self.arena, destination, .file, false);
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
        if (path_in_root.resolve(self.arena, wanted, .nothing, false)) |_| return else |_| {}
        const path = try path_in_root.resolve(
            self.arena,
            wanted,
            .directory,
            self.targets.shared,
        );
        if (self.ids == .single) return;
        const owner = directory.owner orelse return;
        const fd = try path_in_root.open(self.arena, path);
        defer sys.close(fd);
        try sys.do(.fchownat, .{ fd, "", owner.uid, owner.gid, empty_path });
    }

    fn makeDevice(self: *const Performer, device: *const operations.Device) !void {
        const path = try self.targets.new(device.path);
        const char_device = 0o020666;
        const number = device.major << 8 | device.minor;
        try sys.do(.mknodat, .{ sys.at_fdcwd, path.ptr, char_device, number });
        // The umask must not apply.
        try sys.do(.fchmodat, .{ sys.at_fdcwd, path.ptr, 0o666 });
    }
};

/// Of *at(2) calls.
const no_follow = 0x100;
const empty_path = 0x1000;

fn cannotWrite(path: []const u8, err: sys.Error) noreturn {
    log.die("cannot write {s}: {s}", .{ path, errno.text(err) });
}

fn copyAll(from: sys.fd_t, to: sys.fd_t) sys.Error!void {
    var buf: [16384]u8 = undefined;
    while (true) {
        const got = try sys.readAll(from, &buf);
        if (got.len == 0) return;
        try sys.writeAll(to, got);
    }
}
