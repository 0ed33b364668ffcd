//! --memory, --cpus and --pids-limit: a control group for this run (cgroup v2), below the nearest
//! one that is delegated to us. Without one, a note says how to get one.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const quantity = @import("../cli/quantity.zig");
const DirIterator = @import("../base/dir_iter.zig").DirIterator;
const remove = @import("../base/remove.zig");
const text = @import("../base/text.zig");
const Options = @import("../cli/options.zig").Options;

const mount_point = "/sys/fs/cgroup";
const prefix = "dockerc-";

const Limit = struct { file: [:0]const u8, controller: []const u8, value: []const u8 };

/// Entered before the namespaces, so that the app sees it as the root of the hierarchy.
pub const Group = struct {
    parent: sys.fd_t,
    name: [:0]const u8,
    /// cgroup.procs of the group that we came from.
    back: sys.fd_t,

    pub fn leave(self: Group) void {
        sys.do(.write, .{ self.back, "0", 1 }) catch |err|
            log.debug("cgroup: {s}", .{errno.text(err)});
        remove.directory(self.parent, self.name) catch |err|
            log.debug("cgroup: {s}", .{errno.text(err)});
    }
};

pub fn enter(arena: std.mem.Allocator, options: *const Options) !?Group {
    const limits = try wanted(arena, options);
    if (limits.len == 0) return null;
    return divide(arena, limits) catch |err| {
        log.note("limits of memory, processors and processes are not in force: no control group " ++
            "is delegated to you ({s}); start this with: " ++
            "systemd-run --user --scope -p Delegate=yes FILE", .{errno.text(err)});
        return null;
    };
}

/// As in docker, 0 is no limit.
fn wanted(arena: std.mem.Allocator, options: *const Options) ![]const Limit {
    var limits: std.ArrayList(Limit) = .empty;
    if (options.last(.memory)) |given| {
        const bytes = quantity.bytes(given) orelse
            log.die("--memory {s}: write a number of bytes, as in 512m", .{given});
        if (bytes > 0) try limits.append(arena, .{
            .file = "memory.max",
            .controller = "+memory",
            .value = try text.alloc(arena, "{d}", .{bytes}),
        });
    }
    if (options.last(.cpus)) |given| {
        const period = 100_000;
        const share = quantity.thousandths(given) orelse
            log.die("--cpus {s}: write a number, as in 1.5", .{given});
        const quota = @max(1000, share * (period / 1000));
        if (share > 0) try limits.append(arena, .{
            .file = "cpu.max",
            .controller = "+cpu",
            .value = try text.alloc(arena, "{d} {d}", .{ quota, period }),
        });
    }
    if (options.last(.pids_limit)) |given| {
        const count = quantity.limit(given) orelse
            log.die("--pids-limit {s}: write a number", .{given});
        // The runtime's own threads are in the group too.
        const value = if (count == quantity.unlimited)
            "max"
        else
            try text.alloc(arena, "{d}", .{count +| sys.processors() +| 2});
        if (count > 0) try limits.append(arena, .{
            .file = "pids.max",
            .controller = "+pids",
            .value = value,
        });
    }
    return limits.items;
}

fn divide(arena: std.mem.Allocator, limits: []const Limit) !Group {
    var buf: [4096]u8 = undefined;
    const lines = try sys.readFile(sys.at_fdcwd, "/proc/self/cgroup", &buf);
    const own = try unified(lines);
    const home = try text.alloc(arena, mount_point ++ "{s}", .{std.mem.trimEnd(u8, own, "/")});
    const procs = try text.alloc(arena, "{s}/cgroup.procs", .{home});
    const write_only: sys.O = .{ .ACCMODE = .WRONLY, .CLOEXEC = true };
    const back = try sys.openat(sys.at_fdcwd, procs, write_only, 0);
    var path: []const u8 = home;
    // A group with processes in it cannot be divided, but one above it may be.
    while (true) {
        if (below(arena, path, limits)) |group|
            return .{ .parent = group[0], .name = group[1], .back = back }
        else |err| {
            log.debug("no control group below {s}: {s}", .{ path, errno.text(err) });
            if (path.len <= mount_point.len) return err;
        }
        path = std.fs.path.dirname(path).?;
    }
}

fn below(
    arena: std.mem.Allocator,
    path: []const u8,
    limits: []const Limit,
) !struct { sys.fd_t, [:0]const u8 } {
    const parent = try sys.openat(
        sys.at_fdcwd,
        try arena.dupeSentinel(u8, path, 0),
        .{ .DIRECTORY = true, .CLOEXEC = true },
        0,
    );
    errdefer sys.close(parent);
    sweep(parent) catch {};
    for (limits) |limit| sys.writeFile(
        parent,
        "cgroup.subtree_control",
        limit.controller,
    ) catch |err| log.debug("{s}: {s}", .{ limit.controller, errno.text(err) });
    const name = try text.alloc(arena, prefix ++ "{d}", .{sys.raw(.getpid, .{})});
    try sys.do(.mkdirat, .{ parent, name.ptr, 0o755 });
    errdefer remove.directory(parent, name) catch {};
    const group = try sys.openat(parent, name, .{ .DIRECTORY = true, .CLOEXEC = true }, 0);
    defer sys.close(group);
    for (limits) |limit| try sys.writeFile(group, limit.file, limit.value);
    try sys.writeFile(group, "cgroup.procs", "0");
    return .{ parent, name };
}

/// Moves us into the group of another process, by their directories in /proc, which is the
/// machine's; nothing is done in the same group.
pub fn join(arena: std.mem.Allocator, proc: sys.fd_t, process: sys.fd_t) !void {
    var own: [4096]u8 = undefined;
    var theirs: [4096]u8 = undefined;
    const from = try unified(try sys.readFile(proc, "self/cgroup", &own));
    const to = try unified(try sys.readFile(process, "cgroup", &theirs));
    if (std.mem.eql(u8, from, to)) return;
    // Outside of what our own cgroup namespace shows.
    if (std.mem.startsWith(u8, to, "/..")) return error.XDEV;
    const procs = try text.alloc(arena, mount_point ++ "{s}/cgroup.procs", .{to});
    return sys.writeFile(sys.at_fdcwd, procs, "0");
}

/// The path in the line of cgroup v2 (cgroups(7)).
fn unified(lines: []const u8) error{NODEV}![]const u8 {
    const at = std.mem.find(u8, lines, "0::/") orelse return error.NODEV;
    return std.mem.sliceTo(lines[at + "0::".len ..], '\n');
}

/// Groups whose run was killed are empty; a group in use cannot be removed.
fn sweep(parent: sys.fd_t) !void {
    var list: DirIterator = .{ .fd = parent };
    while (try list.next()) |name| {
        if (std.mem.startsWith(u8, std.mem.span(name), prefix))
            remove.directory(parent, name) catch {};
    }
}
