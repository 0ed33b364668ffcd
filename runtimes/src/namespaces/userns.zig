//! Namespaces and whose ids are in them. An ordinary user gets a user namespace, in which either
//! one id is mapped (no helper needed) or a range of subordinate ids (newuidmap and newgidmap of
//! package uidmap write that map); real root needs none.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const quantity = @import("../cli/quantity.zig");
const text = @import("../base/text.zig");
const log = @import("../base/log.zig");
const CLONE = sys.CLONE;
const Environment = @import("../cli/environment.zig").Environment;
const MountNamespace = @import("mount_namespace.zig").MountNamespace;

pub const Ids = enum(u8) {
    /// No namespace at all: root of a container that may neither mount nor make namespaces.
    none,
    /// No user namespace: ids are the machine's own.
    host,
    /// Root of a user namespace that somebody else made (a rootless container, unshare -r).
    outer,
    /// The caller's id is that of the container's user, and no other id exists.
    single,
    /// The caller is the container's root, its subordinate ids are the others.
    range,
};

pub const Wanted = struct {
    uid: u32,
    gid: u32,
    ipc: bool,
    uts: bool,
    network: bool,
    /// Whether the app can do without namespaces.
    optional: bool,
};

/// Whom the machine knows us as, and how far a user namespace of our own has come.
pub const Caller = struct {
    uid: u32,
    gid: u32,
    entered: bool = false,
    mapper: ?Mapper = null,
    missing: []const u8 = "",

    /// An ordinary user needs a user namespace, whatever else is wanted: it is entered at once, for
    /// the helpers that map a `range` of ids in it take longer than anything that can be done
    /// without ids. Others may need one, which `enter` finds out.
    pub fn begin(arena: std.mem.Allocator, environment: *const Environment, range: bool) Caller {
        var self: Caller = .{ .uid = @intCast(sys.raw(.geteuid, .{})), .gid = @intCast(sys.raw(.getegid, .{})) };
        // `enter` tries again, and says what is wrong.
        if (self.uid != 0) _ = self.enterUser(arena, environment, range, null) catch null;
        return self;
    }

    /// With a mount namespace and `others` at once, all or none; without, where they are null.
    fn enterUser(self: *Caller, arena: std.mem.Allocator, environment: *const Environment, range: bool, others: ?u32) sys.Error!?MountNamespace {
        self.mapper = if (range) Mapper.prepare(arena, environment, self.uid, self.gid, &self.missing) else null;
        errdefer if (self.mapper) |mapper| sys.close(mapper.start);
        const mounts: ?MountNamespace = if (others) |flags| try .unshare(CLONE.newuser | flags) else null;
        if (others == null) try sys.do(.unshare, .{CLONE.newuser});
        log.debug("user namespace entered", .{});
        if (self.mapper) |mapper| mapper.begin();
        self.entered = true;
        return mounts;
    }
};

/// Namespaces that are there, in which the ids may be mapped by and by.
pub const Entered = struct {
    ids: ?Ids = null,
    wanted: Wanted,
    caller: Caller,
    /// Null where we have no namespace at all.
    mounts: ?MountNamespace = null,

    /// Waits for the ids. Nothing can be created before.
    pub fn settle(self: *const Entered, arena: std.mem.Allocator) Ids {
        if (self.ids) |ids| return ids;
        const caller = &self.caller;
        if (caller.mapper) |mapper| {
            if (mapper.finish()) {
                log.debug("range of ids mapped", .{});
                return .range;
            }
            log.note("newuidmap or newgidmap could not map your range of subordinate ids; every file of the image belongs to one id", .{});
        }
        if (caller.missing.len > 0) log.note("this image uses several user ids, and {s}; going on with one", .{caller.missing});
        const wanted = &self.wanted;
        writeSingle(arena, wanted.uid, wanted.gid, caller.uid, caller.gid) catch |err| log.die("cannot map your id to {d}:{d} in a user namespace: {s}", .{ wanted.uid, wanted.gid, errno.text(err) });
        return .single;
    }
};

pub fn enter(arena: std.mem.Allocator, environment: *const Environment, caller: Caller, range: bool, wanted: Wanted) Entered {
    const flags: u32 = (if (wanted.ipc) CLONE.newipc else 0) |
        (if (wanted.uts) CLONE.newuts else 0) |
        (if (wanted.network) CLONE.newnet else 0);
    var entered: Entered = .{ .wanted = wanted, .caller = caller };
    const outer = if (caller.uid == 0) outerMap() else null;
    // An outer namespace that has one id only cannot give the image's user another.
    const usable = if (outer) |map| map.isAll() or map.count > 1 or wanted.uid == 0 else false;
    if (usable) {
        if (MountNamespace.unshare(flags)) |mounts| {
            mounts.makePrivate() catch |err| log.die("cannot make the mounts private: {s}", .{errno.text(err)});
            log.debug("root: no user namespace", .{});
            entered.mounts = mounts;
            entered.ids = if (outer.?.isAll()) .host else if (outer.?.count > 1) .outer else .single;
            return entered;
        } else |err| log.debug("root without a mount namespace: {s}", .{errno.text(err)});
    }

    entered.mounts = enterOwn(arena, environment, &entered.caller, range, flags) catch |err| blk: {
        if (!wanted.optional or caller.uid != 0 or !canChroot()) refused(err);
        log.debug("no namespaces: {s}", .{errno.text(err)});
        entered.ids = .none;
        break :blk null;
    };
    return entered;
}

fn enterOwn(arena: std.mem.Allocator, environment: *const Environment, caller: *Caller, range: bool, flags: u32) sys.Error!MountNamespace {
    if (caller.entered) return MountNamespace.unshare(flags);
    return (try caller.enterUser(arena, environment, range, flags)).?;
}

/// To where we are, which changes nothing.
fn canChroot() bool {
    return if (sys.do(.chroot, .{"/"})) |_| true else |_| false;
}

/// A user namespace of the caller's id alone, with mounts of its own.
pub fn enterPlain(arena: std.mem.Allocator) !MountNamespace {
    const uid: u32 = @intCast(sys.raw(.geteuid, .{}));
    const gid: u32 = @intCast(sys.raw(.getegid, .{}));
    const mounts = try MountNamespace.unshare(CLONE.newuser);
    try writeSingle(arena, 0, 0, uid, gid);
    return mounts;
}

fn writeSingle(arena: std.mem.Allocator, inner_uid: u32, inner_gid: u32, uid: u32, gid: u32) !void {
    const cwd = sys.at_fdcwd;
    // The kernel wants this before an ordinary user may map a group (user_namespaces(7)).
    try sys.writeFile(cwd, "/proc/self/setgroups", "deny");
    try sys.writeFile(cwd, "/proc/self/uid_map", try text.alloc(arena, "{d} {d} 1", .{ inner_uid, uid }));
    try sys.writeFile(cwd, "/proc/self/gid_map", try text.alloc(arena, "{d} {d} 1", .{ inner_gid, gid }));
}

/// What ids are in the user namespace that we were started in.
fn outerMap() ?Map {
    // The kernel takes 340 lines at most (user_namespaces(7)).
    var buf: [340 * 33 + 1]u8 = undefined;
    return Map.parse(sys.readFile(sys.at_fdcwd, "/proc/self/uid_map", &buf) catch return null);
}

const Map = struct {
    /// Of all ranges.
    count: u64,

    fn parse(lines: []const u8) ?Map {
        var count: u64 = 0;
        var words = std.mem.tokenizeAny(u8, lines, " \n");
        var i: usize = 0;
        while (words.next()) |word| : (i += 1) {
            if (i % 3 == 2) count += quantity.number(u32, word) orelse return null;
        }
        return .{ .count = count };
    }

    /// As in the machine's own namespace (user_namespaces(7)).
    fn isAll(self: Map) bool {
        return self.count == std.math.maxInt(u32);
    }
};

/// Which setting forbids user namespaces, and what to type.
fn refused(err: sys.Error) noreturn {
    if (forbids("/proc/sys/user/max_user_namespaces", '0'))
        log.die("user namespaces are turned off (user.max_user_namespaces is 0): sudo sysctl -w user.max_user_namespaces=15000", .{});
    if (forbids("/proc/sys/kernel/unprivileged_userns_clone", '0'))
        log.die("user namespaces are for root only (kernel.unprivileged_userns_clone is 0): sudo sysctl -w kernel.unprivileged_userns_clone=1", .{});
    explainAppArmor();
    // unshare(2): a process of several threads, which qemu-user always is, may not enter one.
    if (err == error.INVAL) log.die("an emulated program cannot enter a user namespace: start the emulator in one (unshare -Urm qemu-... FILE), or as root", .{});
    log.die("the kernel refuses a user namespace ({s}): inside another container it has to be allowed there, or run this as root", .{errno.text(err)});
}

/// AppArmor may let a user namespace be made and then refuse everything in it (Ubuntu 24.04).
pub fn explainAppArmor() void {
    if (!forbids("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", '1')) return;
    var buf: [std.posix.PATH_MAX]u8 = undefined;
    const len = sys.call(.readlinkat, .{ sys.at_fdcwd, "/proc/self/exe", &buf, buf.len }) catch 0;
    const path = buf[0..len];
    var sentence: [4096]u8 = undefined;
    log.die("{s}", .{profileAdvice(&sentence, path)});
}

/// A profile that allows this file what every file had before, as distributions ship for browsers.
fn profileAdvice(buf: []u8, path: []const u8) []const u8 {
    const name = std.fs.path.basename(path);
    return text.print(buf, "AppArmor forbids user namespaces to programs without a profile: give this file one with: " ++
        "printf '%s\\n' 'abi <abi/4.0>,' 'profile \"dockerc-{s}\" \"{s}\" flags=(unconfined) {s} userns, {s}' | " ++
        "sudo tee '/etc/apparmor.d/dockerc-{s}' && sudo apparmor_parser -r '/etc/apparmor.d/dockerc-{s}' " ++
        "(or allow them to all: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)", .{ name, path, "{", "}", name, name });
}

fn forbids(path: [*:0]const u8, value: u8) bool {
    var buf: [16]u8 = undefined;
    const content = sys.readFile(sys.at_fdcwd, path, &buf) catch return false;
    return content.len >= 1 and content[0] == value and (content.len == 1 or content[1] == '\n');
}

/// A child that stays outside of the user namespace to start the helpers, which are set-uid.
const Mapper = struct {
    child: i32,
    start: sys.fd_t,

    fn prepare(arena: std.mem.Allocator, environment: *const Environment, uid: u32, gid: u32, missing: *[]const u8) ?Mapper {
        const user = userName(uid);
        const uids = subordinate("/etc/subuid", user, uid) orelse {
            missing.* = "/etc/subuid has no range for you";
            return null;
        };
        const gids = subordinate("/etc/subgid", user, uid) orelse {
            missing.* = "/etc/subgid has no range for you";
            return null;
        };
        const newuidmap = environment.findProgram(arena, "newuidmap");
        const newgidmap = environment.findProgram(arena, "newgidmap");
        if (newuidmap == null or newgidmap == null) {
            missing.* = "newuidmap and newgidmap (package uidmap) are not installed";
            return null;
        }
        return spawn(arena, .{ newuidmap.?, newgidmap.? }, .{ uid, gid }, .{ uids, gids }) catch null;
    }

    fn spawn(arena: std.mem.Allocator, programs: [2][:0]const u8, own: [2]u32, ranges: [2]Range) !Mapper {
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
        // Should the parent give up meanwhile, nothing of this is to be heard of.
        if (!log.debugging) sys.closeStandard();
        var byte: [1]u8 = undefined;
        // No byte: the parent is gone.
        if ((sys.call(.read, .{ pipe[0], &byte, 1 }) catch 0) != 1) sys.exit(1);
        // Both at once: each takes longer to start than to write.
        for (programs, own, ranges) |program, id, range| {
            const first = try text.alloc(arena, "{d}", .{id});
            const start = try text.alloc(arena, "{d}", .{range.start});
            const count = try text.alloc(arena, "{d}", .{range.count});
            // 0 is the caller, 1 and so on are the range.
            const argv = [_:null]?[*:0]const u8{ program, target, "0", first, "1", "1", start, count };
            if (try sys.fork() == 0) {
                const none = [_:null]?[*:0]const u8{};
                _ = sys.raw(.execve, .{ program.ptr, &argv, &none });
                sys.exit(127);
            }
        }
        for (programs) |_| if ((try sys.wait(-1, 0)).status != 0) sys.exit(1);
        sys.exit(0);
    }

    fn begin(self: Mapper) void {
        // Without a byte the child ends, and `finish` tells.
        _ = sys.raw(.write, .{ self.start, "m", 1 });
        sys.close(self.start);
    }

    fn finish(self: Mapper) bool {
        const end = sys.wait(self.child, 0) catch return false;
        return end.status == 0;
    }
};

const Range = struct { start: u32, count: u32 };

/// The largest range that /etc/subuid or /etc/subgid gives to the user (subuid(5)).
fn subordinate(path: [*:0]const u8, user: ?[]const u8, uid: u32) ?Range {
    return largest(sys.readLarge(sys.at_fdcwd, path, 16 << 20) catch return null, user, uid);
}

fn largest(table: []const u8, user: ?[]const u8, uid: u32) ?Range {
    var best: ?Range = null;
    var lines = std.mem.tokenizeScalar(u8, table, '\n');
    while (lines.next()) |line| {
        var fields = std.mem.splitScalar(u8, line, ':');
        const owner = fields.first();
        const start = quantity.number(u32, fields.next() orelse continue) orelse continue;
        const count = quantity.number(u32, fields.next() orelse continue) orelse continue;
        const by_number = quantity.number(u32, owner) == uid;
        const by_name = if (user) |name| std.mem.eql(u8, owner, name) else false;
        if (!by_name and !by_number) continue;
        if (best == null or count > best.?.count) best = .{ .start = start, .count = count };
    }
    return best;
}

fn userName(uid: u32) ?[]const u8 {
    const table = sys.readLarge(sys.at_fdcwd, "/etc/passwd", 16 << 20) catch return null;
    return (@import("../config/passwd.zig").find(table, .{ .id = uid }) orelse return null).name;
}

test "the profile is for this file" {
    var buf: [4096]u8 = undefined;
    const advice = profileAdvice(&buf, "/opt/my app");
    try std.testing.expect(std.mem.find(u8, advice, "'profile \"dockerc-my app\" \"/opt/my app\" flags=(unconfined) { userns, }'") != null);
    try std.testing.expect(std.mem.findScalar(u8, advice, '\n') == null);
}

test "maps of ids" {
    try std.testing.expect(Map.parse("         0          0 4294967295\n").?.isAll());
    try std.testing.expectEqual(65537, Map.parse("0 1001 1\n1 100000 65536\n").?.count);
}

test "the largest range of the user" {
    const table = "root:1:2\nbench:100000:65536\n1001:300000:70000\nbench:x:3\nbench:5\n";
    try std.testing.expectEqual(Range{ .start = 300000, .count = 70000 }, largest(table, "bench", 1001).?);
    try std.testing.expectEqual(Range{ .start = 100000, .count = 65536 }, largest(table, "bench", 7).?);
    try std.testing.expect(largest(table, null, 7) == null);
}
