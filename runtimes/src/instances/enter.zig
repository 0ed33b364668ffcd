//! The namespaces of a run, and how another process enters them (setns(2)). Most are the
//! runtime's, which the app cannot change; a process id and a control group namespace has only the
//! app.
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const caller = @import("../process/caller.zig");
const CLONE = sys.CLONE;
const Identity = @import("../namespaces/mount_namespace.zig").Identity;
const ProcessDir = @import("process_dir.zig").ProcessDir;

const Kind = struct {
    name: [:0]const u8,
    flag: u32,
    of_app: bool = false,
    /// Our own one, in the machine's /proc.
    own: [:0]const u8,
};

/// The user namespace gives the rights to enter the others. After the mount namespace, paths are
/// the container's.
const kinds = [_]Kind{
    .{ .name = "user", .flag = CLONE.newuser, .own = "self/ns/user" },
    .{ .name = "pid", .flag = CLONE.newpid, .of_app = true, .own = "self/ns/pid_for_children" },
    .{ .name = "net", .flag = CLONE.newnet, .own = "self/ns/net" },
    .{ .name = "ipc", .flag = CLONE.newipc, .own = "self/ns/ipc" },
    .{ .name = "uts", .flag = CLONE.newuts, .own = "self/ns/uts" },
    .{ .name = "cgroup", .flag = CLONE.newcgroup, .of_app = true, .own = "self/ns/cgroup" },
    .{ .name = "mnt", .flag = CLONE.newns, .own = "self/ns/mnt" },
};
const user = 0;
const mounts = kinds.len - 1;

pub const Namespaces = struct {
    /// /proc of the machine.
    proc: sys.fd_t,
    /// Null where the run has ours.
    files: [kinds.len]?sys.fd_t = @splat(null),
    /// The root directory of the runtime and that of the app, which may have changed its own. Where
    /// the machine's root could not be unmounted, the runtime's is that.
    roots: [2]Identity = undefined,

    pub fn open(proc: sys.fd_t, runtime: ProcessDir, app: ProcessDir) sys.Error!Namespaces {
        var self: Namespaces = .{ .proc = proc };
        for (&self.files, &kinds) |*file, *kind| {
            const opened = try (if (kind.of_app) app else runtime).namespace(kind.name);
            if (try number(opened, "") == try number(proc, kind.own))
                sys.close(opened)
            else
                file.* = opened;
        }
        for (&self.roots, [_]ProcessDir{ runtime, app }) |*root, process| {
            const st = try sys.stat(process.fd, "root");
            root.* = .{ .mount = st.mnt_id, .inode = st.ino };
        }
        return self;
    }

    fn number(dir: sys.fd_t, path: [*:0]const u8) sys.Error!u64 {
        return (try sys.stat(dir, path)).ino;
    }

    /// Whether ids mean there what they mean here.
    pub fn shareIds(self: *const Namespaces) bool {
        return self.files[user] == null;
    }

    /// Whether there is a container to enter, and not a program that a chroot(2) confines.
    pub fn areContainer(self: *const Namespaces, runtime: ProcessDir) bool {
        return self.files[mounts] != null and caller.hasRootOfOurs(runtime.fd, "mountinfo");
    }

    /// By a process of one thread. Of the PID namespace its children become members. A filter may
    /// answer setns(2) with success and do nothing: then the process would go on outside.
    pub fn enter(self: *const Namespaces) void {
        for (self.files, &kinds) |each, *kind| if (each) |file| {
            sys.do(.setns, .{ file, kind.flag }) catch |err|
                log.die("cannot enter the run's {s} namespace: {s}", .{
                    kind.name,
                    errno.text(err),
                });
            const there = number(file, "") catch 0;
            const here = number(self.proc, kind.own) catch 1;
            if (there != here)
                log.die("the {s} namespace was not entered: refusing to go on", .{kind.name});
        };
        const root = Identity.of("/") catch |err|
            log.die("cannot use the run's root: {s}", .{errno.text(err)});
        if (!root.is(self.roots[0]) and !root.is(self.roots[1]))
            log.die("the root is not that of the run: refusing to go on", .{});
    }
};
