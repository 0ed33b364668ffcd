//! The container, set up from inside by the process that becomes the app.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const text = @import("../base/text.zig");
const log = @import("../base/log.zig");
const config = @import("../config/spec.zig");
const credentials = @import("credentials.zig");
const CpuPolicy = @import("../process/cpu_policy.zig").CpuPolicy;
const Identity = @import("../namespaces/mount_namespace.zig").Identity;
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const landlock = @import("landlock.zig");
const loopback = @import("loopback.zig");
const Outputs = @import("../process/standard_output.zig").Outputs;
const own_process = @import("../process/own_process.zig");
const ChildProcess = own_process.ChildProcess;
const OwnRoot = own_process.OwnRoot;
const Process = own_process.Process;
const exec = @import("exec.zig");
const Operation = @import("operation.zig").Operation;
const Performer = @import("perform.zig").Performer;
const rootfs = @import("../rootfs/rootfs.zig");
const seccomp = @import("seccomp/filter.zig");
const Program = @import("seccomp/program.zig").Program;
const apply_options = @import("../config/apply_options.zig");
const signals = @import("../process/signals.zig");
const socket = @import("../base/socket.zig");
const Terminal = @import("../process/terminal.zig").Terminal;
const watchdog = @import("../process/watchdog.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Ids = @import("../namespaces/userns.zig").Ids;

/// What is not known yet when the child is made.
pub const Prepared = extern struct { ids: Ids, rootfs: rootfs.Kind };

/// The socket between the runtime and the app's process until that is the app: that the root file
/// system is mounted, what is executed, and why that failed.
pub const Lifeline = struct {
    ours: sys.fd_t,
    theirs: sys.fd_t,

    pub fn open() !Lifeline {
        const ends = try socket.pair();
        return .{ .ours = ends[0], .theirs = ends[1] };
    }

    pub fn goOn(self: Lifeline, prepared: Prepared) void {
        socket.send(self.ours, std.mem.asBytes(&prepared), &.{}) catch {};
        sys.close(self.theirs);
    }
};

pub const Container = struct {
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    /// What the container gets, in order.
    operations: []const Operation,
    args: []const []const u8,
    env: Environment,
    /// The mask that the caller had, which is the app's.
    signal_mask: signals.Set,
    /// Signals that the caller ignores, and the app does not.
    ignored: signals.Set,
    host_access: apply_options.HostAccess,
    /// Null where all system calls are allowed.
    filter: ?Program,
    /// Whether an init starts the app and reaps orphans (--init).
    init: bool,
    /// The processors of the app; during the start all runs on one.
    cpus: *const CpuPolicy,
    mounts: ?MountNamespace,
    /// The caller's, where there is one to keep from the app.
    terminal: ?*const Terminal,
    outputs: *const Outputs,
    lifeline: Lifeline,
    ids: Ids = .none,
    rootfs: rootfs.Kind = .directory,
    process: ChildProcess = undefined,
    /// Whether we were forked late, in the caller's session.
    late: bool = false,
    /// The directory of the run, as long as our mounts are made.
    workspace: sys.fd_t = -1,
    /// Our own root directory, which no mount may cover.
    root: Identity = undefined,
    /// The machine's root is still mounted below ours: it cannot be unmounted.
    covers_machine: bool = false,

    /// The namespaces of config.json, and the same without a cgroup namespace.
    pub fn namespaces(self: *const Container) [2]u32 {
        const wants = &self.spec.linux;
        const pid = if (wants.hasNamespace("pid")) sys.CLONE.newpid else 0;
        return .{ pid | (if (wants.hasNamespace("cgroup")) sys.CLONE.newcgroup else 0), pid };
    }

    /// The process that becomes the app is cloned by the watchdog, which was forked early and has
    /// few pages and no threads: cloned by the runtime, every later write of its threads would copy
    /// a page.
    pub fn role(self: *Container) watchdog.Role {
        return .{ .context = self, .run = runCloned };
    }

    fn runCloned(context: *anyopaque, process: ChildProcess) noreturn {
        const self: *Container = @ptrCast(@alignCast(context));
        self.run(process);
    }

    /// Makes it when the root file system is there, where that cannot be done early (by qemu-user).
    /// After that no thread can be made. It leads a session that has no terminal.
    pub fn forkLate(self: *Container) !Process {
        const wanted = self.namespaces();
        if (self.mounts != null) sys.do(.unshare, .{wanted[0]}) catch
            try sys.do(.unshare, .{wanted[1]});
        self.late = true;
        self.terminal = null;
        switch (try own_process.clone(0)) {
            .parent => |process| return process,
            .child => |process| self.run(process),
        }
    }

    fn run(self: *Container, process: ChildProcess) noreturn {
        self.process = process;
        sys.close(self.lifeline.ours);
        // First of all: from here on we do not outlive the runtime.
        self.dieWithRuntime() catch |err| fatal("tie the app to its runtime", err);
        self.separate() catch |err| fatal("leave the caller's process group", err);
        self.wait() catch |err| fatal("follow the runtime", err);
        self.enter() catch |err| fatal("set up the file system", err);
        self.tree() catch |err| fatal("set up the container's mounts", err);
        self.setupProcess() catch |err| fatal("set up the app's process", err);
    }

    /// A signal to our own process group (kill(2), pid 0) must not reach the caller.
    fn separate(self: *const Container) !void {
        if (self.late) return sys.do(.setsid, .{});
        try sys.do(.setpgid, .{ 0, 0 });
        if (self.terminal) |own| if (own.whole) own.setForeground(@intCast(sys.raw(.getpid, .{})));
    }

    fn fatal(what: []const u8, err: anyerror) noreturn {
        log.die("cannot {s}: {s}", .{ what, errno.text(err) });
    }

    /// Waits until the runtime has prepared the root file system, which is then our working
    /// directory.
    fn wait(self: *Container) !void {
        var prepared: Prepared = undefined;
        // No message: the runtime has ended, and has said why.
        const got = try socket.receive(self.lifeline.theirs, std.mem.asBytes(&prepared), true);
        if (got.bytes.len != @sizeOf(Prepared)) sys.exit(log.failed);
        self.ids = prepared.ids;
        self.rootfs = prepared.rootfs;
        // Not the caller's: the app's user must be able to pass the directories that are made.
        _ = sys.raw(.umask, .{0o022});
    }

    /// The mounted root becomes our root; the machine's becomes our working directory.
    fn enter(self: *Container) !void {
        // A process that was forked late has its own already.
        const own_root = try self.process.ownRoot();
        const flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
        self.workspace = try sys.openat(sys.at_fdcwd, ".", flags, 0);
        const machine = try sys.openat(sys.at_fdcwd, "/", flags, 0);
        if (self.rootfs == .mounted) try sys.do(.chdir, .{"root"});
        self.root = try Identity.of(".");
        if (self.rootfs == .mounted) try self.pivot(own_root) else try own_root.chroot();
        try self.checkRoot("/");
        try sys.do(.fchdir, .{machine});
    }

    fn pivot(self: *Container, own_root: OwnRoot) !void {
        const namespace = self.mounts orelse return error.PERM;
        namespace.pivotRoot() catch |err| {
            if (err != error.INVAL) return err;
            // pivot_root(2) is refused on an initramfs: cover it, as switch_root(8) does.
            try namespace.mount(".", "/", null, sys.MS.move, null);
            try own_root.chroot();
            self.covers_machine = true;
        };
    }

    /// Checks that the root is the one that this run has made, whatever pivot_root(2) or chroot(2)
    /// returned.
    fn checkRoot(self: *const Container, path: [*:0]const u8) !void {
        if (!(try Identity.of(path)).is(self.root))
            log.die("the container's root is not the image's: refusing to start the app", .{});
    }

    fn tree(self: *Container) !void {
        var performer: Performer = .{
            .arena = self.arena,
            .namespace = self.mounts,
            .ids = self.ids,
            .app_is_caller = self.spec.process.user.uid != 0 or self.spec.process.user.gid != 0,
            .devpts = if (self.terminal) |own| own.devpts else null,
            .workspace = self.workspace,
        };
        for (self.operations) |*operation| try performer.perform(operation);
        try exec.setHome(self.arena, &self.env, self.spec.process.user.uid);
        if (self.mounts) |namespace| if (!self.covers_machine)
            try namespace.unmountWorkingDirectory();
        try sys.do(.chdir, .{"/"});
        // A mount over the root shows only here: `/..` would lead to what is below it.
        for ([_][:0]const u8{ "/", "/..", "/../.." }) |path| try self.checkRoot(path);
        log.debug("root is the container's", .{});
    }

    /// Gives the terminal to the app's user, who may open it again.
    fn takeTerminal(self: *Container, own: *const Terminal) !void {
        if (self.ids != .single) sys.do(
            .fchown,
            .{ own.slave, self.spec.process.user.uid, -1 },
        ) catch |err| log.debug("terminal: {s}", .{errno.text(err)});
        try own.replaceStreams();
    }

    /// Gives pipes to the app's user, who may open them again (/dev/stdout), as runc does. Files
    /// keep their owner, and so do pipes that have a name: they are the machine's.
    fn giveStreams(self: *const Container) void {
        const user = self.spec.process.user;
        if (self.ids == .single) return;
        for ([_]sys.fd_t{ 0, 1, 2 }) |fd| {
            const st = sys.stat(fd, "") catch continue;
            if (st.mode & 0o170000 != 0o010000 or st.uid == user.uid) continue;
            // struct statfs has 120 bytes, and begins with the file system's magic number.
            var about: [15]u64 = undefined;
            const pipefs = 0x5049_5045;
            sys.do(.fstatfs, .{ fd, &about }) catch continue;
            if (about[0] == pipefs) sys.do(.fchown, .{ fd, user.uid, -1 }) catch |err|
                log.debug("stream {d}: {s}", .{ fd, errno.text(err) });
        }
    }

    /// Refuses directories of the machine as standard streams, and replaces the machine's /dev/null
    /// by the container's: root's app could change the mode of the machine's.
    fn checkStreams(_: *const Container) !void {
        for ([_]sys.fd_t{ 0, 1, 2 }) |fd| {
            const st = sys.stat(fd, "") catch continue;
            if (sys.isDirectory(st.mode)) log.die("standard stream {d} is a directory: the app " ++
                "would leave its root by it", .{fd});
            const null_device = st.mode & 0o170000 == 0o020000 and
                st.rdev_major == 1 and st.rdev_minor == 3;
            if (!null_device) continue;
            const get_flags = 3;
            const access: u2 = @truncate(try sys.call(.fcntl, .{ fd, get_flags, 0 }));
            const own = sys.openat(sys.at_fdcwd, "/dev/null", @bitCast(@as(u32, access)), 0) catch
                continue;
            try sys.do(.dup3, .{ own, fd, 0 });
            sys.close(own);
        }
    }

    fn setupProcess(self: *Container) !noreturn {
        const process = &self.spec.process;
        if (self.spec.linux.hasNamespace("network")) loopback.raise();
        if (self.spec.linux.hasNamespace("uts")) if (self.spec.hostname) |name|
            sys.do(.sethostname, .{ name.ptr, name.len }) catch |err|
                log.die("cannot take the hostname {s}: {s}", .{ name, errno.text(err) });
        if (process.oomScoreAdj) |score| self.setOomScore(score) catch |err|
            log.debug("oom score: {s}", .{errno.text(err)});
        credentials.setLimits(process.rlimits);
        if (process.user.umask) |umask| _ = sys.raw(.umask, .{umask});
        signals.resetHandlers(self.ignored);
        try signals.restore(&self.signal_mask);

        if (self.terminal) |own| try self.takeTerminal(own);
        try self.outputs.replaceStreams();
        self.giveStreams();
        try self.checkStreams();
        try self.closeDescriptors();
        if (!self.late) try exec.prepareLauncher();
        if (process.noNewPrivileges) try credentials.noNewPrivileges();
        if (!self.host_access.unconfined)
            if (self.mounts != null) landlock.scope() else landlock.confine();
        // Installing a filter needs no_new_privs or a capability that is about to be dropped.
        if (!process.noNewPrivileges) self.filterCalls();
        credentials.setIds(self.arena, process.user, self.ids) catch |err|
            log.die(
                "cannot become user {d} and group {d}: {s}",
                .{ process.user.uid, process.user.gid, errno.text(err) },
            );
        // As the app's user: only they may be able to enter it.
        const cwd = try self.arena.dupeSentinel(u8, process.cwd, 0);
        sys.do(.chdir, .{cwd.ptr}) catch |err|
            log.die("cannot enter {s}: {s}", .{ cwd, errno.text(err) });
        // For a directory outside of the root getcwd(2) returns a path that does not start with a
        // slash.
        var where: [std.posix.PATH_MAX]u8 = undefined;
        const inside = if (sys.call(.getcwd, .{ &where, where.len })) |_|
            where[0] == '/'
        else |_|
            false;
        if (!inside) log.die("cannot enter {s}: it leads out of the container", .{cwd});
        try credentials.setCapabilities(process.capabilities, if (self.mounts == null and
            !self.host_access.unconfined) credentials.out_of_chroot else 0);
        if (process.noNewPrivileges) self.filterCalls();
        // A change of ids clears it.
        try self.dieWithRuntime();
        self.cpus.useAll();
        const path = try exec.locate(self.arena, self.args[0], &self.env);
        try exec.start(
            self.arena,
            path,
            self.args,
            &self.env,
            if (self.late) .emulated else if (self.init) .with_init else .plain,
            self.lifeline.theirs,
            self.terminal != null,
        );
    }

    /// Closes the runtime's descriptors, and those that the caller had open: a working directory or
    /// program of /proc/self/fd/N must not lead to the machine's files (as in runc,
    /// CVE-2024-21626). Only the lifeline stays, as the first one, until the exec.
    fn closeDescriptors(self: *Container) !void {
        const first = exec.lifeline_fd;
        if (self.lifeline.theirs != first) {
            const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
            try sys.do(.dup3, .{ self.lifeline.theirs, first, cloexec });
            self.lifeline.theirs = first;
        }
        sys.closeRange(first + 1, std.math.maxInt(sys.fd_t));
    }

    fn filterCalls(self: *const Container) void {
        if (self.filter) |*filter| seccomp.install(filter);
    }

    fn setOomScore(self: *Container, score: i32) !void {
        try sys.writeFile(
            sys.at_fdcwd,
            "/proc/self/oom_score_adj",
            try text.alloc(self.arena, "{d}", .{score}),
        );
    }

    /// SIGKILL when the runtime dies, or now if it already has. The app may clear this; then the
    /// watchdog kills it.
    fn dieWithRuntime(self: *const Container) !void {
        const set_pdeathsig = 1;
        const sigkill = 9;
        try sys.do(.prctl, .{ set_pdeathsig, sigkill, 0, 0, 0 });
        const hung_up = std.os.linux.POLL.HUP;
        var poll: std.os.linux.pollfd = .{ .fd = self.lifeline.theirs, .events = 0, .revents = 0 };
        var at_once: std.os.linux.timespec = .{ .sec = 0, .nsec = 0 };
        // The kernel writes the remaining time back.
        _ = try sys.call(.ppoll, .{ &poll, 1, &at_once, 0, 0 });
        if (poll.revents & hung_up != 0) sys.exit(log.failed);
    }
};
