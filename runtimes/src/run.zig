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
const detached_sources = @import("namespaces/detached_sources.zig");
const Detached = @import("process/detached.zig").Detached;
const deferred_unmount = @import("process/deferred_unmount.zig");
const tmpfs_policy = @import("rootfs/tmpfs_policy.zig");
const container_plan = @import("container/plan.zig");
const rootfs = @import("rootfs/rootfs.zig");
const translation = @import("translation/start.zig");
const seccomp = @import("container/seccomp/filter.zig");
const join = @import("keeper/join.zig");
const signals = @import("process/signals.zig");
const startup = @import("fuse/prefetch/startup.zig");
const standard_input = @import("process/standard_input.zig");
const userns = @import("namespaces/userns.zig");
const volumes = @import("config/volumes.zig");
const Container = @import("container/container.zig").Container;
const Prepared = @import("container/container.zig").Prepared;
const Environment = @import("cli/environment.zig").Environment;
const Leftovers = @import("process/leftovers.zig").Leftovers;
const Network = @import("process/network.zig").Network;
const Options = @import("cli/options.zig").Options;
const mappedIds = @import("run_plan.zig").mappedIds;
const Plan = @import("run_plan.zig").Plan;
const Outputs = @import("process/standard_output.zig").Outputs;
const Owners = @import("namespaces/owners.zig").Owners;
const ProfileFile = @import("fuse/profile_file.zig").ProfileFile;
const Process = @import("process/own_process.zig").Process;
const Quiesce = @import("process/quiesce.zig").Quiesce;
const Recorder = @import("fuse/recorder.zig").Recorder;
const Reader = @import("squashfs/reader.zig").Reader;
const StandardError = @import("process/standard_error.zig").StandardError;
const Service = @import("config/service.zig").Service;
const Supervisor = @import("process/supervisor.zig").Supervisor;
const Terminal = @import("process/terminal.zig").Terminal;
const Watchdog = @import("process/watchdog.zig").Watchdog;

/// Returns the app's exit status. `range`: whether the image needs more than one user id.
pub fn run(
    arena: std.mem.Allocator,
    reader: *Reader,
    spec: *config.Spec,
    options: *const Options,
    callers: *const Environment,
    range: bool,
    service: Service,
    detached: ?Detached,
) !u8 {
    signals.resetSigchld();
    const network: Network = try .begin(arena, options, callers);
    const linger = join.wanted(options, reader);
    // --user may name one of the image's passwd, and that takes a while.
    const said = options.last(.user) != null or options.last(.userns) != null;
    const caller: userns.Caller = .begin(
        arena,
        callers,
        range,
        if (said or linger != null) null else mappedIds(spec, options),
    );
    var start: Start = .{
        .arena = arena,
        .reader = reader,
        .options = options,
        .callers = callers,
        .caller = caller,
        .plan = try .make(arena, reader, spec, options, callers, service),
        .service = service,
        .cpus = try arena.create(CpuPolicy),
        .quiesce = try arena.create(Quiesce),
        .start_list = try arena.create(startup.StartList),
        .detached = detached,
        .network = network,
    };
    start.quiesce.* = .{};
    start.start_list.* = .{};
    if (linger) |seconds| start.joinKeeper(seconds);
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
    /// Where a profile is written, and what is recorded for it.
    profile: ?ProfileFile = null,
    recorder: ?*Recorder = null,
    start_list: *startup.StartList,
    detached: ?Detached,
    service: Service,

    joined: ?join.Joined = null,
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
    network: Network,
    leftovers: Leftovers = .{},
    /// The payload's root in the cache, if paths are translated.
    unpacked: sys.fd_t = -1,
    /// The directory of --overlay.
    kept: ?sys.fd_t = null,

    fn run(self: *Start) !u8 {
        self.group = try cgroup.enter(self.arena, self.options);
        if (self.options.last(.record)) |path| try self.beginRecord(path);
        try self.network.publish(self.arena, self.plan.host_access.ports);
        self.enterNamespaces();
        try self.openMachine();
        try self.describeContainer();
        const mounts = self.entered.mounts;
        self.reader.blocks.forget();
        self.watchdog = try .start(self.container.role(), mounts, self.container.terminal);
        const loader = try self.loadProgram();
        const tmpfs_allowed = tmpfs_policy.allows(self.arena);
        self.ids = self.entered.settle(self.arena);
        try self.network.connect(self.arena, self.ids);
        // Not earlier: newuidmap and newgidmap need the processors.
        if (mounts != null)
            try self.watchdog.cloneApp(self.container.namespaces()[0] | sys.CLONE.fs);
        self.cpus.divide(loader);
        const kind = try self.makeRoot(tmpfs_allowed);
        if (mounts == null) try self.watchdog.cloneApp(0);
        const app = try self.takeApp();
        try self.network.serve(self.arena, self.proc, self.watchdog);
        const tracer = if (kind == .translated) try self.beginTranslation(app) else null;
        const queue: signals.Queue = try .open();
        try self.letAppGoOn(app, kind);
        const end = try self.supervise(app, queue);
        if (tracer) |process| process.waitForEnd();
        // A short program may end before it is known which file it was.
        if (self.profile != null) self.cpus.waitForLoader();
        if (self.profile) |file| file.write(self.arena, self.recorder.?, self.plan.root);
        self.cleanUp();
        end.exitLike();
        return end.status;
    }

    /// Before a control group is entered: the keeper may outlive it.
    fn joinKeeper(self: *Start, linger: u32) void {
        const spec = self.plan.spec;
        self.joined = join.begin(&.{
            .arena = self.arena,
            .reader = self.reader,
            .callers = self.callers,
            .ids = .{
                .range = self.caller.range,
                .user = .{ .uid = spec.process.user.uid, .gid = spec.process.user.gid },
                .mapped = mappedIds(spec, self.options),
            },
            .program = self.program(),
            .linger = linger,
        });
    }

    fn program(self: *const Start) startup.Program {
        return .{
            .root = self.plan.root,
            .command = self.plan.args[0],
            .search = self.plan.env.path(),
            .recorder = self.recorder,
            .start_list = self.start_list,
        };
    }

    fn beginRecord(self: *Start, path: []const u8) !void {
        self.profile = try .open(self.arena, path);
        self.recorder = try self.arena.create(Recorder);
        self.recorder.?.* = try .init(self.reader.superblock.root_inode);
    }

    fn enterNamespaces(self: *Start) void {
        const spec = self.plan.spec;
        const wants = &spec.linux;
        const wanted: userns.Wanted = .{
            .uid = spec.process.user.uid,
            .gid = spec.process.user.gid,
            .mapped = mappedIds(spec, self.options),
            .ipc = wants.hasNamespace("ipc"),
            .uts = wants.hasNamespace("uts"),
            .network = wants.hasNamespace("network"),
            .optional = !wants.hasNamespace("network"),
        };
        self.entered = if (self.joined) |*joined|
            joined.enter(self.caller, wanted)
        else
            userns.enter(self.arena, self.callers, self.caller, wanted);
        if (spec.isRootfull() and self.entered.ids != .host) log.die("this program is for root " ++
            "(it was built with --rootfull): start it with sudo", .{});
    }

    /// What is needed of the machine, before mounts of ours cover its directories.
    fn openMachine(self: *Start) !void {
        self.ignored = signals.ignored();
        self.signal_mask = try signals.block(self.ignored);
        self.cpus.* = .init();
        const place = &self.plan.host_access.place;
        self.machine = try volumes.open(self.arena, self.plan.spec, self.options, place);
        const flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
        self.proc = sys.openat(sys.at_fdcwd, "/proc", flags, 0) catch |err|
            log.die("/proc cannot be used: {s}", .{errno.text(err)});
        const translated = self.entered.refusal != null;
        const mounts = self.entered.mounts;
        if (mounts) |own| try detached_sources.detachAll(self.arena, &self.machine, own);
        if (!translated) self.input = try standard_input.guard(mounts, self.caller.uid);
        // In a user namespace of ours the app's user is the caller.
        if (self.entered.ids != null and !translated)
            self.outputs = try .open(self.plan.spec.process.user.uid);
        self.terminal = .find();
        if (self.terminal) |*terminal| terminal.makeOwn(mounts) catch |err| {
            log.debug("no terminal of its own: {s}", .{errno.text(err)});
            self.terminal = null;
        };
    }

    fn describeContainer(self: *Start) !void {
        const arena = self.arena;
        const plan = &self.plan;
        const spec = plan.spec;
        const sets = spec.process.capabilities;
        const bounding = if (sets) |given| capabilities.setOf(given.bounding) else 0;
        self.container = .{
            .arena = arena,
            .spec = spec,
            .operations = try container_plan.make(arena, .{
                .spec = spec,
                .options = self.options,
                .machine = &self.machine,
                .sysctls = plan.host_access.sysctls,
                .can_mount = self.entered.mounts != null,
                .translated = self.entered.refusal != null,
                .ids = self.entered.ids,
            }),
            .args = plan.args,
            .env = plan.env,
            .signal_mask = self.signal_mask,
            .ignored = self.ignored,
            .host_access = plan.host_access,
            .filter = if (plan.host_access.unconfined)
                null
            else
                try seccomp.prepare(arena, spec.linux.seccomp, bounding),
            .publishes = plan.host_access.ports.len > 0 and self.network.private == null,
            .init = self.options.has(.init),
            .cpus = self.cpus,
            .mounts = self.entered.mounts,
            .terminal = if (self.terminal) |*terminal| terminal else null,
            .outputs = &self.outputs,
            .sockets = self.service.sockets,
            .lifeline = try .open(),
            .translation = if (self.entered.refusal == null) null else try .open(self.callers),
        };
    }

    /// Starts to decode what the app reads first; returns the thread's id.
    fn loadProgram(self: *Start) !?i32 {
        if (self.entered.mounts == null and self.profile != null)
            log.die("nothing can be recorded: this machine allows no mounts", .{});
        if (self.entered.mounts == null or self.sharedTree() != null) return null;
        return try startup.begin(self.arena, self.reader, self.cpus, self.program());
    }

    fn sharedTree(self: *const Start) ?sys.fd_t {
        return if (self.joined) |joined| joined.tree else null;
    }

    fn makeRoot(self: *Start, tmpfs_allowed: bool) !rootfs.Kind {
        const user = self.plan.spec.process.user;
        const owners = try self.arena.create(Owners);
        owners.* = try .find(self.arena, self.ids, user.uid, user.gid);
        if (self.ids == .range and sys.isTerminal(2)) owners.noteUnmapped(self.reader) catch {};
        if (self.options.last(.overlay)) |path| self.kept =
            try upper_dir.openKept(self.arena, path, self.plan.spec.annotation(image_digest));
        var root: rootfs.Rootfs = .{
            .arena = self.arena,
            .reader = self.reader,
            .cpus = self.cpus,
            .quiesce = self.quiesce,
            .shared = self.sharedTree(),
            .recorder = self.recorder,
            .start_list = self.start_list,
            .tmpfs_allowed = tmpfs_allowed,
            .translated = self.entered.refusal != null,
            .callers = self.callers,
            .path = self.plan.root,
            .ids = self.ids,
            .mounts = self.entered.mounts,
            .owners = owners,
            .caller = self.caller.uid,
            .kept = self.kept,
        };
        const kind = root.make() catch |err|
            log.die("cannot prepare the root file system: {s}", .{errno.text(err)});
        self.leftovers = root.leftovers();
        self.unpacked = root.unpacked;
        try self.watchdog.willRemove(self.leftovers);
        return kind;
    }

    /// The tracer must not be an ancestor: the app stays our child.
    fn beginTranslation(self: *Start, app: Process) !Process {
        const given = try self.arena.create(translation.Given);
        given.* = .{
            .arena = self.arena,
            .runtime = @intCast(sys.raw(.getpid, .{})),
            .app = app.pid,
            .own = self.leftovers.trees[0].?.fd,
            .unpacked = self.unpacked,
            .kept = self.kept,
            .spec = self.plan.spec,
            .options = self.options,
            .machine = &self.machine,
            .caller = .{ .uid = self.caller.uid, .gid = self.caller.gid },
            .ports = self.network.leavePorts(),
        };
        const why = self.entered.refusal.?;
        return translation.begin(given, self.container.translation.?, userns.refused, why);
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
        const prepared: Prepared = .{ .ids = self.ids, .rootfs = kind };
        self.container.lifeline.goOn(std.mem.asBytes(&prepared));
    }

    fn supervise(self: *Start, app: Process, queue: signals.Queue) !Supervisor.End {
        var errors: StandardError = if (self.joined != null) .remember() else .{ .what = null };
        var supervisor: Supervisor = .{
            .app = app,
            .proc = self.proc,
            .init = self.container.init,
            .watchdog = self.watchdog,
            .terminal = if (self.terminal) |*terminal| terminal else null,
            .outputs = &self.outputs,
            .quiesce = self.quiesce,
            .queue = queue,
            .keeper = if (self.joined) |joined| joined.connection else -1,
            .errors = &errors,
            .lifeline = self.container.lifeline.ours,
            .detached = self.detached,
            .service = self.service,
            .ports = self.network.ports,
        };
        var end = supervisor.supervise();
        if (self.joined) |*joined| if (end.status != 0 and joined.isLost()) {
            errors.reopen();
            log.say("the keeper of the shared mount has ended, and with it this run", .{});
            end = .{ .status = log.failed };
        };
        log.debug("app ended, status {d}", .{end.status});
        return end;
    }

    fn cleanUp(self: *Start) void {
        if (self.input) |given| given.giveBack();
        self.network.end();
        self.leftovers.discard();
        self.watchdog.dismiss();
        if (self.group) |group| group.leave();
        deferred_unmount.arrange(self.proc);
        self.watchdog.waitForEnd();
    }
};

const image_digest = "dev.dockerc.digest";
