//! The runtime stub of a dockerc executable: mounts the payload behind it and runs the app in it.
//! The steps of a start, in their order.
const std = @import("std");
const builtin = @import("builtin");
const sys = @import("sys.zig");
const text = @import("text.zig");
const log = @import("log.zig");
const config = @import("config.zig");
const footer = @import("footer.zig");
const json = @import("json.zig");
const lower = @import("lower.zig");
const mounts = @import("mounts.zig");
const options = @import("options.zig");
const program = @import("program.zig");
const signals = @import("signals.zig");
const startup = @import("fuse/startup.zig");
const userns = @import("userns.zig");
const volumes = @import("volumes.zig");
const workspace = @import("workspace.zig");
const Container = @import("container.zig").Container;
const Environment = @import("environment.zig").Environment;
const Image = @import("squashfs/image.zig").Image;
const Reader = @import("squashfs/reader.zig").Reader;
const Superblock = @import("squashfs/superblock.zig").Superblock;

pub const panic = std.debug.FullPanic(log.panic);
pub const std_options: std.Options = .{ .enable_segfault_handler = false, .signal_stack_size = null };

const version = @import("build_options").version;

const usage =
    \\Usage: {s} [OPTION...] [--] [ARGUMENT...]
    \\
    \\Runs the container image in this file. Options end at the first word that is not one of them;
    \\arguments take the place of the image's default command.
    \\
    \\  -e, --env NAME[=VALUE]           set a variable, or pass the caller's on
    \\  -v, --volume SOURCE:TARGET[:ro]  show a file or directory of this machine in the container
    \\      --dockerc-help               this text
    \\      --dockerc-version            the version of the runtime
    \\
    \\DOCKERC_LOG=debug in the environment tells the steps of a start.
    \\
;

pub fn main(init: std.process.Init.Minimal) u8 {
    var arena = std.heap.ArenaAllocator.init(std.heap.page_allocator);
    return start(arena.allocator(), init) catch |err| switch (err) {
        error.OutOfMemory => log.die("out of memory", .{}),
        else => log.die("cannot start: {s}", .{sys.text(err)}),
    };
}

fn start(arena: std.mem.Allocator, init: std.process.Init.Minimal) !u8 {
    var callers: Environment = .{};
    for (init.environ.block.slice) |word| try callers.words.append(arena, std.mem.span(word.?));
    if (callers.get("DOCKERC_LOG")) |level| if (std.mem.eql(u8, level, "debug")) log.enableDebug();

    const words = try arena.alloc([]const u8, init.args.vector.len -| 1);
    for (words, 1..) |*word, i| word.* = std.mem.span(init.args.vector[i]);
    var problem: options.Problem = .{};
    const opts = options.parse(arena, words, &problem) catch |err| switch (err) {
        error.Usage => badUsage(problem),
        error.OutOfMemory => |e| return e,
    };
    switch (opts.action) {
        .version => return say(arena, "dockerc runtime {s} ({s})\n", .{ version, @tagName(builtin.cpu.arch) }),
        .help => return say(arena, usage, .{if (init.args.vector.len > 0) std.mem.span(init.args.vector[0]) else "app"}),
        .run => {},
    }

    const self = try openSelf();
    const payload = findPayload(self);
    log.debug("payload at {d}, {d} bytes", .{ payload.offset, payload.superblock.bytes_used });
    const image = try arena.create(Image);
    image.* = .{ .fd = self, .start = payload.offset, .len = payload.superblock.bytes_used };
    const reader = try arena.create(Reader);
    reader.init(image, payload.superblock) catch |err| log.die("the payload is damaged: {s}", .{sys.text(err)});
    const spec = try readConfig(arena, reader);
    const process = spec.process orelse config.Process{};
    const args = config.command(arena, spec, opts.args) catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        else => log.die("the payload's dev.dockerc.entrypoint or dev.dockerc.cmd is not a list of words", .{}),
    };
    if (args.len == 0) log.die("the image names no command: give one", .{});

    const wants = spec.linux;
    const ids = userns.enter(arena, &callers, .{
        .uid = process.user.uid,
        .gid = process.user.gid,
        .range = payload.require_mapped_uids,
        .ipc = wants.hasNamespace("ipc"),
        .uts = wants.hasNamespace("uts"),
        .cgroup = wants.hasNamespace("cgroup"),
    });
    // Before anything of ours covers a directory of the machine.
    const machine = try volumes.open(arena, spec, opts.volumes);
    const proc = sys.openat(sys.at_fdcwd, "/proc", .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true }, 0) catch |err|
        log.die("/proc cannot be used: {s}", .{sys.text(err)});
    workspace.make(reader, rootPath(spec), ids) catch |err| log.die("cannot prepare a place to run in: {s}", .{sys.text(err)});

    const mask = try signals.block();
    const env = try program.environment(arena, &process, opts.env, &callers);
    startup.expected = .{ .root = rootPath(spec), .command = args[0], .search = env.path() };
    try lower.mount(arena, reader, ids, process.user.uid, process.user.gid);
    const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
    var lifeline: [2]sys.fd_t = undefined;
    try sys.do(.pipe2, .{ &lifeline, cloexec });
    var container: Container = .{
        .arena = arena,
        .spec = spec,
        .process = &process,
        .ids = ids,
        .args = args,
        .env = env,
        .volumes = machine.volumes,
        .sources = machine.sources,
        .shown = machine.shown,
        .signal_mask = mask,
        .lifeline = lifeline[0],
    };
    // Threads cannot be made after this, and the next child is the namespace's first process.
    if (wants.hasNamespace("pid")) try userns.enterPid();
    const pid = try sys.fork();
    if (pid == 0) {
        sys.close(lifeline[1]);
        container.run();
    }
    log.debug("app is process {d}", .{pid});
    var app: signals.App = .{ .pid = pid, .proc = proc };
    const status = app.supervise();
    log.debug("app ended, status {d}", .{status});
    return status;
}

fn rootPath(spec: *const config.Spec) []const u8 {
    const path = (spec.root orelse config.Root{}).path;
    // It becomes a part of overlayfs' options, and must not lead out of the payload.
    var names = std.mem.splitScalar(u8, path, '/');
    var plain = path.len > 0 and std.mem.findAny(u8, path, ",:\\") == null;
    while (names.next()) |name| if (name.len == 0 or std.mem.eql(u8, name, "..")) {
        plain = false;
    };
    if (!plain) log.die("the payload's root.path is not a directory in it: {s}", .{path});
    return path;
}

fn say(arena: std.mem.Allocator, comptime format: []const u8, args: anytype) !u8 {
    const line = try text.alloc(arena, format, args);
    try sys.do(.write, .{ 1, line.ptr, line.len });
    return 0;
}

fn badUsage(problem: options.Problem) noreturn {
    switch (problem.kind) {
        .none => unreachable,
        .unknown => log.die("unknown option {s}; what belongs to the app goes behind -- (see --dockerc-help)", .{problem.word}),
        .value_missing => log.die("{s} needs a value", .{problem.word}),
        .value_unwanted => log.die("{s}: the option takes no value", .{problem.word}),
        .volume => log.die("not a volume: {s}; write SOURCE:/TARGET or SOURCE:/TARGET:ro", .{problem.word}),
        .environment => log.die("not a variable: {s}; write NAME=VALUE or NAME", .{problem.word}),
    }
}

/// Our own file, on a descriptor above the standard three: one of those that is closed is closed
/// for the app too, and must not be taken by a file of ours until then.
fn openSelf() !sys.fd_t {
    while (true) {
        const fd = sys.openat(sys.at_fdcwd, "/proc/self/exe", .{ .CLOEXEC = true }, 0) catch |err|
            log.die("cannot read my own file: {s}", .{sys.text(err)});
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
    const size = sys.fileSize(self) catch |err| log.die("cannot read my own file: {s}", .{sys.text(err)});
    return footer.find(File{ .fd = self }, size) catch |err| switch (err) {
        error.NoPayload => log.die("this is a runtime without a payload: dockerc build puts the two together", .{}),
        error.Truncated => log.die("this file is incomplete: its payload is cut off", .{}),
        error.Compressor => log.die("this runtime reads payloads compressed with zstd, and this one is compressed with {s}", .{Superblock.refused_compressor}),
        error.Corrupt => log.die("the payload is damaged: its superblock makes no sense", .{}),
        else => log.die("cannot read my own file: {s}", .{sys.text(err)}),
    };
}

fn readConfig(arena: std.mem.Allocator, reader: *Reader) !*config.Spec {
    const bytes = reader.readRootFile(try reader.newDecoder(), arena, "config.json", config.size_max) catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        error.TooLarge => log.die("the payload's config.json is larger than {d} bytes", .{config.size_max}),
        else => log.die("the payload is damaged: config.json cannot be read", .{}),
    } orelse log.die("the payload holds no config.json", .{});
    const spec = try arena.create(config.Spec);
    spec.* = config.parse(arena, bytes) catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        else => log.die("the payload's config.json makes no sense", .{}),
    };
    return spec;
}

test {
    _ = @import("bytes.zig");
    _ = config;
    _ = @import("credentials.zig");
    _ = @import("environment.zig");
    _ = footer;
    _ = json;
    _ = text;
    _ = mounts;
    _ = options;
    _ = @import("passwd.zig");
    _ = @import("seccomp.zig");
    _ = @import("squashfs/mutation_test.zig");
    _ = signals;
    _ = sys;
    _ = userns;
    _ = Superblock;
}
