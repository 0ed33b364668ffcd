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
const Lifeline = @import("lifeline.zig").Lifeline;
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
const port_filter = @import("seccomp/port_filter.zig");
const root_emulation = @import("seccomp/root_emulation.zig");
const seccomp = @import("seccomp/filter.zig");
const Program = @import("../base/bpf.zig").Program;
const apply_options = @import("../config/apply_options.zig");
const signals = @import("../process/signals.zig");
const streams = @import("streams.zig");
const socket = @import("../base/socket.zig");
const Terminal = @import("../process/terminal.zig").Terminal;
const Channel = @import("../translation/start.zig").Channel;
const watchdog = @import("../process/watchdog.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Ids = @import("../namespaces/userns.zig").Ids;

/// What is not known yet when the child is made.
pub const Prepared = extern struct { ids: Ids, rootfs: rootfs.Kind };

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
    /// Whether the runtime is asked about the app's ports.
    publishes: bool,
    /// Whether an init starts the app and reaps orphans (--init).
    init: bool,
    /// The processors of the app; during the start all runs on one.
    cpus: *const CpuPolicy,
    mounts: ?MountNamespace,
    /// The caller's, where there is one to keep from the app.
    terminal: ?*const Terminal,
    outputs: *const Outputs,
    /// Which a service manager has opened for the app.
    sockets: u8,
    lifeline: Lifeline,
    /// To the tracer, if paths are translated.
    translation: ?Channel = null,
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
        self.lifeline.dieWithRuntime() catch |err| fatal("tie the app to its runtime", err);
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
        if (self.translation) |channel| return channel.enter();
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
            .targets = .{ .arena = self.arena },
        };
        for (self.operations) |*operation| try performer.perform(operation);
        try exec.setHome(self.arena, &self.env, self.spec.process.user.uid);
        if (self.translation != null) return;
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

    fn setupProcess(self: *Container) !noreturn {
        const process = &self.spec.process;
        if (self.spec.linux.hasNamespace("network")) loopback.raise();
        const own_name = self.translation == null and self.spec.linux.hasNamespace("uts");
        if (own_name) if (self.spec.hostname) |name|
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
        if (self.ids != .single) streams.give(process.user.uid);
        streams.refuseDirectories();
        try streams.replaceNullDevice(false);
        try self.lifeline.keepAlone(self.sockets);
        const direct = self.late or (self.translation != null and !self.init);
        if (!direct) try exec.prepareLauncher(self.lifeline.theirs + 1);
        if (process.noNewPrivileges) try credentials.noNewPrivileges();
        // The kernel allows a process one filter that asks (seccomp(2)): the tracer has it.
        if (self.publishes and self.translation == null)
            try port_filter.install(self.arena, self.lifeline.theirs);
        if (!self.host_access.unconfined)
            switch (self.rootfs) {
                .mounted => landlock.scope(),
                .directory => landlock.confine(),
                // What is in a domain may not use files of the tracer, which is in none.
                .translated => {},
            };
        // Installing a filter needs no_new_privs or a capability that is about to be dropped.
        if (!process.noNewPrivileges) try self.filterCalls();
        const keep_groups = self.host_access.keep_groups;
        credentials.setIds(self.arena, process.user, self.ids, keep_groups) catch |err|
            log.die(
                "cannot become user {d} and group {d}: {s}",
                .{ process.user.uid, process.user.gid, errno.text(err) },
            );
        // As the app's user: only they may be able to enter it.
        try exec.enterDirectory(self.arena, process.cwd);
        // An ordinary user has none.
        if (self.translation == null)
            try credentials.setCapabilities(process.capabilities, if (self.mounts == null and
                !self.host_access.unconfined) credentials.out_of_chroot else 0);
        if (process.noNewPrivileges) try self.filterCalls();
        // A change of ids clears it.
        try self.lifeline.dieWithRuntime();
        self.cpus.useAll();
        const path = try exec.locate(self.arena, self.args[0], &self.env);
        try exec.start(
            self.arena,
            path,
            self.args,
            &self.env,
            if (direct) .emulated else if (self.init) .with_init else .plain,
            self.lifeline.theirs,
            self.terminal != null,
        );
    }

    fn filterCalls(self: *const Container) !void {
        const filter = &(self.filter orelse return);
        try root_emulation.install(self.arena, .{
            .ids = self.ids,
            .uid = self.spec.process.user.uid,
            // The tracer remembers ids.
            .wanted = self.host_access.root_emulation and self.translation == null,
        });
        seccomp.install(filter);
    }

    fn setOomScore(self: *Container, score: i32) !void {
        try sys.writeFile(
            sys.at_fdcwd,
            "/proc/self/oom_score_adj",
            try text.alloc(self.arena, "{d}", .{score}),
        );
    }
};
