//! The app's program: its environment, where it is, and starting it.
const std = @import("std");
const sys = @import("sys.zig");
const log = @import("log.zig");
const config = @import("config.zig");
const jail_path = @import("jail_path.zig");
const passwd = @import("passwd.zig");
const Options = @import("options.zig").Options;
const Environment = @import("environment.zig").Environment;

/// Docker's: the program is there but cannot be run; it is not there.
const not_executable = 126;
const not_found = 127;

/// The image's words, then the caller's; a name alone takes the caller's value.
pub fn environment(arena: std.mem.Allocator, process: *const config.Process, options: *const Options, callers: *const Environment) !Environment {
    var env: Environment = .{};
    for (process.env) |word| try env.put(arena, word);
    for (options.given) |given| if (given.flag == .env_file) {
        const content = sys.readLarge(sys.at_fdcwd, try arena.dupeSentinel(u8, given.value, 0), 1 << 20) catch |err|
            log.die("--env-file {s}: {s}", .{ given.value, sys.text(err) });
        var lines = std.mem.tokenizeAny(u8, content, "\r\n");
        while (lines.next()) |line| {
            const word = std.mem.trimStart(u8, line, " \t");
            if (word.len > 0 and word[0] != '#') try set(arena, &env, word, callers);
        }
    };
    // Docker's order: files first, whatever the order they were given in.
    for (options.given) |given| if (given.flag == .env) try set(arena, &env, given.value, callers);
    // The app's terminal is the caller's.
    if (env.get("TERM") == null) if (callers.get("TERM")) |term| if (isTerminal(0)) try env.set(arena, "TERM", term);
    return env;
}

fn set(arena: std.mem.Allocator, env: *Environment, word: []const u8, callers: *const Environment) !void {
    if (word.len == 0 or word[0] == '=') log.die("not a variable: {s}; write NAME=VALUE or NAME", .{word});
    if (std.mem.findScalar(u8, word, '=') != null) return env.put(arena, word);
    if (callers.get(word)) |value| try env.set(arena, word, value);
}

pub fn isTerminal(fd: sys.fd_t) bool {
    const tcgets = 0x5401;
    var termios: std.os.linux.termios = undefined;
    sys.do(.ioctl, .{ fd, tcgets, &termios }) catch return false;
    return true;
}

/// In the container: HOME as its passwd(5) has it.
pub fn setHome(arena: std.mem.Allocator, env: *Environment, uid: u32) !void {
    if (env.get("HOME") != null) return;
    const home = blk: {
        const path = jail_path.resolve(arena, "/etc/passwd", .nothing) catch break :blk "/";
        const text = sys.readLarge(sys.at_fdcwd, path, 1 << 20) catch break :blk "/";
        break :blk (passwd.find(text, .{ .id = uid }) orelse break :blk "/").home;
    };
    try env.set(arena, "HOME", home);
}

/// Becomes the app, or says why not.
pub fn exec(arena: std.mem.Allocator, args: []const []const u8, env: *const Environment) !noreturn {
    const argv = try arena.allocSentinel(?[*:0]const u8, args.len, null);
    for (argv, args) |*a, arg| a.* = (try arena.dupeSentinel(u8, arg, 0)).ptr;
    const name = args[0];
    const path: [:0]const u8 = if (std.mem.findScalar(u8, name, '/') != null)
        try arena.dupeSentinel(u8, name, 0)
    else if (name.len == 0)
        log.dieWith(not_found, "the command is an empty word", .{})
    else
        env.findProgram(arena, name) orelse missing(arena, name, env);
    log.debug("starting {s}", .{path});
    const err = sys.do(.execve, .{ path.ptr, argv.ptr, (try env.block(arena)).ptr });
    explain(path, err);
}

fn explain(path: [:0]const u8, result: sys.Error!void) noreturn {
    const err = if (result) |_| unreachable else |e| e;
    const there = sys.stat(sys.at_fdcwd, path);
    if (there) |st| {
        if (sys.isDirectory(st.mode)) log.dieWith(not_executable, "{s} is a directory", .{path});
        // The file is there: what is missing is what it names as its interpreter.
        if (err == error.NOENT) log.dieWith(not_found, "{s} needs an interpreter that the image has not", .{path});
        log.dieWith(not_executable, "cannot run {s}: {s}", .{ path, sys.text(err) });
    } else |_| {}
    const status: u8 = if (err == error.NOENT or err == error.NOTDIR) not_found else not_executable;
    log.dieWith(status, "cannot run {s}: {s}", .{ path, sys.text(err) });
}

/// Not on PATH, or there but not to be run.
fn missing(arena: std.mem.Allocator, name: []const u8, env: *const Environment) noreturn {
    var dirs = std.mem.splitScalar(u8, env.path(), ':');
    while (dirs.next()) |dir| {
        const candidate = std.fs.path.joinZ(arena, &.{ dir, name }) catch break;
        const st = sys.stat(sys.at_fdcwd, candidate) catch continue;
        if (!sys.isDirectory(st.mode)) log.dieWith(not_executable, "cannot run {s}: {s}", .{ candidate, sys.text(error.ACCES) });
    }
    log.dieWith(not_found, "{s} is not in the image (PATH={s})", .{ name, env.path() });
}
