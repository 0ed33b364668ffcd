//! --cwd, --home and --userns keep-id: the caller's working directory, home and ids, for a program
//! that works on the caller's files.
const std = @import("std");
const config = @import("spec.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const passwd = @import("passwd.zig");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const users = @import("users.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Options = @import("../cli/options.zig").Options;

pub const Place = struct {
    /// Directories of the machine that the container has at the same paths.
    directories: []const []const u8 = &.{},
    /// The image's /etc/passwd and /etc/group, with the caller.
    passwd: ?[]const u8 = null,
    group: ?[]const u8 = null,
};

pub fn keepsId(options: *const Options) bool {
    const given = options.last(.userns) orelse return false;
    if (std.mem.eql(u8, given, "keep-id")) return true;
    if (std.mem.eql(u8, given, "host")) return false;
    log.die("--userns {s}: only keep-id and host (the default) are supported", .{given});
}

/// The caller's ids, as --user takes them.
pub fn callerUser(arena: std.mem.Allocator, options: *const Options) ![]const u8 {
    if (options.last(.user)) |user| if (user.len > 0) log.die("--user {s}: with --userns " ++
        "keep-id the program's user is you (--userns host turns that off)", .{user});
    const uid = sys.raw(.geteuid, .{});
    if (options.last(.overlay) != null and uid != 0) log.die("--userns keep-id: with --overlay " ++
        "the owners of files that are kept must be the same in every run", .{});
    return text.alloc(arena, "{d}:{d}", .{ uid, sys.raw(.getegid, .{}) });
}

/// With what is left of the options applied to the process. `image` has the image's users.
pub fn apply(
    arena: std.mem.Allocator,
    spec: *config.Spec,
    options: *const Options,
    callers: *const Environment,
    image: *const users.Image,
) !Place {
    var directories: std.ArrayList([]const u8) = .empty;
    const process = &spec.process;
    if (options.has(.cwd)) {
        const here, const logical = try workingDirectory(arena, callers);
        try directories.append(arena, here);
        if (logical) |path| try directories.append(arena, path);
        if (options.last(.workdir) == null) process.cwd = logical orelse here;
    }
    var home: ?[]const u8 = null;
    if (options.has(.home)) {
        home = try homeDirectory(callers);
        try directories.append(arena, home.?);
    }
    if (!keepsId(options)) {
        if (home) |path| try setHome(arena, process, path);
        return .{ .directories = directories.items };
    }
    const caller: Caller = .find(callers);
    const known = passwd.find(image.table("/etc/passwd"), .{ .id = process.user.uid });
    // podman's rule: the home of a user that the image does not have is the working directory.
    const own_home = home orelse if (known) |user| user.home else process.cwd;
    try setHome(arena, process, own_home);
    return .{
        .directories = directories.items,
        .passwd = try caller.passwdWith(arena, image.table("/etc/passwd"), process.user, own_home),
        .group = try caller.groupWith(arena, image.table("/etc/group"), process.user.gid),
    };
}

/// And by its name with symbolic links, if the shell knows one (PWD).
fn workingDirectory(
    arena: std.mem.Allocator,
    callers: *const Environment,
) !struct { []const u8, ?[]const u8 } {
    var buf: [std.posix.PATH_MAX]u8 = undefined;
    const len = sys.call(.getcwd, .{ &buf, buf.len }) catch |err|
        log.die("--cwd: the working directory cannot be used: {s}", .{
            if (err == error.NOENT) "it has been removed" else errno.text(err),
        });
    const path = try arena.dupe(u8, buf[0 .. len - 1]);
    // getcwd(3): "(unreachable)" in front, outside of the root.
    if (path[0] != '/') log.die("--cwd: the working directory is outside of the root", .{});
    refuseSystem("--cwd", path);
    const logical = callers.get("PWD") orelse return .{ path, null };
    if (logical.len == 0 or logical[0] != '/' or std.mem.eql(u8, logical, path) or
        !isPlain(logical)) return .{ path, null };
    const one = sys.stat(sys.at_fdcwd, ".") catch return .{ path, null };
    const name = try arena.dupeSentinel(u8, logical, 0);
    const other = sys.stat(sys.at_fdcwd, name) catch return .{ path, null };
    const same = one.ino == other.ino and one.dev_major == other.dev_major and
        one.dev_minor == other.dev_minor;
    if (!same or system(logical) != null) return .{ path, null };
    return .{ path, logical };
}

/// PWD may have come from anywhere.
fn isPlain(path: []const u8) bool {
    var names = std.mem.splitScalar(u8, path[1..], '/');
    while (names.next()) |name| if (text.isOneOf(name, &.{ "", ".", ".." })) return false;
    return true;
}

fn homeDirectory(callers: *const Environment) ![]const u8 {
    const home = callers.get("HOME") orelse "";
    if (home.len == 0 or home[0] != '/')
        log.die("--home: the variable HOME is not set to a path", .{});
    const path = std.mem.trimEnd(u8, home, "/");
    refuseSystem("--home", if (path.len == 0) "/" else path);
    return path;
}

fn refuseSystem(option: []const u8, path: []const u8) void {
    const which = system(path) orelse return;
    log.die("{s}: {s} would hide {s} of the image: use another directory, or --volume with " ++
        "another target", .{ option, path, which });
}

const programs = [_][]const u8{
    "/bin",            "/boot",      "/dev",         "/etc",           "/lib",
    "/lib32",          "/lib64",     "/libx32",      "/proc",          "/sbin",
    "/sys",            "/usr/bin",   "/usr/sbin",    "/usr/lib",       "/usr/lib32",
    "/usr/lib64",      "/usr/share", "/usr/libexec", "/usr/local/bin", "/usr/local/lib",
    "/usr/local/sbin",
};
const whole = [_][]const u8{ "/opt", "/run", "/var", "/var/lib", "/var/run" };

/// What of the image a directory of the machine at this path would hide, that the image needs.
fn system(path: []const u8) ?[]const u8 {
    for (programs) |own| if (isIn(path, own) or isIn(own, path)) return own;
    for (whole) |own| if (std.mem.eql(u8, path, own)) return own;
    return null;
}

fn isIn(path: []const u8, directory: []const u8) bool {
    const rest = std.mem.cutPrefix(u8, path, directory) orelse return false;
    return rest.len == 0 or rest[0] == '/' or std.mem.eql(u8, directory, "/");
}

fn setHome(arena: std.mem.Allocator, process: *config.Process, home: []const u8) !void {
    var env: std.ArrayList([]const u8) = .empty;
    for (process.env) |word|
        if (!std.mem.startsWith(u8, word, "HOME=")) try env.append(arena, word);
    try env.append(arena, try text.alloc(arena, "HOME={s}", .{home}));
    process.env = env.items;
}

/// The names of the caller on this machine.
const Caller = struct {
    user: []const u8,
    group: []const u8,

    const table_max = 16 << 20;

    fn find(callers: *const Environment) Caller {
        const uid: u32 = @intCast(sys.raw(.geteuid, .{}));
        const gid: u32 = @intCast(sys.raw(.getegid, .{}));
        const table = sys.readLarge(sys.at_fdcwd, "/etc/passwd", table_max) catch "";
        const groups = sys.readLarge(sys.at_fdcwd, "/etc/group", table_max) catch "";
        const user = if (passwd.find(table, .{ .id = uid })) |known|
            known.name
        else
            callers.get("USER") orelse "";
        const name = if (isName(user)) user else "caller";
        return .{ .user = name, .group = passwd.findGroupName(groups, gid) orelse name };
    }

    /// Of the portable letters (POSIX, 3.437), so that the line is one.
    fn isName(word: []const u8) bool {
        if (word.len == 0 or word.len > 32 or word[0] == '-') return false;
        for (word) |byte| switch (byte) {
            'a'...'z', 'A'...'Z', '0'...'9', '.', '_', '-' => {},
            else => return false,
        };
        return true;
    }

    /// Null if the image has the user.
    fn passwdWith(
        self: *const Caller,
        arena: std.mem.Allocator,
        table: []const u8,
        user: config.User,
        home: []const u8,
    ) !?[]const u8 {
        if (passwd.find(table, .{ .id = user.uid }) != null) return null;
        // passwd(5) cannot hold these.
        const shown = if (std.mem.findAny(u8, home, ":\n") == null) home else "/";
        return try text.alloc(arena, "{s}{s}{s}:x:{d}:{d}::{s}:/bin/sh\n", .{
            table, separator(table), self.user, user.uid, user.gid, shown,
        });
    }

    fn groupWith(
        self: *const Caller,
        arena: std.mem.Allocator,
        table: []const u8,
        gid: u32,
    ) !?[]const u8 {
        if (passwd.findGroupName(table, gid) != null) return null;
        return try text.alloc(arena, "{s}{s}{s}:x:{d}:\n", .{
            table, separator(table), self.group, gid,
        });
    }

    fn separator(table: []const u8) []const u8 {
        return if (table.len == 0 or table[table.len - 1] == '\n') "" else "\n";
    }
};

test "directories of the image that nothing may hide" {
    const refused = "/ /usr /usr/local /usr/bin /usr/lib/python3 /etc /etc/nginx /proc/self " ++
        "/var /opt /dev/shm";
    var words = std.mem.tokenizeScalar(u8, refused, ' ');
    while (words.next()) |path| try std.testing.expect(system(path) != null);
    const allowed = "/home /home/me /root /tmp /var/tmp /opt/x /usr/src/x /usr/local/src " ++
        "/etcetera /libx /srv /mnt /var/lib/me /bind";
    words = std.mem.tokenizeScalar(u8, allowed, ' ');
    while (words.next()) |path| try std.testing.expect(system(path) == null);
}
