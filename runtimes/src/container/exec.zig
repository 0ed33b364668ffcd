//! The app's program: its environment, where it is, and starting it.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const config = @import("../config/spec.zig");
const path_in_root = @import("path_in_root.zig");
const exit_status = @import("../process/exit_status.zig");
const passwd = @import("../config/passwd.zig");
const first_socket = @import("../config/service.zig").first_socket;
const Options = @import("../cli/options.zig").Options;
const Environment = @import("../cli/environment.zig").Environment;

/// The image's variables, then the options'; a name alone takes the caller's value.
pub fn environment(
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    options: *const Options,
    callers: *const Environment,
) !Environment {
    var env: Environment = .{};
    if (options.has(.env_host)) for (callers.words.items) |word| try env.put(arena, word);
    for (spec.process.env) |word| try env.put(arena, word);
    for (options.given) |given| if (given.flag == .env_file) {
        const content = sys.readLarge(
            sys.at_fdcwd,
            try arena.dupeSentinel(u8, given.value, 0),
            1 << 20,
        ) catch |err|
            log.die("--env-file {s}: {s}", .{ given.value, errno.text(err) });
        // As docker's command line: without a byte order mark, no blank in a name.
        const mark = "\xef\xbb\xbf";
        const rest = std.mem.cutPrefix(u8, content, mark) orelse content;
        var lines = std.mem.tokenizeAny(u8, rest, "\r\n");
        while (lines.next()) |line| {
            const word = std.mem.trimStart(u8, line, " \t");
            if (word.len == 0 or word[0] == '#') continue;
            const name = word[0 .. std.mem.findScalar(u8, word, '=') orelse word.len];
            if (std.mem.findAny(u8, name, " \t") != null or
                std.mem.findScalar(u8, word, 0) != null) log.die(
                "--env-file {s}: not a variable: {s}; a name has no blanks, a value no zero byte",
                .{ given.value, word },
            );
            try set(arena, &env, word, callers);
        }
    };
    // Docker's order: files first, whatever the order they were given in.
    for (options.given) |given| if (given.flag == .env) try set(arena, &env, given.value, callers);
    if (env.get("HOSTNAME") == null) {
        var machine: std.os.linux.utsname = undefined;
        try sys.do(.uname, .{&machine});
        const own = std.mem.sliceTo(&machine.nodename, 0);
        try env.set(arena, "HOSTNAME", spec.hostname orelse own);
    }
    // The app's terminal is of the same type as the caller's.
    if (env.get("TERM") == null) if (callers.get("TERM")) |term|
        if (sys.isTerminal(0)) try env.set(arena, "TERM", term);
    return env;
}

fn set(
    arena: std.mem.Allocator,
    env: *Environment,
    word: []const u8,
    callers: *const Environment,
) !void {
    if (word.len == 0 or word[0] == '=')
        log.die("not a variable: {s}; write NAME=VALUE or NAME", .{word});
    if (std.mem.findScalar(u8, word, '=') != null) return env.put(arena, word);
    if (callers.get(word)) |value| try env.set(arena, word, value);
}

/// In the container: HOME as its passwd(5) has it.
pub fn setHome(arena: std.mem.Allocator, env: *Environment, uid: u32) !void {
    if (env.get("HOME") != null) return;
    const home = blk: {
        const path = path_in_root.resolve(arena, "/etc/passwd", .nothing, false) catch
            break :blk "/";
        // Reading a pipe of the image would block.
        if ((sys.stat(sys.at_fdcwd, path) catch break :blk "/").mode & 0o170000 != 0o100000)
            break :blk "/";
        const text = sys.readLarge(sys.at_fdcwd, path, 1 << 20) catch break :blk "/";
        break :blk (passwd.find(text, .{ .id = uid }) orelse break :blk "/").home;
    };
    try env.set(arena, "HOME", home);
}

/// The working directory, as the app's user: only they may be able to enter it.
pub fn enterDirectory(arena: std.mem.Allocator, path: []const u8) !void {
    const cwd = try arena.dupeSentinel(u8, path, 0);
    sys.do(.chdir, .{cwd.ptr}) catch |err|
        log.die("cannot enter {s}: {s}", .{ cwd, errno.text(err) });
    // For a directory outside of the root getcwd(2) returns a path that does not start with a
    // slash.
    var where: [std.posix.PATH_MAX]u8 = undefined;
    const len = sys.call(.getcwd, .{ &where, where.len }) catch 0;
    const inside = len > 0 and where[0] == '/';
    if (!inside) log.die("cannot enter {s}: it leads out of the container", .{cwd});
}

/// The app's file, in the container. Errors that can be seen before the exec are reported here.
pub fn locate(arena: std.mem.Allocator, name: []const u8, env: *const Environment) ![:0]const u8 {
    if (name.len == 0) log.dieWith(exit_status.not_found, "the command is an empty word", .{});
    if (std.mem.findScalar(u8, name, '/') == null) return env.findProgram(arena, name) orelse
        missing(arena, name, env);
    const path = try arena.dupeSentinel(u8, name, 0);
    const st = sys.stat(sys.at_fdcwd, path) catch |err|
        log.dieWith(
            if (err == error.NOENT or err == error.NOTDIR)
                exit_status.not_found
            else
                exit_status.not_executable,
            "cannot run {s}: {s}",
            .{ path, errno.text(err) },
        );
    if (sys.isDirectory(st.mode))
        log.dieWith(exit_status.not_executable, "{s} is a directory", .{path});
    return path;
}

/// Executes the app through the launcher; directly under an emulator, which cannot execute a file
/// without a name. `lifeline` leads to the runtime. With `waits`, waits until the runtime has
/// prepared its terminal, for a key may be pressed at any time. From here on only calls are made
/// that every filter allows.
pub fn start(
    arena: std.mem.Allocator,
    path: [:0]const u8,
    args: []const []const u8,
    env: *const Environment,
    how: How,
    lifeline: sys.fd_t,
    waits: bool,
) !noreturn {
    const own = 2;
    const argv = try arena.allocSentinel(?[*:0]const u8, own + args.len, null);
    const sockets: u8 = @intCast(lifeline - first_socket);
    const letters = try arena.dupeSentinel(u8, &.{
        switch (how) {
            .plain, .emulated => 'x',
            .with_init => 'i',
            .guest, .guest_at_terminal => 'g',
        },
        if (how == .guest_at_terminal) '0' + how.guest_at_terminal else '-',
        '0' + sockets,
    }, 0);
    argv[0] = letters.ptr;
    argv[1] = path.ptr;
    for (argv[own..], args) |*a, arg| a.* = (try arena.dupeSentinel(u8, arg, 0)).ptr;
    const block = (try env.block(arena)).ptr;
    log.debug("starting {s}", .{path});
    const told = try std.mem.concat(arena, u8, &.{ "p", path });
    try sys.do(.write, .{ lifeline, told.ptr, told.len });
    var go: [1]u8 = undefined;
    if (waits and try sys.call(.read, .{ lifeline, &go, 1 }) == 0) sys.exit(log.failed);
    if (how == .emulated) {
        const failure: anyerror = if (sys.do(.execve, .{ path.ptr, argv.ptr + own, block })) |_|
            error.NOEXEC
        else |err|
            err;
        const message = [2]u8{ 'e', errno.numberOf(failure) };
        try sys.do(.write, .{ lifeline, &message, message.len });
        sys.exit(exit_status.not_found);
    }
    try launch(argv, block, lifeline);
}

pub const How = union(enum) {
    plain,
    with_init,
    emulated,
    /// A process that has entered a run: its child executes the program.
    guest,
    /// The same, with the standard stream that is its terminal.
    guest_at_terminal: u8,
};

/// Executes the launcher that `prepareLauncher` has put at its place.
fn launch(
    argv: [*:null]const ?[*:0]const u8,
    env: [*:null]const ?[*:0]const u8,
    lifeline: sys.fd_t,
) !noreturn {
    const set_descriptor_flags = 2;
    try sys.do(.fcntl, .{ lifeline, set_descriptor_flags, 0 });
    const empty_path = 0x1000;
    if (sys.do(.execveat, .{ lifeline + 1, "", argv, env, empty_path })) |_| {} else |err| {
        if (err != error.PERM and err != error.NOSYS) return err;
    }
    // A filter of the caller's may allow execve(2) only.
    var name: [32:0]u8 = undefined;
    try sys.do(.execve, .{ sys.fdPath(&name, lifeline + 1), argv, env });
    return error.NOEXEC;
}

/// Puts the launcher into a sealed memfd; where memfds may not be executed (sysctl
/// vm.memfd_noexec), into an unnamed file on a mount of ours.
pub fn prepareLauncher(place: sys.fd_t) !void {
    sealLauncher(place) catch |err| return switch (err) {
        error.ACCES => placeLauncher(try onDevices(), place),
        else => err,
    };
}

/// Into a sealed memfd (memfd_create(2)), which needs no file system.
pub fn sealLauncher(place: sys.fd_t) sys.Error!void {
    const allow_sealing = 2;
    const executable = 0x10;
    const made: sys.fd_t = if (sys.call(
        .memfd_create,
        .{ "dockerc", allow_sealing | executable },
    )) |fd|
        @intCast(fd)
    else |err| switch (err) {
        // Before Linux 6.3.
        error.INVAL => @intCast(try sys.call(.memfd_create, .{ "dockerc", allow_sealing })),
        else => return err,
    };
    try fill(made);
    const add_seals = 1033;
    const seal_shrink_grow_write_and_seals = 1 | 2 | 4 | 8;
    try sys.do(.fcntl, .{ made, add_seals, seal_shrink_grow_write_and_seals });
    return placeLauncher(made, place);
}

fn fill(fd: sys.fd_t) sys.Error!void {
    if (try sys.call(.write, .{ fd, launcher, launcher.len }) != launcher.len) return error.IO;
}

fn onDevices() !sys.fd_t {
    var flags: sys.O = .{ .ACCMODE = .RDWR, .TMPFILE = true, .DIRECTORY = true, .CLOEXEC = true };
    const written = try sys.openat(sys.at_fdcwd, "/dev", flags, 0o555);
    defer sys.close(written);
    try fill(written);
    // A file that is open for writing cannot be executed.
    flags = .{ .CLOEXEC = true };
    var path: [32:0]u8 = undefined;
    return sys.openat(sys.at_fdcwd, sys.fdPath(&path, written), flags, 0);
}

fn placeLauncher(fd: sys.fd_t, place: sys.fd_t) sys.Error!void {
    if (fd == place) {
        const set_descriptor_flags = 2;
        return sys.do(.fcntl, .{ fd, set_descriptor_flags, 0 });
    }
    try sys.do(.dup3, .{ fd, place, 0 });
    sys.close(fd);
}

const launcher = @import("build_options").launcher;

/// Not on PATH, or not executable.
fn missing(arena: std.mem.Allocator, name: []const u8, env: *const Environment) noreturn {
    var dirs = std.mem.splitScalar(u8, env.path(), ':');
    while (dirs.next()) |dir| {
        const candidate = std.fs.path.joinZ(arena, &.{ dir, name }) catch break;
        const st = sys.stat(sys.at_fdcwd, candidate) catch continue;
        if (!sys.isDirectory(st.mode)) log.dieWith(
            exit_status.not_executable,
            "cannot run {s}: {s}",
            .{ candidate, errno.text(error.ACCES) },
        );
    }
    log.dieWith(exit_status.not_found, "{s} is not in the image (PATH={s})", .{ name, env.path() });
}
