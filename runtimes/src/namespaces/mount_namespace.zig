//! A mount namespace that this process has made for itself. Whatever mounts, unmounts or pivots
//! takes a value of this type, and only a successful unshare(2) makes one: a start that was refused
//! a namespace cannot change the machine's mounts.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const MS = sys.MS;

/// Of one mounted tree, in one mount namespace (statx(2), stx_mnt_id), and what it shows.
pub const Identity = struct {
    mount: u64,
    inode: u64,

    /// Of what a path leads to.
    pub fn of(path: [*:0]const u8) sys.Error!Identity {
        const st = try sys.stat(sys.at_fdcwd, path);
        return .{ .mount = st.mnt_id, .inode = st.ino };
    }

    pub fn is(self: Identity, other: Identity) bool {
        return self.mount == other.mount and self.inode == other.inode;
    }
};

pub const MountNamespace = struct {
    /// Nothing outside of this file can make one.
    made: *const Made,

    const Made = opaque {};

    /// A new mount namespace, and what else `flags` ask for. A filter may answer unshare(2) with
    /// success and do nothing (seccomp(2), SECCOMP_RET_ERRNO with 0): that is a refusal.
    pub fn unshare(flags: u32) sys.Error!MountNamespace {
        try mayMount();
        const before = try number();
        try sys.do(.unshare, .{flags | sys.CLONE.newns});
        if (try number() == before) return error.PERM;
        return .{ .made = @ptrCast(&any) };
    }

    /// Asked before anything is changed. The kernel looks for the target first, and at rights
    /// then: with an address that nobody has, only a filter says EPERM (systemd's @system-service).
    pub fn mayMount() sys.Error!void {
        const nowhere: usize = std.math.maxInt(usize) - 4095;
        sys.do(.mount, .{ 0, nowhere, 0, 0, 0 }) catch |err|
            return if (err == error.FAULT) {} else err;
        return error.PERM;
    }

    /// The first process of a machine of its own (machine/boot.zig): nothing is mounted yet, so
    /// that nothing but its own memory can be changed. Null for every other process.
    pub fn ofMachine() ?MountNamespace {
        if (sys.raw(.getpid, .{}) != 1) return null;
        if (sys.stat(sys.at_fdcwd, "/proc/self")) |_| return null else |_| {}
        // The first process of a container gets EINVAL or EPERM (reboot_pid_ns() of
        // kernel/pid_namespace.c). For the kernel's own it means that Ctrl-Alt-Del sends a signal.
        const ctrl_alt_del_off = 0;
        const magic = [_]usize{ 0xfee1_dead, 0x2812_1969 };
        sys.do(.reboot, .{ magic[0], magic[1], ctrl_alt_del_off, 0 }) catch return null;
        return .{ .made = @ptrCast(&any) };
    }

    /// The mount that is the working directory is moved over the root, and becomes it.
    pub fn becomeRoot(self: MountNamespace) sys.Error!void {
        try self.mount(".", "/", null, MS.move, null);
        return sys.do(.chroot, .{"."});
    }

    /// What `made` points to: nothing reads it.
    const any: u8 = 0;

    fn number() sys.Error!u64 {
        return (try sys.stat(sys.at_fdcwd, "/proc/self/ns/mnt")).ino;
    }

    pub fn mount(
        _: MountNamespace,
        source: ?[*:0]const u8,
        target: [*:0]const u8,
        fstype: ?[*:0]const u8,
        flags: usize,
        data: ?[*:0]const u8,
    ) sys.Error!void {
        return sys.do(.mount, .{ source, target, fstype, flags, data });
    }

    /// Our mounts must not propagate to the machine, nor the machine's to us.
    pub fn makePrivate(self: MountNamespace) sys.Error!void {
        self.mount(null, "/", null, MS.private | MS.rec, null) catch |err|
            if (err == error.INVAL) try self.leaveChroot() else return err;
    }

    /// The root of a chroot(2) need be no mount point, and what it is mounted in cannot be reached
    /// to be made private. So all is made private from the namespace's own root, over which the
    /// chroot's is bound then: it is our root again, and nothing is above it.
    noinline fn leaveChroot(self: MountNamespace) sys.Error!void {
        const directory: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
        var cwd: [std.posix.PATH_MAX:0]u8 = @splat(0);
        // Of a directory outside of the chroot it does not begin with a slash.
        _ = try sys.call(.getcwd, .{ &cwd, cwd.len });
        const root = try sys.openat(sys.at_fdcwd, "/", directory, 0);
        defer sys.close(root);
        const own = try sys.openat(sys.at_fdcwd, "/proc/self/ns/mnt", .{ .CLOEXEC = true }, 0);
        defer sys.close(own);
        // setns(2): root and working directory become the namespace's root, as mounted last.
        try sys.do(.setns, .{ own, sys.CLONE.newns });
        try self.mount(null, "/", null, MS.private | MS.rec, null);
        try sys.do(.fchdir, .{root});
        try self.mount(".", "/", null, MS.bind | MS.rec, null);
        try sys.do(.setns, .{ own, sys.CLONE.newns });
        const now, const before = .{ try sys.stat(sys.at_fdcwd, "/"), try sys.stat(root, "") };
        if (now.ino != before.ino or now.mnt_id == before.mnt_id) return error.PERM;
        if (cwd[0] == '/') sys.do(.chdir, .{&cwd}) catch {};
        log.debug("the root of a chroot made a mount point", .{});
    }

    /// Binds an open file or directory to another path.
    pub fn bindFd(self: MountNamespace, fd: sys.fd_t, target: [*:0]const u8) sys.Error!void {
        var buf: [32:0]u8 = undefined;
        return self.mount(sys.fdPath(&buf, fd), target, null, MS.bind | MS.rec, null);
    }

    /// Restricts the whole tree at a mount point; `flags` as in mount(2), whose values
    /// mount_setattr(2) shares.
    pub fn restrict(self: MountNamespace, target: [*:0]const u8, flags: usize) sys.Error!void {
        if (setAttributes(sys.at_fdcwd, target, at_recursive, flags)) |_|
            return
        else |err| if (err != error.NOSYS) return err;
        // Before Linux 5.12 only the mount itself, and flags that came with it have to be named.
        const again = MS.remount | MS.bind | flags;
        self.mount(null, target, null, again, null) catch
            try self.mount(null, target, null, again | restrictions & ~@as(usize, MS.rdonly), null);
    }

    /// The same for a detached mount, with all that is mounted in it.
    pub fn restrictTree(_: MountNamespace, tree: sys.fd_t, flags: usize) sys.Error!void {
        return setAttributes(tree, "", at_empty_path | at_recursive, flags);
    }

    /// A detached mount of an open directory with all that is mounted in it (open_tree(2)).
    pub fn detachedTree(_: MountNamespace, fd: sys.fd_t) sys.Error!sys.fd_t {
        return openTree(fd, at_recursive);
    }

    /// The same of what another namespace has at `path`. Entered for this, it must be of a process
    /// that is proven to be ours (keeper/peer.zig); we are back here on return, or do not go on.
    pub fn treeOf(_: MountNamespace, other: sys.fd_t, path: [*:0]const u8) sys.Error!sys.fd_t {
        const directory: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
        const own = try sys.openat(sys.at_fdcwd, "/proc/self/ns/mnt", .{ .CLOEXEC = true }, 0);
        defer sys.close(own);
        // setns(2) replaces both.
        const root = try sys.openat(sys.at_fdcwd, "/", directory, 0);
        defer sys.close(root);
        const cwd = try sys.openat(sys.at_fdcwd, ".", directory, 0);
        defer sys.close(cwd);
        try sys.do(.setns, .{ other, sys.CLONE.newns });
        const found = sys.openat(sys.at_fdcwd, path, directory, 0);
        const tree = if (found) |fd| openTree(fd, 0) else |err| err;
        if (found) |fd| sys.close(fd) else |_| {}
        comeBack(own, root, cwd) catch |err|
            log.die("cannot return to the own mount namespace: {s}", .{errno.text(err)});
        return tree;
    }

    fn comeBack(own: sys.fd_t, root: sys.fd_t, cwd: sys.fd_t) sys.Error!void {
        try sys.do(.setns, .{ own, sys.CLONE.newns });
        try sys.do(.fchdir, .{root});
        try sys.do(.chroot, .{"."});
        try sys.do(.fchdir, .{cwd});
        if (try number() != (try sys.stat(own, "")).ino) return error.PERM;
    }

    fn openTree(fd: sys.fd_t, how: u32) sys.Error!sys.fd_t {
        const clone = 1;
        const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
        const flags = how | clone | cloexec | at_empty_path;
        try heeded(.open_tree);
        return @intCast(try sys.call(.open_tree, .{ fd, "", flags }));
    }

    /// A detached, restricted mount of an open file or directory.
    pub fn detached(_: MountNamespace, fd: sys.fd_t, flags: usize) sys.Error!sys.fd_t {
        const tree = try openTree(fd, 0);
        errdefer sys.close(tree);
        try setAttributes(tree, "", at_empty_path, flags);
        return tree;
    }

    /// A new, detached instance of devpts (fsopen(2)), for `attach`.
    pub fn newDevpts(_: MountNamespace) sys.Error!sys.fd_t {
        const context = try newContext("devpts");
        defer sys.close(context);
        const set_string = 1;
        try sys.do(.fsconfig, .{ context, set_string, "ptmxmode", "0666", 0 });
        try sys.do(.fsconfig, .{ context, set_string, "mode", "0620", 0 });
        // The group tty, where it has an id in our user namespace.
        _ = sys.raw(.fsconfig, .{ context, set_string, "gid", "5", 0 });
        return newMount(context);
    }

    fn newContext(fstype: [*:0]const u8) sys.Error!sys.fd_t {
        return @intCast(try sys.call(.fsopen, .{ fstype, mount_cloexec }));
    }

    fn newMount(context: sys.fd_t) sys.Error!sys.fd_t {
        const create = 6;
        try sys.do(.fsconfig, .{ context, create, 0, 0, 0 });
        return @intCast(try sys.call(.fsmount, .{ context, mount_cloexec, MS.nosuid | MS.noexec }));
    }

    const mount_cloexec = 1;

    /// Leaves nothing mounted but an empty file system, for good: every mount of this namespace,
    /// the root that an app had among them, is put away at once (it is locked as long as it is the
    /// root, mount_namespaces(7)). `root` is a directory in it.
    pub fn abandon(self: MountNamespace, root: sys.fd_t) sys.Error!void {
        const context = try newContext("tmpfs");
        defer sys.close(context);
        const empty = try newMount(context);
        defer sys.close(empty);
        try sys.do(.move_mount, .{ empty, "", root, "", both_empty_paths });
        try sys.do(.fchdir, .{empty});
        try self.pivotRoot();
        return self.unmountWorkingDirectory();
    }

    pub fn attach(_: MountNamespace, mounted: sys.fd_t, target: [*:0]const u8) sys.Error!void {
        const from_empty_path = 4;
        try heeded(.move_mount);
        return sys.do(.move_mount, .{ mounted, "", sys.at_fdcwd, target, from_empty_path });
    }

    /// The same, on what is open.
    pub fn attachTo(_: MountNamespace, mounted: sys.fd_t, target: sys.fd_t) sys.Error!void {
        try heeded(.move_mount);
        return sys.do(.move_mount, .{ mounted, "", target, "", both_empty_paths });
    }

    /// move_mount(2), of both.
    const both_empty_paths = 0x4 | 0x40;

    const at_empty_path: u32 = 0x1000;
    const at_recursive: u32 = 0x8000;

    /// Whether a call is made at all: with these flags the kernel refuses each of them, and only a
    /// filter answers with success. A volume would be missing, or could be written.
    noinline fn heeded(comptime call: sys.SYS) sys.Error!void {
        if (sys.do(call, .{ -1, "", -1, "", -1 })) |_| return error.PERM else |_| {}
    }

    fn setAttributes(dir: sys.fd_t, path: [*:0]const u8, how: u32, flags: usize) sys.Error!void {
        const MountAttr = extern struct {
            set: u64,
            clear: u64 = 0,
            propagation: u64 = 0,
            userns: u64 = 0,
        };
        const attr: MountAttr = .{ .set = flags };
        try heeded(.mount_setattr);
        return sys.do(.mount_setattr, .{ dir, path, how, &attr, @sizeOf(MountAttr) });
    }

    /// The mount that is the working directory, with all that is mounted in it.
    pub fn unmountWorkingDirectory(_: MountNamespace) sys.Error!void {
        return sys.do(.umount2, .{ ".", detach });
    }

    /// One that this run has put there.
    pub fn unmount(_: MountNamespace, target: [*:0]const u8) sys.Error!void {
        return sys.do(.umount2, .{ target, detach });
    }

    const detach = 2;

    /// The working directory becomes the root; the old root ends up on top of it (pivot_root(2)).
    pub fn pivotRoot(_: MountNamespace) sys.Error!void {
        return sys.do(.pivot_root, .{ ".", "." });
    }
};

/// Flags that restrict, the same in mount(2) and mount_setattr(2).
pub const restrictions = MS.rdonly | MS.nosuid | MS.nodev | MS.noexec;
