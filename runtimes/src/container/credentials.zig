//! What the app may do: resource limits, ids, capabilities (capabilities(7)), no_new_privs.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const config = @import("../config/spec.zig");
const Ids = @import("../namespaces/userns.zig").Ids;

pub const names = [_][]const u8{
    "CHOWN",         "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER",          "FSETID",             "KILL",
    "SETGID",        "SETUID",       "SETPCAP",         "LINUX_IMMUTABLE", "NET_BIND_SERVICE",   "NET_BROADCAST",
    "NET_ADMIN",     "NET_RAW",      "IPC_LOCK",        "IPC_OWNER",       "SYS_MODULE",         "SYS_RAWIO",
    "SYS_CHROOT",    "SYS_PTRACE",   "SYS_PACCT",       "SYS_ADMIN",       "SYS_BOOT",           "SYS_NICE",
    "SYS_RESOURCE",  "SYS_TIME",     "SYS_TTY_CONFIG",  "MKNOD",           "LEASE",              "AUDIT_WRITE",
    "AUDIT_CONTROL", "SETFCAP",      "MAC_OVERRIDE",    "MAC_ADMIN",       "SYSLOG",             "WAKE_ALARM",
    "BLOCK_SUSPEND", "AUDIT_READ",   "PERFMON",         "BPF",             "CHECKPOINT_RESTORE",
};
pub const sys_admin = 21;

/// A set of capabilities by number; names that this table does not know are of another kernel.
pub fn capabilitySet(list: []const []const u8) u64 {
    var set: u64 = 0;
    for (list) |given| {
        const name = std.mem.cutPrefix(u8, given, "CAP_") orelse given;
        for (names, 0..) |known, i| {
            if (std.mem.eql(u8, name, known)) set |= @as(u64, 1) << @intCast(i);
        }
    }
    return set;
}

pub fn capabilityNames(arena: std.mem.Allocator, set: u64) error{OutOfMemory}![]const []const u8 {
    var out: std.ArrayList([]const u8) = .empty;
    for (names, 0..) |name, i| if (set & @as(u64, 1) << @intCast(i) != 0) try out.append(arena, name);
    return out.items;
}

const PR = struct {
    const capbset_read = 23;
    const capbset_drop = 24;
    const set_keepcaps = 8;
    const set_no_new_privs = 38;
    const cap_ambient = 47;
    const cap_ambient_raise = 2;
};

const limit_names = [_][]const u8{ "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME" };

pub fn isLimit(name: []const u8) bool {
    for (limit_names) |known| if (std.mem.eql(u8, name, known)) return true;
    return false;
}

pub fn setLimits(limits: []const config.Rlimit) void {
    for (limits) |limit| {
        const name = std.mem.cutPrefix(u8, limit.type, "RLIMIT_") orelse limit.type;
        const number = for (limit_names, 0..) |known, i| {
            if (std.mem.eql(u8, name, known)) break i;
        } else {
            log.debug("unknown limit {s}", .{limit.type});
            continue;
        };
        var wanted = [2]u64{ limit.soft, limit.hard };
        if (sys.do(.prlimit64, .{ 0, number, &wanted, 0 })) |_| continue else |_| {}
        // Without privilege a hard limit can only be lowered: come as near as is allowed.
        var now: [2]u64 = undefined;
        sys.do(.prlimit64, .{ 0, number, 0, &now }) catch continue;
        wanted = .{ @min(limit.soft, now[1]), @min(limit.hard, now[1]) };
        sys.do(.prlimit64, .{ 0, number, &wanted, 0 }) catch |err|
            log.debug("limit {s}: {s}", .{ limit.type, sys.text(err) });
    }
}

pub fn setIds(user: config.User, ids: Ids) sys.Error!void {
    // It would change nothing (setresuid(2)).
    const none = std.math.maxInt(u32);
    if (user.uid == none or user.gid == none) return error.INVAL;
    // With a single id no other group exists, and setgroups is denied for good.
    if (ids != .single) try sys.do(.setgroups, .{ user.additionalGids.len, user.additionalGids.ptr });
    try sys.do(.setresgid, .{ user.gid, user.gid, user.gid });
    // Capabilities are set by `setCapabilities`, not lost on the way there.
    try sys.do(.prctl, .{ PR.set_keepcaps, 1, 0, 0, 0 });
    try sys.do(.setresuid, .{ user.uid, user.uid, user.uid });
}

/// With these a root directory of chroot(2) alone is left, or the machine's devices are opened.
pub const out_of_chroot = capabilitySet(&.{ "DAC_READ_SEARCH", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_ADMIN", "MKNOD", "BPF", "CHECKPOINT_RESTORE" });

/// Exactly what config.json says, but for the capabilities in `without`, as far as we have it ourselves; nothing when it says nothing.
pub fn setCapabilities(wanted: ?config.Capabilities, without: u64) sys.Error!void {
    const sets = wanted orelse config.Capabilities{};
    const bounding = capabilitySet(sets.bounding) & ~without;
    const own = try read();
    // A change from root to another user has cleared the effective set, keepcaps or not
    // (capabilities(7)); dropping from the bounding set needs CAP_SETPCAP in it.
    try write(own, own, 0);
    // Up to the last capability that this kernel knows.
    for (0..64) |i| {
        if (bounding & @as(u64, 1) << @intCast(i) != 0) continue;
        sys.do(.prctl, .{ PR.capbset_drop, i, 0, 0, 0 }) catch |err| {
            if (err == error.INVAL) break;
            return err;
        };
    }
    const permitted = capabilitySet(sets.permitted) & own & ~without;
    const effective = capabilitySet(sets.effective) & permitted;
    const inheritable = capabilitySet(sets.inheritable) & ~without;
    try write(effective, permitted, inheritable);
    const ambient = capabilitySet(sets.ambient) & permitted & inheritable;
    for (0..names.len) |i| {
        if (ambient & @as(u64, 1) << @intCast(i) == 0) continue;
        try sys.do(.prctl, .{ PR.cap_ambient, PR.cap_ambient_raise, i, 0, 0 });
    }
}

/// Whether the calling process has any capability.
pub fn any() bool {
    return (read() catch return true) != 0;
}

pub fn noNewPrivileges() sys.Error!void {
    return sys.do(.prctl, .{ PR.set_no_new_privs, 1, 0, 0, 0 });
}

// linux/capability.h: version 3 of the interface, two words of 32 bits for each set.
const Header = extern struct { version: u32 = 0x20080522, pid: i32 = 0 };
const Data = extern struct { effective: u32, permitted: u32, inheritable: u32 };

fn read() sys.Error!u64 {
    // Not constant: the kernel may write the version that it would rather have.
    var header: Header = .{};
    var data: [2]Data = undefined;
    try sys.do(.capget, .{ &header, &data });
    return @as(u64, data[1].permitted) << 32 | data[0].permitted;
}

fn write(effective: u64, permitted: u64, inheritable: u64) sys.Error!void {
    // Not constant: the kernel may write the version that it would rather have.
    var header: Header = .{};
    var data: [2]Data = undefined;
    for (&data, [_]u6{ 0, 32 }) |*word, shift| word.* = .{
        .effective = @truncate(effective >> shift),
        .permitted = @truncate(permitted >> shift),
        .inheritable = @truncate(inheritable >> shift),
    };
    return sys.do(.capset, .{ &header, &data });
}

test "capabilities by name" {
    try std.testing.expectEqual(@as(u64, 1) << 21 | 1, capabilitySet(&.{ "CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_OF_TOMORROW" }));
    try std.testing.expectEqual(sys_admin, std.math.log2_int(u64, capabilitySet(&.{"SYS_ADMIN"})));
}
