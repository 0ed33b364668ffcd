//! The runtime stub of a dockerc executable: mounts the payload behind it and runs the app in it.
//! The steps of a start, in their order.
const std = @import("std");
const builtin = @import("builtin");
const sys = @import("base/syscalls.zig");
const errno = @import("base/errno.zig");
const text = @import("base/text.zig");
const log = @import("base/log.zig");
const capability_sets = @import("base/capabilities.zig");
const cgroup = @import("namespaces/cgroup.zig");
const Affinity = @import("process/cpu_policy.zig").Affinity;
const upper_dir = @import("rootfs/upper_dir.zig");
const config = @import("config/spec.zig");
const doctor = @import("doctor.zig");
const extract = @import("extract.zig");
const deferred_unmount = @import("process/deferred_unmount.zig");
const footer = @import("payload/footer.zig");
const json = @import("config/json.zig");
const tmpfs_policy = @import("rootfs/tmpfs_policy.zig");
const manual = @embedFile("cli/manual.txt");
const options = @import("cli/options.zig");
const exec = @import("container/exec.zig");
const rootfs = @import("rootfs/rootfs.zig");
const seccomp = @import("container/seccomp/filter.zig");
const apply_options = @import("config/apply_options.zig");
const signals = @import("process/signals.zig");
const startup = @import("fuse/prefetch/startup.zig");
const standard_input = @import("process/standard_input.zig");
const userns = @import("namespaces/userns.zig");
const volumes = @import("config/volumes.zig");
const Container = @import("container/container.zig").Container;
const Environment = @import("cli/environment.zig").Environment;
const Image = @import("squashfs/image.zig").Image;
const Reader = @import("squashfs/reader.zig").Reader;
const Watchdog = @import("process/watchdog.zig").Watchdog;
const Superblock = @import("squashfs/superblock.zig").Superblock;
const Supervisor = @import("process/supervisor.zig").Supervisor;
const Terminal = @import("process/terminal.zig").Terminal;

pub const panic = std.debug.FullPanic(log.panic);
pub const std_options: std.Options = .{ .enable_segfault_handler = false, .signal_stack_size = null };

const version = @import("build_options").version;

pub fn main(init: std.process.Init.Minimal) u8 {
    var arena = std.heap.ArenaAllocator.init(std.heap.page_allocator);
    return start(arena.allocator(), init) catch |err| switch (err) {
        error.OutOfMemory => log.die("out of memory", .{}),
        else => log.die("cannot start: {s}", .{errno.text(err)}),
    };
}

fn start(arena: std.mem.Allocator, init: std.process.Init.Minimal) !u8 {
    var callers: Environment = .{};
    for (init.environ.block.slice) |word| try callers.words.append(arena, std.mem.span(word.?));
    if (callers.get("DOCKERC_LOG")) |level| if (std.mem.eql(u8, level, "debug")) log.enableDebug();

    @import("process/caller.zig").check();
    const opts = try readOptions(arena, &callers, init.args.vector);
    if (opts.has(.version)) return say(arena, "dockerc runtime {s} ({s})\n", .{ version, @tagName(builtin.cpu.arch) });
    if (opts.has(.help)) return say(arena, manual, .{if (init.args.vector.len > 0) std.mem.span(init.args.vector[0]) else "app"});

    if (opts.has(.doctor)) return write(try doctor.report(arena));

    const self = try openSelf();
    const payload = findPayload(self);
    log.debug("payload at {d}, {d} bytes", .{ payload.offset, payload.superblock.bytes_used });
    const image = try arena.create(Image);
    image.* = .{ .fd = self, .start = payload.offset, .len = payload.superblock.bytes_used };
    const reader = try arena.create(Reader);
    reader.init(image, payload.superblock) catch |err| log.die("the payload is damaged: {s}", .{errno.text(err)});
    if (opts.last(.extract)) |directory| {
        try extract.run(arena, reader, directory, opts.has(.privileged_files));
        return 0;
    }
    if (opts.has(.inspect)) return write(try readConfig(arena, reader));
    return run(arena, reader, &opts, &callers, payload.require_mapped_uids);
}

/// What is to run, as config.json and the caller want it.
const Plan = struct {
    spec: *config.Spec,
    /// Of the root file system in the payload.
    root: []const u8,
    host_access: apply_options.HostAccess,
    args: []const []const u8,
    env: Environment,

    fn make(arena: std.mem.Allocator, reader: *Reader, opts: *const options.Options, callers: *const Environment) !Plan {
        const config_text = try readConfig(arena, reader);
        const spec = try arena.create(config.Spec);
        spec.* = config.parse(arena, config_text) catch |err| switch (err) {
            error.OutOfMemory => |e| return e,
            error.Json => log.die("the payload's config.json makes no sense", .{}),
        };
        const root = rootPath(spec);
        const host_access = try apply_options.apply(arena, spec, opts, .{ .arena = arena, .reader = reader, .root = root });
        const args = config.command(arena, spec, opts.last(.entrypoint), opts.args) catch |err| switch (err) {
            error.OutOfMemory => |e| return e,
            error.Json => log.die("the payload's dev.dockerc.entrypoint or dev.dockerc.cmd is not a list of words", .{}),
        };
        if (args.len == 0) log.die("the image names no command: give one", .{});
        const env = try exec.environment(arena, &spec.process, opts, callers);
        return .{ .spec = spec, .root = root, .host_access = host_access, .args = args, .env = env };
    }
};

/// The app, from its container's making to its end; its exit status.
fn run(arena: std.mem.Allocator, reader: *Reader, opts: *const options.Options, callers: *const Environment, range: bool) !u8 {
    signals.resetSigchld();
    const caller: userns.Caller = .begin(arena, callers, range);
    const plan: Plan = try .make(arena, reader, opts, callers);
    const spec = plan.spec;
    const process = &spec.process;

    const group = try cgroup.enter(arena, opts);
    const wants = &spec.linux;
    const entered = userns.enter(arena, callers, caller, range, .{
        .uid = process.user.uid,
        .gid = process.user.gid,
        .ipc = wants.hasNamespace("ipc"),
        .uts = wants.hasNamespace("uts"),
        .network = wants.hasNamespace("network"),
        .optional = !wants.hasNamespace("network"),
    });
    if (spec.isRootfull() and entered.ids != .host) log.die("this program is for root (it was built with --rootfull): start it with sudo", .{});
    const mask = try signals.block();
    const caller_mask = Affinity.get();
    // Before anything of ours covers a directory of the machine.
    const machine = try volumes.open(arena, spec, opts);
    const proc = sys.openat(sys.at_fdcwd, "/proc", .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true }, 0) catch |err|
        log.die("/proc cannot be used: {s}", .{errno.text(err)});
    const input = try standard_input.guard(entered.mounts, caller.uid);
    var own_terminal: ?Terminal = .find();
    if (own_terminal) |*terminal| terminal.makeOwn(entered.mounts) catch |err| {
        log.debug("no terminal of its own: {s}", .{errno.text(err)});
        own_terminal = null;
    };
    const capabilities = if (process.capabilities) |sets| capability_sets.setOf(sets.bounding) else 0;
    var container: Container = .{
        .arena = arena,
        .spec = spec,
        .options = opts,
        .args = plan.args,
        .env = plan.env,
        .machine = machine,
        .signal_mask = mask,
        .host_access = plan.host_access,
        .filter = if (plan.host_access.unconfined) null else try seccomp.prepare(arena, wants.seccomp, capabilities),
        .wanted = config.list(arena, spec, "dev.dockerc.volumes") catch null orelse &.{},
        .init = opts.has(.init),
        .caller_mask = caller_mask,
        .mounts = entered.mounts,
        .terminal = if (own_terminal) |*terminal| terminal else null,
        .lifeline = try .open(),
    };
    const watchdog: Watchdog = try .start(container.role(), entered.mounts, container.terminal);
    const loading: ?startup.Loading = if (entered.mounts != null) try .begin(arena, reader, .{ .root = plan.root, .command = plan.args[0], .search = plan.env.path() }) else null;
    const tmpfs_allowed = tmpfs_policy.allows(arena);
    const ids = entered.settle(arena);
    // Before, it would only take processors from newuidmap and newgidmap.
    if (entered.mounts != null) try watchdog.cloneApp(container.namespaces()[0] | sys.CLONE.fs);
    // Not before: until here newuidmap and newgidmap want the processors.
    const foreground_cpu, const background_cpus = caller_mask.divide();
    if (loading) |thread| thread.move(background_cpus);
    foreground_cpu.set();
    var root: rootfs.Rootfs = .{
        .arena = arena,
        .reader = reader,
        .caller_mask = caller_mask,
        .tmpfs_allowed = tmpfs_allowed,
        .callers = callers,
        .path = plan.root,
        .ids = ids,
        .mounts = entered.mounts,
        .uid = process.user.uid,
        .gid = process.user.gid,
        .caller = caller.uid,
        .kept = if (opts.last(.overlay)) |path| try upper_dir.openKept(arena, path) else null,
    };
    const kind = root.make() catch |err| log.die("cannot prepare a place to run in: {s}", .{errno.text(err)});
    const leftovers = root.leftovers();
    try watchdog.willRemove(leftovers);
    if (entered.mounts == null) try watchdog.cloneApp(0);
    const app = try watchdog.app() orelse blk: {
        const late = try container.forkLate();
        try watchdog.watchOver(late);
        own_terminal = null;
        break :blk late;
    };
    foreground_cpu.setOf(app.pid);
    if (input) |given| try given.begin(arena);
    if (own_terminal) |*terminal| sys.close(terminal.slave);
    container.lifeline.goOn(.{ .ids = ids, .rootfs = kind });
    var supervisor: Supervisor = .{
        .app = app,
        .proc = proc,
        .init = container.init,
        .watchdog = watchdog,
        .terminal = if (own_terminal) |*terminal| terminal else null,
        .queue = try .open(),
        .lifeline = container.lifeline.ours,
    };
    const end = supervisor.supervise();
    log.debug("app ended, status {d}", .{end.status});
    if (input) |given| given.giveBack();
    leftovers.discard();
    watchdog.dismiss();
    if (group) |g| g.leave();
    deferred_unmount.arrange(proc);
    watchdog.waitForEnd();
    end.exitLike();
    return end.status;
}

/// Those of DOCKERC_ARGS, for launchers that can give no arguments, then the command line's.
fn readOptions(arena: std.mem.Allocator, callers: *const Environment, vector: []const [*:0]const u8) !options.Options {
    var words: std.ArrayList([]const u8) = .empty;
    if (callers.get("DOCKERC_ARGS")) |line| try words.appendSlice(arena, options.split(arena, line) catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        error.Quote => log.die("DOCKERC_ARGS: a quote is not closed", .{}),
    });
    if (vector.len > 0) for (vector[1..]) |word| try words.append(arena, std.mem.span(word));
    var problem: options.Problem = .{};
    return options.parse(arena, words.items, &problem) catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        error.Usage => switch (problem.kind) {
            .none => unreachable,
            .unknown => log.die("unknown option {s}; what belongs to the app goes behind -- (see --dockerc-help)", .{problem.word}),
            .value_missing => log.die("{s} needs a value", .{problem.word}),
            .not_a_switch => log.die("{s}: the option is on or off: write it alone, or with =true or =false", .{problem.word}),
        },
    };
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

fn say(arena: std.mem.Allocator, comptime format: []const u8, args: anytype) !u8 {
    return write(try text.alloc(arena, format, args));
}

fn write(all: []const u8) !u8 {
    try sys.writeAll(1, all);
    return 0;
}

/// Our own file, on a descriptor above the standard three: one of those that is closed is closed
/// for the app too, and must not be taken by a file of ours until then.
fn openSelf() !sys.fd_t {
    while (true) {
        const fd = sys.openat(sys.at_fdcwd, "/proc/self/exe", .{ .CLOEXEC = true }, 0) catch |err|
            log.die("cannot read my own file: {s}", .{errno.text(err)});
        if (fd > 2) return fd;
    }
}

const File = struct {
    fd: sys.fd_t,

    pub fn readAt(self: File, buf: []u8, offset: u64) !usize {
        return sys.preadAll(self.fd, buf, offset);
    }
};

fn findPayload(self: sys.fd_t) footer.Payload {
    const size = sys.fileSize(self) catch |err| log.die("cannot read my own file: {s}", .{errno.text(err)});
    return footer.find(File{ .fd = self }, size) catch |err| switch (err) {
        error.NoPayload => log.die("this is a runtime without a payload: dockerc build puts the two together", .{}),
        error.Truncated => log.die("this file is incomplete: its payload is cut off", .{}),
        error.Compressor => log.die("this runtime reads payloads compressed with zstd, and this one is compressed with {s}", .{Superblock.refused_compressor}),
        error.Corrupt => log.die("the payload is damaged: its superblock makes no sense", .{}),
        else => log.die("cannot read my own file: {s}", .{errno.text(err)}),
    };
}

fn readConfig(arena: std.mem.Allocator, reader: *Reader) ![]const u8 {
    return reader.readRootFile(try reader.newDecoder(), arena, "config.json", config.size_max) catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        error.TooLarge => log.die("the payload's config.json is larger than {d} bytes", .{config.size_max}),
        else => log.die("the payload is damaged: config.json cannot be read", .{}),
    } orelse log.die("the payload holds no config.json", .{});
}

test {
    _ = @import("base/bytes.zig");
    _ = @import("process/caller.zig");
    _ = @import("config/cdi.zig");
    _ = config;
    _ = @import("text_formats_test.zig");
    _ = capability_sets;
    _ = @import("cli/environment.zig");
    _ = footer;
    _ = json;
    _ = tmpfs_policy;
    _ = text;
    _ = @import("container/mounts.zig");
    _ = @import("cli/quantity.zig");
    _ = options;
    _ = @import("config/passwd.zig");
    _ = seccomp;
    _ = @import("base/sha256.zig");
    _ = @import("container/seccomp/profile.zig");
    _ = @import("fuse/request_test.zig");
    _ = @import("fuse/prefetch/directory_prefetch.zig");
    _ = @import("squashfs/blocks.zig");
    _ = @import("squashfs/mutation_test.zig");
    _ = @import("base/socket.zig");
    _ = @import("process/supervisor.zig");
    _ = errno;
    _ = userns;
    _ = @import("config/volumes.zig");
    _ = @import("config/yaml.zig");
    _ = Superblock;
}
