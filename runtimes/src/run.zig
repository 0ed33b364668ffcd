//! The run of an app, from the set-up of its container to its end: the steps of a start, in their
//! order.
const std = @import("std");
const sys = @import("base/syscalls.zig");
const errno = @import("base/errno.zig");
const log = @import("base/log.zig");
const capabilities = @import("base/capabilities.zig");
const cgroup = @import("namespaces/cgroup.zig");
const CpuPolicy = @import("process/cpu_policy.zig").CpuPolicy;
const upper_dir = @import("rootfs/upper_dir.zig");
const config = @import("config/spec.zig");
const deferred_unmount = @import("process/deferred_unmount.zig");
const tmpfs_policy = @import("rootfs/tmpfs_policy.zig");
const container_plan = @import("container/plan.zig");
const exec = @import("container/exec.zig");
const rootfs = @import("rootfs/rootfs.zig");
const seccomp = @import("container/seccomp/filter.zig");
const apply_options = @import("config/apply_options.zig");
const signals = @import("process/signals.zig");
const startup = @import("fuse/prefetch/startup.zig");
const standard_input = @import("process/standard_input.zig");
const userns = @import("namespaces/userns.zig");
const programs = @import("config/program.zig");
const volumes = @import("config/volumes.zig");
const MountNamespace = @import("namespaces/mount_namespace.zig").MountNamespace;
const Source = @import("config/source.zig").Source;
const Volume = @import("config/source.zig").Volume;
const Container = @import("container/container.zig").Container;
const Environment = @import("cli/environment.zig").Environment;
const Leftovers = @import("process/leftovers.zig").Leftovers;
const Options = @import("cli/options.zig").Options;
const Outputs = @import("process/standard_output.zig").Outputs;
const Owners = @import("namespaces/owners.zig").Owners;
const Process = @import("process/own_process.zig").Process;
const Quiesce = @import("process/quiesce.zig").Quiesce;
const Reader = @import("squashfs/reader.zig").Reader;
const Supervisor = @import("process/supervisor.zig").Supervisor;
const Terminal = @import("process/terminal.zig").Terminal;
const Watchdog = @import("process/watchdog.zig").Watchdog;

/// What to run: config.json with the caller's options.
const Plan = struct {
    spec: *config.Spec,
    /// Of the root file system in the payload.
    root: []const u8,
    host_access: apply_options.HostAccess,
    args: []const []const u8,
    env: Environment,

    fn make(
        arena: std.mem.Allocator,
        reader: *Reader,
        spec: *config.Spec,
        options: *const Options,
        callers: *const Environment,
    ) !Plan {
        const root = rootPath(spec);
        const host_access = try apply_options.apply(arena, spec, options, .{
            .arena = arena,
            .reader = reader,
            .root = root,
        });
        const args = config.command(
            arena,
            spec,
            options.last(.entrypoint),
            options.args,
        ) catch |err| switch (err) {
            error.OutOfMemory => |e| return e,
            error.Json => log.die("the payload's dev.dockerc.entrypoint or dev.dockerc.cmd is " ++
                "not a list of words", .{}),
        };
        if (args.len == 0) log.die("the image has no command: give one", .{});
        const env = try exec.environment(arena, spec, options, callers);
        if (options.ignored) |word| if (options.args.len > 0 and
            !(programs.isLikely(arena, reader, root, env.path(), options.args[0]) catch true))
            log.note("{s} was ignored, as docker run's option (to pass it to the program, " ++
                "put -- before it)", .{word});
        return .{
            .spec = spec,
            .root = root,
            .host_access = host_access,
            .args = args,
            .env = env,
        };
    }
};

/// Returns the app's exit status. `range`: whether the image needs more than one user id.
pub fn run(
    arena: std.mem.Allocator,
    reader: *Reader,
    spec: *config.Spec,
    options: *const Options,
    callers: *const Environment,
    range: bool,
) !u8 {
    signals.resetSigchld();
    // --user may name one of the image's passwd, and that takes a while.
    const known = options.last(.user) == null;
    const caller: userns.Caller = .begin(
        arena,
        callers,
        range,
        if (known) mappedIds(spec, options) else null,
    );
    var start: Start = .{
        .arena = arena,
        .reader = reader,
        .options = options,
        .callers = callers,
        .caller = caller,
        .plan = try .make(arena, reader, spec, options, callers),
        .cpus = try arena.create(CpuPolicy),
        .quiesce = try arena.create(Quiesce),
    };
    start.quiesce.* = .{};
    return start.run();
}

const Start = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    options: *const Options,
    callers: *const Environment,
    caller: userns.Caller,
    plan: Plan,
    /// In the arena: threads that use them may outlive this structure.
    cpus: *CpuPolicy,
    quiesce: *Quiesce,

    group: ?cgroup.Group = null,
    entered: userns.Entered = undefined,
    ids: userns.Ids = .none,
    signal_mask: signals.Set = 0,
    /// Signals that the caller ignores.
    ignored: signals.Set = 0,
    /// /proc of the machine.
    proc: sys.fd_t = -1,
    machine: volumes.Machine = undefined,
    input: ?standard_input.Input = null,
    outputs: Outputs = .{},
    terminal: ?Terminal = null,
    container: Container = undefined,
    watchdog: Watchdog = undefined,
    leftovers: Leftovers = .{},

    fn run(self: *Start) !u8 {
        self.group = try cgroup.enter(self.arena, self.options);
        self.enterNamespaces();
        try self.openMachine();
        try self.describeContainer();
        const mounts = self.entered.mounts;
        self.watchdog = try .start(self.container.role(), mounts, self.container.terminal);
        const loader = try self.loadProgram();
        const tmpfs_allowed = tmpfs_policy.allows(self.arena);
        self.ids = self.entered.settle(self.arena);
        // Not earlier: newuidmap and newgidmap need the processors.
        if (mounts != null)
            try self.watchdog.cloneApp(self.container.namespaces()[0] | sys.CLONE.fs);
        self.cpus.divide(loader);
        const kind = try self.makeRoot(tmpfs_allowed);
        if (mounts == null) try self.watchdog.cloneApp(0);
        const app = try self.takeApp();
        try self.letAppGoOn(app, kind);
        const end = try self.supervise(app);
        self.cleanUp();
        end.exitLike();
        return end.status;
    }

    fn enterNamespaces(self: *Start) void {
        const spec = self.plan.spec;
        const wants = &spec.linux;
        self.entered = userns.enter(self.arena, self.callers, self.caller, .{
            .uid = spec.process.user.uid,
            .gid = spec.process.user.gid,
            .mapped = mappedIds(spec, self.options),
            .ipc = wants.hasNamespace("ipc"),
            .uts = wants.hasNamespace("uts"),
            .network = wants.hasNamespace("network"),
            .optional = !wants.hasNamespace("network"),
        });
        if (spec.isRootfull() and self.entered.ids != .host)
            log.die(
                "this program is for root (it was built with --rootfull): start it with sudo",
                .{},
            );
    }

    /// What is needed of the machine, before mounts of ours cover its directories.
    fn openMachine(self: *Start) !void {
        self.ignored = signals.ignored();
        self.signal_mask = try signals.block(self.ignored);
        self.cpus.* = .init();
        self.machine = try volumes.open(self.arena, self.plan.spec, self.options);
        const flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
        self.proc = sys.openat(sys.at_fdcwd, "/proc", flags, 0) catch |err|
            log.die("/proc cannot be used: {s}", .{errno.text(err)});
        const mounts = self.entered.mounts;
        if (mounts) |own| try self.detachSources(own);
        self.input = try standard_input.guard(mounts, self.caller.uid);
        // In a user namespace of ours the app's user is the caller.
        if (self.entered.ids != null) self.outputs = try .open(self.plan.spec.process.user.uid);
        self.terminal = .find();
        if (self.terminal) |*terminal| terminal.makeOwn(mounts) catch |err| {
            log.debug("no terminal of its own: {s}", .{errno.text(err)});
            self.terminal = null;
        };
    }

    /// Directories as they are now: the workspace may be mounted over one of them, or in it.
    fn detachSources(self: *Start, namespace: MountNamespace) !void {
        const given = try self.arena.dupe(Volume, self.machine.volumes);
        for (given) |*volume| detach(namespace, &volume.source);
        const listed = try self.arena.dupe(?Source, self.machine.sources);
        for (listed) |*source| if (source.*) |*found| detach(namespace, found);
        self.machine.volumes = given;
        self.machine.sources = listed;
    }

    noinline fn detach(namespace: MountNamespace, source: *Source) void {
        if (!source.directory) return;
        const tree = namespace.detachedTree(source.fd) catch |err|
            return log.debug("{s} is bound as it is then: {s}", .{ source.name, errno.text(err) });
        sys.close(source.fd);
        source.fd = tree;
        source.detached = true;
    }

    fn describeContainer(self: *Start) !void {
        const arena = self.arena;
        const plan = &self.plan;
        const spec = plan.spec;
        const sets = spec.process.capabilities;
        const bounding = if (sets) |given| capabilities.setOf(given.bounding) else 0;
        const unconfined = plan.host_access.unconfined;
        self.container = .{
            .arena = arena,
            .spec = spec,
            .operations = try container_plan.make(arena, .{
                .spec = spec,
                .options = self.options,
                .machine = &self.machine,
                .sysctls = plan.host_access.sysctls,
                .can_mount = self.entered.mounts != null,
                .ids = self.entered.ids,
            }),
            .args = plan.args,
            .env = plan.env,
            .signal_mask = self.signal_mask,
            .ignored = self.ignored,
            .host_access = plan.host_access,
            .filter = if (unconfined)
                null
            else
                try seccomp.prepare(arena, spec.linux.seccomp, bounding),
            .init = self.options.has(.init),
            .cpus = self.cpus,
            .mounts = self.entered.mounts,
            .terminal = if (self.terminal) |*terminal| terminal else null,
            .outputs = &self.outputs,
            .lifeline = try .open(),
        };
    }

    /// Starts to decode what the app reads first; returns the thread's id.
    fn loadProgram(self: *Start) !?i32 {
        if (self.entered.mounts == null) return null;
        const plan = &self.plan;
        const program: startup.Program = .{
            .root = plan.root,
            .command = plan.args[0],
            .search = plan.env.path(),
        };
        return try startup.begin(self.arena, self.reader, self.cpus, program);
    }

    fn makeRoot(self: *Start, tmpfs_allowed: bool) !rootfs.Kind {
        const user = self.plan.spec.process.user;
        const owners = try self.arena.create(Owners);
        owners.* = try .find(self.arena, self.ids, user.uid, user.gid);
        const overlay = self.options.last(.overlay);
        var root: rootfs.Rootfs = .{
            .arena = self.arena,
            .reader = self.reader,
            .cpus = self.cpus,
            .quiesce = self.quiesce,
            .tmpfs_allowed = tmpfs_allowed,
            .callers = self.callers,
            .path = self.plan.root,
            .ids = self.ids,
            .mounts = self.entered.mounts,
            .owners = owners,
            .caller = self.caller.uid,
            .kept = if (overlay) |path|
                try upper_dir.openKept(self.arena, path, self.plan.spec.annotation(image_digest))
            else
                null,
        };
        const kind = root.make() catch |err|
            log.die("cannot prepare the root file system: {s}", .{errno.text(err)});
        self.leftovers = root.leftovers();
        try self.watchdog.willRemove(self.leftovers);
        return kind;
    }

    fn takeApp(self: *Start) !Process {
        if (try self.watchdog.app()) |app| return app;
        const late = try self.container.forkLate();
        try self.watchdog.watchOver(late);
        self.terminal = null;
        return late;
    }

    fn letAppGoOn(self: *Start, app: Process, kind: rootfs.Kind) !void {
        self.cpus.placeApp(app.pid);
        if (self.input) |given| try given.begin(self.arena);
        if (self.terminal) |*terminal| sys.close(terminal.slave);
        self.outputs.closeEnds();
        self.container.lifeline.goOn(.{ .ids = self.ids, .rootfs = kind });
    }

    fn supervise(self: *Start, app: Process) !Supervisor.End {
        var supervisor: Supervisor = .{
            .app = app,
            .proc = self.proc,
            .init = self.container.init,
            .watchdog = self.watchdog,
            .terminal = if (self.terminal) |*terminal| terminal else null,
            .outputs = &self.outputs,
            .quiesce = self.quiesce,
            .queue = try .open(),
            .lifeline = self.container.lifeline.ours,
        };
        const end = supervisor.supervise();
        log.debug("app ended, status {d}", .{end.status});
        return end;
    }

    fn cleanUp(self: *Start) void {
        if (self.input) |given| given.giveBack();
        self.leftovers.discard();
        self.watchdog.dismiss();
        if (self.group) |group| group.leave();
        deferred_unmount.arrange(self.proc);
        self.watchdog.waitForEnd();
    }
};

const image_digest = "dev.dockerc.digest";

/// What --overlay keeps has the same owners whoever the app's user is: there the caller is root.
fn mappedIds(spec: *const config.Spec, options: *const Options) userns.Pair {
    if (options.last(.overlay) != null) return .{ .uid = 0, .gid = 0 };
    return .{ .uid = spec.process.user.uid, .gid = spec.process.user.gid };
}

fn rootPath(spec: *const config.Spec) []const u8 {
    const path = spec.root.path;
    // It becomes a part of overlayfs' options, and must not lead out of the payload.
    var parts = std.mem.splitScalar(u8, path, '/');
    var plain = path.len > 0 and std.mem.findAny(u8, path, ",:\\") == null;
    while (parts.next()) |name| if (name.len == 0 or std.mem.eql(u8, name, "..")) {
        plain = false;
    };
    if (!plain) log.die("the payload's root.path is not a directory in it: {s}", .{path});
    return path;
}
