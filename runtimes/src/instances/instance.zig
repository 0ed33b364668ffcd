//! The runs of this file: processes that execute it and have the app as a child. Nothing about them
//! is kept on a disk.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const quantity = @import("../cli/quantity.zig");
const text = @import("../base/text.zig");
const cli = @import("../cli/options.zig");
const detached = @import("../process/detached.zig");
const DirIterator = @import("../base/dir_iter.zig").DirIterator;
const Environment = @import("../cli/environment.zig").Environment;
const process_dir = @import("process_dir.zig");
const namespace_name = @import("../process/namespace_name.zig");
const Identity = process_dir.Identity;
const ProcessDir = process_dir.ProcessDir;

/// How this file reads a command line.
pub const Reading = struct {
    rule: cli.Rule,
    /// Options given at build.
    baked: []const []const u8,
};

pub const Instance = struct {
    runtime: Member,
    /// The app's first process: 1 of its namespace.
    app: Member,
    /// Who started it.
    uid: u32,
    /// By --name, or the file's name and the runtime's process id.
    name: []const u8,
    options: cli.Options,

    /// A process, recognized by its number and when it was started.
    pub const Member = struct {
        pid: i32,
        started: u64,

        /// Error.SRCH if it has ended.
        pub fn open(self: Member, proc: sys.fd_t) sys.Error!ProcessDir {
            const dir = ProcessDir.open(proc, self.pid) catch return error.SRCH;
            errdefer dir.close();
            const now = dir.status() catch return error.SRCH;
            return if (now.started == self.started) dir else error.SRCH;
        }
    };

    fn answersTo(self: *const Instance, word: []const u8) bool {
        if (std.mem.eql(u8, self.name, word)) return true;
        const pid = quantity.number(i32, word) orelse return false;
        return pid == self.runtime.pid or pid == self.app.pid;
    }
};

/// In the order of their process ids; without those of users whose processes we may not trace.
pub fn all(arena: std.mem.Allocator, proc: sys.fd_t, reading: Reading) ![]const Instance {
    const file = try Identity.of(proc, "self/exe");
    const pids = try numbers(arena, proc);
    var found: std.ArrayList(Instance) = .empty;
    for (pids) |pid| if (runtime(arena, proc, pid, file, reading)) |instance| {
        try found.append(arena, instance);
    } else |err| if (err == error.OutOfMemory) return error.OutOfMemory;
    if (found.items.len == 0) return &.{};
    for (pids) |pid| addApp(proc, pid, file, found.items) catch continue;
    var running: usize = 0;
    for (found.items) |instance| if (instance.app.pid != 0) {
        found.items[running] = instance;
        running += 1;
    };
    return found.items[0..running];
}

fn numbers(arena: std.mem.Allocator, proc: sys.fd_t) ![]const i32 {
    const flags: sys.O = .{ .DIRECTORY = true, .CLOEXEC = true };
    var list: DirIterator = .{ .fd = try sys.openat(proc, ".", flags, 0) };
    defer sys.close(list.fd);
    var pids: std.ArrayList(i32) = .empty;
    while (try list.next()) |name|
        try pids.append(arena, quantity.number(i32, std.mem.span(name)) orelse continue);
    return pids.items;
}

/// A process that executes this file for a run; its app is not known yet.
fn runtime(
    arena: std.mem.Allocator,
    proc: sys.fd_t,
    pid: i32,
    file: Identity,
    reading: Reading,
) !Instance {
    const dir = try ProcessDir.open(proc, pid);
    defer dir.close();
    if (!(try dir.executable()).is(file)) return error.NOENT;
    // A container that was given this file could execute it to look like a run.
    const namespace = try namespace_name.of(proc, "self/ns/pid");
    const its = try namespace_name.of(dir.fd, "ns/pid");
    if (!std.mem.eql(u8, &its, &namespace)) return error.NOENT;
    var environment: Environment = .{};
    for (try dir.words(arena, "environ")) |word| try environment.words.append(arena, word);
    const line = try dir.words(arena, "cmdline");
    if (line.len == 0) return error.NOENT;
    const before = try cli.split(arena, environment.get("DOCKERC_ARGS") orelse "");
    var problem: cli.Problem = .{};
    const words = try arena.alloc([]const u8, line.len - 1);
    for (words, line[1..]) |*word, given| word.* = given;
    const options = try cli.parse(
        arena,
        reading.rule,
        try std.mem.concat(arena, []const u8, &.{ reading.baked, before }),
        words,
        &problem,
    );
    // It lists, stops or enters, as we do.
    for (options.given) |given| if (cli.isOfFile(given.flag)) return error.NOENT;
    const status = try dir.status();
    return .{
        .runtime = .{ .pid = pid, .started = status.started },
        .app = .{ .pid = 0, .started = 0 },
        .uid = try dir.owner(),
        .name = try nameOf(arena, &options, line[0], pid),
        .options = options,
    };
}

/// Its --name, or the name of the file and the process id.
pub fn nameOf(
    arena: std.mem.Allocator,
    options: *const cli.Options,
    file: []const u8,
    pid: i32,
) ![]const u8 {
    if (options.last(.name)) |name| if (name.len > 0) return name;
    return detached.nameOfFile(arena, std.fs.path.basename(file), pid);
}

/// The app is the child of the runtime that executes something else.
fn addApp(proc: sys.fd_t, pid: i32, file: Identity, instances: []Instance) !void {
    const dir = try ProcessDir.open(proc, pid);
    defer dir.close();
    const status = try dir.status();
    for (instances) |*instance| if (instance.runtime.pid == status.parent) {
        if ((try dir.executable()).is(file)) return;
        // pasta (process/private_network.zig) is in the machine's network.
        const runtimes: ProcessDir = try .open(proc, instance.runtime.pid);
        defer runtimes.close();
        const network = try namespace_name.of(runtimes.fd, "ns/net");
        if (!std.mem.eql(u8, &network, &try namespace_name.of(dir.fd, "ns/net"))) return;
        instance.app = .{ .pid = pid, .started = status.started };
    };
}

/// Which of them `word` means, a name or a process id; without it there must be only one.
pub fn choose(arena: std.mem.Allocator, instances: []const Instance, word: ?[]const u8) !Instance {
    if (instances.len == 0) log.die("no run of this file that is yours", .{});
    var found: ?Instance = null;
    var count: usize = 0;
    for (instances) |instance| if (word == null or instance.answersTo(word.?)) {
        count += 1;
        found = instance;
    };
    if (count == 1) return found.?;
    const names = try listed(arena, instances);
    const name = word orelse
        log.die("several runs of this file: name one of them: {s}", .{names});
    log.die("{s} runs of this file are called {s}; name one by its process id: {s}", .{
        @as([]const u8, if (count == 0) "no" else "several"),
        name,
        names,
    });
}

pub fn isOne(instances: []const Instance, word: []const u8) bool {
    for (instances) |*instance| if (instance.answersTo(word)) return true;
    return false;
}

/// "web (123), db (456)"
fn listed(arena: std.mem.Allocator, instances: []const Instance) ![]const u8 {
    var out: []const u8 = "";
    for (instances, 0..) |instance, i| out = try text.alloc(arena, "{s}{s}{s} ({d})", .{
        out,
        @as([]const u8, if (i == 0) "" else ", "),
        instance.name,
        instance.runtime.pid,
    });
    return out;
}
