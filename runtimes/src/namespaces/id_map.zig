//! Which ids exist in a user namespace, and how they are mapped (user_namespaces(7)).
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const quantity = @import("../cli/quantity.zig");
const subordinate_ids = @import("subordinate_ids.zig");
const text = @import("../base/text.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Range = subordinate_ids.Range;

pub fn writeSingle(
    arena: std.mem.Allocator,
    inner_uid: u32,
    inner_gid: u32,
    uid: u32,
    gid: u32,
) !void {
    const cwd = sys.at_fdcwd;
    // Required before an ordinary user may map a group (user_namespaces(7)).
    try sys.writeFile(cwd, "/proc/self/setgroups", "deny");
    try sys.writeFile(cwd, "/proc/self/uid_map", try text.alloc(arena, "{d} {d} 1", .{
        inner_uid,
        uid,
    }));
    try sys.writeFile(cwd, "/proc/self/gid_map", try text.alloc(arena, "{d} {d} 1", .{
        inner_gid,
        gid,
    }));
}

/// `count` ids from `inner` on, in the namespace, are those from `outer` on.
const Extent = struct { inner: u32, outer: u32, count: u32 };

/// The ids that exist in a user namespace.
pub const Map = struct {
    extents: []const Extent,

    /// As in the machine's own namespace (user_namespaces(7)).
    pub const all: Map = .{
        .extents = &.{.{ .inner = 0, .outer = 0, .count = std.math.maxInt(u32) }},
    };

    /// Of the namespace that we are in: `path` is one of uid_map and gid_map.
    pub fn ofSelf(arena: std.mem.Allocator, path: [*:0]const u8) error{OutOfMemory}!?Map {
        return ofProcess(arena, sys.at_fdcwd, path);
    }

    /// Of another process, whose directory in /proc is `dir`.
    pub noinline fn ofProcess(
        arena: std.mem.Allocator,
        dir: sys.fd_t,
        path: [*:0]const u8,
    ) error{OutOfMemory}!?Map {
        // The kernel takes 340 lines at most (user_namespaces(7)).
        var buf: [340 * 33 + 1]u8 = undefined;
        const lines = sys.readFile(dir, path, &buf) catch return null;
        return parse(arena, lines);
    }

    /// Lines of the first id inside, the first id outside, and their number.
    pub fn parse(arena: std.mem.Allocator, lines: []const u8) error{OutOfMemory}!?Map {
        const all_lines = try arena.alloc(Extent, std.mem.count(u8, lines, "\n"));
        var words = std.mem.tokenizeAny(u8, lines, " \n");
        for (all_lines) |*extent| {
            var numbers: [3]u32 = undefined;
            for (&numbers) |*number|
                number.* = quantity.number(u32, words.next() orelse return null) orelse return null;
            extent.* = .{ .inner = numbers[0], .outer = numbers[1], .count = numbers[2] };
        }
        return .{ .extents = all_lines };
    }

    pub noinline fn count(self: Map) u64 {
        var sum: u64 = 0;
        for (self.extents) |extent| sum += extent.count;
        return sum;
    }

    pub noinline fn has(self: Map, id: u32) bool {
        for (self.extents) |extent| if (id >= extent.inner and id - extent.inner < extent.count)
            return true;
        return false;
    }

    pub fn isAll(self: Map) bool {
        return self.count() == all.extents[0].count;
    }
};

/// A child process outside of the user namespace, which starts the set-uid helpers.
pub const Mapper = struct {
    child: i32,
    start: sys.fd_t,

    /// `app` are the ids of the app's user in the namespace, `own` the caller's outside.
    pub fn prepare(
        arena: std.mem.Allocator,
        environment: *const Environment,
        app: Pair,
        own: Pair,
        missing: *[]const u8,
    ) ?Mapper {
        // The kernel's "no id": `settle` says so.
        const none = std.math.maxInt(u32);
        if (app.uid == none or app.gid == none) return null;
        const uid = own.uid;
        const ranges = subordinate_ids.find(arena, environment, uid);
        const uids = ranges.uids orelse {
            missing.* = "/etc/subuid has no range for you";
            return null;
        };
        const gids = ranges.gids orelse {
            missing.* = "/etc/subgid has no range for you";
            return null;
        };
        const newuidmap = environment.findProgram(arena, "newuidmap");
        const newgidmap = environment.findProgram(arena, "newgidmap");
        if (newuidmap == null or newgidmap == null) {
            missing.* = "newuidmap and newgidmap (package uidmap) are not installed";
            return null;
        }
        return spawn(
            arena,
            .{ newuidmap.?, newgidmap.? },
            .{ extents(app.uid, uid, uids), extents(app.gid, own.gid, gids) },
        ) catch null;
    }

    fn spawn(
        arena: std.mem.Allocator,
        programs: [2][:0]const u8,
        maps: [2][3]Extent,
    ) !Mapper {
        const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
        var pipe: [2]sys.fd_t = undefined;
        try sys.do(.pipe2, .{ &pipe, cloexec });
        const target = try text.alloc(arena, "{d}", .{sys.raw(.getpid, .{})});
        const child = try sys.fork();
        if (child != 0) {
            sys.close(pipe[0]);
            return .{ .child = child, .start = pipe[1] };
        }
        sys.close(pipe[1]);
        // If the parent fails meanwhile, the helpers' messages are not wanted.
        if (!log.debugging) sys.closeStandard();
        var byte: [1]u8 = undefined;
        // No byte: the parent has ended.
        if ((sys.call(.read, .{ pipe[0], &byte, 1 }) catch 0) != 1) sys.exit(1);
        // Both at once: each takes longer to start than to write.
        for (programs, maps) |program, map| {
            var argv: std.ArrayList(?[*:0]const u8) = .empty;
            try argv.appendSlice(arena, &.{ program, target });
            for (map) |extent| if (extent.count > 0)
                for ([_]u32{ extent.inner, extent.outer, extent.count }) |number|
                    try argv.append(arena, try text.alloc(arena, "{d}", .{number}));
            try argv.append(arena, null);
            if (try sys.fork() == 0) {
                const none = [_:null]?[*:0]const u8{};
                _ = sys.raw(.execve, .{ program.ptr, argv.items.ptr, &none });
                sys.exit(127);
            }
        }
        for (programs) |_| if ((try sys.wait(-1, 0)).status != 0) sys.exit(1);
        sys.exit(0);
    }

    pub fn begin(self: Mapper) void {
        // Without a byte the child ends, and `finish` reports it.
        _ = sys.raw(.write, .{ self.start, "m", 1 });
        sys.close(self.start);
    }

    pub fn finish(self: Mapper) bool {
        const end = sys.wait(self.child, 0) catch return false;
        return end.status == 0;
    }
};

pub const Pair = struct { uid: u32, gid: u32 };

/// The app's id is the caller's, so that what the app writes to a volume is the caller's; the
/// others, 0 among them, are the range's in their order. One beyond the range exists, too.
fn extents(app: u32, own: u32, range: Range) [3]Extent {
    const below = @min(app, range.count);
    return .{
        .{ .inner = 0, .outer = range.start, .count = below },
        .{ .inner = app, .outer = own, .count = 1 },
        .{ .inner = app +| 1, .outer = range.start + below, .count = range.count - below },
    };
}

test "maps of ids" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    const host = try Map.parse(arena.allocator(), "         0          0 4294967295\n");
    try std.testing.expect(host.?.isAll());
    const range = try Map.parse(arena.allocator(), "0 1001 1\n1 100000 65536\n");
    try std.testing.expectEqual(65537, range.?.count());
}

test "the app's id is the caller's" {
    const range: Range = .{ .start = 5000, .count = 100 };
    try std.testing.expectEqual([3]Extent{
        .{ .inner = 0, .outer = 5000, .count = 0 },
        .{ .inner = 0, .outer = 1001, .count = 1 },
        .{ .inner = 1, .outer = 5000, .count = 100 },
    }, extents(0, 1001, range));
    try std.testing.expectEqual([3]Extent{
        .{ .inner = 0, .outer = 5000, .count = 33 },
        .{ .inner = 33, .outer = 1001, .count = 1 },
        .{ .inner = 34, .outer = 5033, .count = 67 },
    }, extents(33, 1001, range));
    for ([_]u32{ 100, 70000, std.math.maxInt(u32) }) |app| {
        const map = extents(app, 1001, range);
        try std.testing.expectEqual(Extent{ .inner = 0, .outer = 5000, .count = 100 }, map[0]);
        try std.testing.expectEqual(Extent{ .inner = app, .outer = 1001, .count = 1 }, map[1]);
        try std.testing.expectEqual(0, map[2].count);
    }
}
