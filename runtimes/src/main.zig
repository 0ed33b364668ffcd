//! The runtime stub of a dockerc executable: reads its options, and then runs the app, prints,
//! extracts or examines the machine.
const std = @import("std");
const builtin = @import("builtin");
const sys = @import("base/syscalls.zig");
const errno = @import("base/errno.zig");
const text = @import("base/text.zig");
const log = @import("base/log.zig");
const config = @import("config/spec.zig");
const detached = @import("process/detached.zig");
const doctor = @import("doctor.zig");
const extract = @import("extract.zig");
const mount = @import("mount.zig");
const help = @import("cli/help.zig");
const instances = @import("instances/instances.zig");
const options = @import("cli/options.zig");
const Demand = @import("verification.zig").Demand;
const boot = @import("machine/boot.zig");
const Environment = @import("cli/environment.zig").Environment;
const Image = @import("squashfs/image.zig").Image;
const Reader = @import("squashfs/reader.zig").Reader;
const Service = @import("config/service.zig").Service;
const own_file = @import("payload/own_file.zig");
const OwnFile = own_file.OwnFile;
const run = @import("run.zig");

pub const panic = @import("base/panic.zig");
pub const std_options: std.Options = .{
    .enable_segfault_handler = false,
    .signal_stack_size = null,
};

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
    const guest = if (boot.isFirstProcess()) try boot.begin(arena) else null;
    if (guest) |given| callers.words = given.variables else for (init.environ.block.slice) |word|
        try callers.words.append(arena, std.mem.span(word.?));
    if (callers.get("DOCKERC_LOG")) |level| log.setLevel(level);

    @import("process/caller.zig").check();
    const service: Service = .of(&callers);
    var words: Words = try .of(
        arena,
        &callers,
        if (guest) |given| given.arguments else init.args.vector,
    );
    var opts = try words.parse(arena, .program);
    if (try aboutRuntime(arena, &opts, &callers)) |status| return status;
    const reader, const range = try openPayload(
        arena,
        &opts,
        &callers,
        if (guest) |given| given.file else null,
    );
    if (try aboutPayload(arena, &opts, reader)) |status| return status;
    const spec = try config.read(arena, reader);
    spec.in_machine = guest != null;
    const rule = spec.argsRule();
    const baked = config.list(arena, spec, "dev.dockerc.run.options") catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        error.Json => log.die("the payload's dev.dockerc.run.options is not a list", .{}),
    } orelse &.{};
    // Those are the caller's alone: one writes to a directory.
    for (baked) |word| if (options.isAboutFile(word) or options.isLog(word))
        log.die("the payload's dev.dockerc.run.options has {s}, which is no option of a run", .{
            word,
        });
    if (instances.Verb.of(words.line)) |verb| return instances.answer(arena, &.{
        .verb = verb,
        .words = words.line[1..],
        .reader = reader,
        .spec = spec,
        .callers = &callers,
        .reading = .{ .rule = rule, .baked = baked },
    });
    words.before = try std.mem.concat(arena, []const u8, &.{ baked, words.before });
    opts = try words.parse(arena, rule);
    if (opts.has(.exec) or opts.has(.ps) or opts.has(.stop)) log.die("--dockerc-exec, " ++
        "--dockerc-ps and --dockerc-stop stand before all other words", .{});
    if (opts.has(.verify) and reader.image.tree == null)
        log.die("--dockerc-verify stands before all other words", .{});
    if (try aboutRuntime(arena, &opts, &callers)) |status| return status;
    if (try aboutPayload(arena, &opts, reader)) |status| return status;
    if (opts.last(.mount_image)) |directory|
        return mount.run(arena, reader, &callers, spec.rootPath(), directory);
    if (opts.has(.help)) return write(try help.text(arena, words.name, rule));
    if (try service.volume(arena)) |volume| opts.given = try std.mem.concat(
        arena,
        options.Given,
        &.{ opts.given, &.{.{ .flag = .volume, .value = volume }} },
    );
    const log_file = opts.last(.log);
    if (!opts.has(.detach) and log_file != null) log.die("--log {s}: only with --detach", .{
        log_file.?,
    });
    const alone: ?detached.Detached = if (opts.has(.detach)) try detached.begin(arena, &callers, .{
        .name = opts.last(.name),
        .file = std.fs.path.basename(words.name),
        .log = log_file,
    }) else null;
    return run.run(arena, reader, spec, &opts, &callers, range, service, alone);
}

/// What needs no payload.
fn aboutRuntime(
    arena: std.mem.Allocator,
    opts: *const options.Options,
    callers: *const Environment,
) !?u8 {
    if (opts.has(.version)) return try write(try text.alloc(
        arena,
        "dockerc runtime {s} ({s})\n",
        .{ version, @tagName(builtin.cpu.arch) },
    ));
    if (opts.has(.licenses)) return try write(@import("build_options").licences);
    if (opts.has(.doctor)) return try write(try doctor.report(arena, callers));
    return null;
}

/// What a payload answers whose config.json is malformed, too.
fn aboutPayload(arena: std.mem.Allocator, opts: *const options.Options, reader: *Reader) !?u8 {
    if (opts.last(.extract)) |directory| {
        try extract.run(arena, reader, directory, opts.has(.privileged_files));
        return 0;
    }
    if (opts.has(.inspect)) return try write(try config.readText(arena, reader));
    return null;
}

/// And whether the image needs more than one user id.
fn openPayload(
    arena: std.mem.Allocator,
    opts: *const options.Options,
    callers: *const Environment,
    disk: ?OwnFile,
) !struct { *Reader, bool } {
    // `dockerc mount` serves files that have other runtimes, too.
    const other = opts.last(.mount_image) != null and opts.args.len > 0;
    const file: OwnFile = disk orelse .{
        .fd = try if (other) own_file.openOther(arena, opts.args[0]) else own_file.open(),
    };
    const self = file.fd;
    var payload = own_file.findPayload(file);
    log.debug("payload at {d}, {d} bytes", .{ payload.offset, payload.superblock.bytes_used });
    const demand: ?Demand = try .find(arena, callers, self, opts.has(.verify));
    const checked = if (demand) |*given| try given.enforce(arena, self, &payload) else null;
    const image = try arena.create(Image);
    image.* = .{
        .fd = self,
        .start = payload.offset,
        .len = payload.superblock.bytes_used,
        .tree = if (checked) |found| found.tree else null,
    };
    const reader = try arena.create(Reader);
    reader.init(image, payload.superblock) catch |err| switch (err) {
        error.NOMEM => |e| return e,
        else => log.die("the payload is damaged: {s}", .{errno.text(err)}),
    };
    if (checked) |found| found.checkConfig(try config.readText(arena, reader));
    return .{ reader, payload.require_mapped_uids };
}

/// What the caller wrote.
const Words = struct {
    name: []const u8 = "app",
    /// Options given at build, and of DOCKERC_ARGS, for desktop launchers and the like.
    before: []const []const u8 = &.{},
    line: []const []const u8 = &.{},

    fn of(
        arena: std.mem.Allocator,
        callers: *const Environment,
        vector: []const [*:0]const u8,
    ) !Words {
        var self: Words = .{};
        if (callers.get("DOCKERC_ARGS")) |line| self.before = options.split(
            arena,
            line,
        ) catch |err| switch (err) {
            error.OutOfMemory => |e| return e,
            error.Quote => log.die("DOCKERC_ARGS: a quote is not closed", .{}),
        };
        if (vector.len == 0) return self;
        self.name = std.mem.span(vector[0]);
        const line = try arena.alloc([]const u8, vector.len - 1);
        for (line, vector[1..]) |*word, given| word.* = std.mem.span(given);
        self.line = line;
        return self;
    }

    fn parse(self: *const Words, arena: std.mem.Allocator, rule: options.Rule) !options.Options {
        var problem: options.Problem = .{};
        return options.parse(
            arena,
            rule,
            self.before,
            self.line,
            &problem,
        ) catch |err| switch (err) {
            error.OutOfMemory => |e| return e,
            error.Usage => switch (problem.kind) {
                .none => unreachable,
                .substituted => log.die("{s} is not supported: {s}", .{
                    problem.word,
                    problem.instead,
                }),
                .unknown => log.die("unknown option {s} (to pass it to the program, put -- " ++
                    "before it; see --dockerc-help)", .{problem.word}),
                .value_missing => log.die("{s} needs a value", .{problem.word}),
                .not_a_switch => log.die(
                    "{s}: this option takes no value but =true and =false",
                    .{problem.word},
                ),
            },
        };
    }
};

fn write(all: []const u8) !u8 {
    try sys.writeAll(1, all);
    return 0;
}

test {
    _ = @import("base/capabilities.zig");
    _ = @import("base/errno.zig");
    _ = @import("base/ip.zig");
    _ = @import("base/sha256.zig");
    _ = @import("base/size_classes.zig");
    _ = @import("base/socket.zig");
    _ = @import("base/text.zig");
    _ = @import("cli/environment.zig");
    _ = @import("cli/options.zig");
    _ = @import("cli/quantity.zig");
    _ = @import("config/cdi.zig");
    _ = @import("config/etc_files.zig");
    _ = @import("config/json.zig");
    _ = @import("config/mount_options.zig");
    _ = @import("config/passwd.zig");
    _ = @import("config/place.zig");
    _ = @import("config/policy.zig");
    _ = @import("config/ports.zig");
    _ = @import("config/spec.zig");
    _ = @import("config/users.zig");
    _ = @import("config/volumes.zig");
    _ = @import("config/yaml.zig");
    _ = @import("container/plan.zig");
    _ = @import("container/plan_test.zig");
    _ = @import("container/seccomp/filter.zig");
    _ = @import("container/seccomp/port_filter.zig");
    _ = @import("container/seccomp/profile.zig");
    _ = @import("container/seccomp/root_emulation.zig");
    _ = @import("contract_test.zig");
    _ = @import("fuse/prefetch/directory_prefetch.zig");
    _ = @import("fuse/prefetch/start_list_test.zig");
    _ = @import("fuse/profile_file.zig");
    _ = @import("fuse/request_test.zig");
    _ = @import("instances/process_dir.zig");
    _ = @import("instances/ps.zig");
    _ = @import("instances/stop_signal.zig");
    _ = @import("keeper/address.zig");
    _ = @import("keeper/peer.zig");
    _ = @import("machine/boot.zig");
    _ = @import("machine/settings.zig");
    _ = @import("namespaces/id_map.zig");
    _ = @import("namespaces/owners.zig");
    _ = @import("namespaces/subordinate_ids.zig");
    _ = @import("namespaces/userns.zig");
    _ = @import("payload/footer.zig");
    _ = @import("payload/public_key.zig");
    _ = @import("payload/signed_block.zig");
    _ = @import("process/caller.zig");
    _ = @import("process/cpu_policy.zig");
    _ = @import("process/ports/socket_address.zig");
    _ = @import("process/status.zig");
    _ = @import("rootfs/tmpfs_policy.zig");
    _ = @import("squashfs/blocks.zig");
    _ = @import("squashfs/hash_tree.zig");
    _ = @import("squashfs/image.zig");
    _ = @import("squashfs/mutation_test.zig");
    _ = @import("squashfs/superblock.zig");
    _ = @import("contract_test.zig");
    _ = @import("text_formats_test.zig");
    _ = @import("translation/calls.zig");
    _ = @import("translation/identity.zig");
    _ = @import("translation/owner_file.zig");
    _ = @import("translation/path_below.zig");
}
