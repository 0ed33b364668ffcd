//! The app's resource limits, ids, capabilities (capabilities(7)) and no_new_privs.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const capabilities = @import("../base/capabilities.zig");
const config = @import("../config/spec.zig");
const rlimits = @import("../config/rlimits.zig");
const Ids = @import("../namespaces/userns.zig").Ids;

const PR = struct {
    const capbset_drop = 24;
    const set_keepcaps = 8;
    const set_no_new_privs = 38;
    const cap_ambient = 47;
    const cap_ambient_raise = 2;
};

pub fn setLimits(limits: []const config.Rlimit) void {
    for (limits) |limit| {
        const name = std.mem.cutPrefix(u8, limit.type, "RLIMIT_") orelse limit.type;
        const number = for (rlimits.names, 0..) |known, i| {
            if (std.mem.eql(u8, name, known)) break i;
        } else {
            log.debug("unknown limit {s}", .{limit.type});
            continue;
        };
        setLimit(number, .{ limit.soft, limit.hard }) catch |err|
            log.debug("limit {s}: {s}", .{ limit.type, errno.text(err) });
    }
}

/// Without privilege a hard limit can only be lowered: then the nearest allowed value.
pub fn setLimit(resource: usize, limit: [2]u64) sys.Error!void {
    if (sys.do(.prlimit64, .{ 0, resource, &limit, 0 })) |_| return else |_| {}
    var now: [2]u64 = undefined;
    try sys.do(.prlimit64, .{ 0, resource, 0, &now });
    const nearest = [2]u64{ @min(limit[0], now[1]), @min(limit[1], now[1]) };
    return sys.do(.prlimit64, .{ 0, resource, &nearest, 0 });
}

pub fn setIds(
    arena: std.mem.Allocator,
    user: config.User,
    ids: Ids,
    keep_groups: bool,
) !void {
    // -1 would change nothing (setresuid(2)).
    const none = std.math.maxInt(u32);
    if (user.uid == none or user.gid == none) return error.INVAL;
    // With a single id no other group exists, and setgroups is denied for good.
    if (ids != .single and !keep_groups) {
        // With the primary one: else a set-group-id program of the app could lose it, and get what
        // is denied to that group (CVE-2022-36109).
        const groups = try std.mem.concat(arena, u32, &.{ &.{user.gid}, user.additionalGids });
        sys.do(.setgroups, .{ groups.len, groups.ptr }) catch |err| {
            if (err != error.INVAL) return err;
            // A group of the image's that the namespace does not have.
            try sys.do(.setgroups, .{ 1, groups.ptr });
        };
    }
    try sys.do(.setresgid, .{ user.gid, user.gid, user.gid });
    // Keeps the capabilities for `setCapabilities`.
    try sys.do(.prctl, .{ PR.set_keepcaps, 1, 0, 0, 0 });
    try sys.do(.setresuid, .{ user.uid, user.uid, user.uid });
}

/// With one of these a process can leave a chroot(2), or open the machine's devices.
pub const out_of_chroot = capabilities.setOf(&.{
    "DAC_READ_SEARCH", "SYS_MODULE", "SYS_RAWIO",          "SYS_CHROOT", "SYS_PTRACE", "SYS_ADMIN",
    "MKNOD",           "BPF",        "CHECKPOINT_RESTORE",
});

/// Sets exactly the capabilities of config.json, without those in `without`, as far as we have
/// them; none if it has none.
pub fn setCapabilities(wanted: ?config.Capabilities, without: u64) sys.Error!void {
    const sets = wanted orelse config.Capabilities{};
    const bounding = capabilities.setOf(sets.bounding) & ~without;
    const own = try capabilities.held();
    // A change from root to another user has cleared the effective set, keepcaps or not
    // (capabilities(7)); dropping from the bounding set needs CAP_SETPCAP in it.
    try capabilities.set(own, own, 0);
    // Up to the last capability that this kernel knows.
    for (0..64) |i| {
        if (bounding & @as(u64, 1) << @intCast(i) != 0) continue;
        sys.do(.prctl, .{ PR.capbset_drop, i, 0, 0, 0 }) catch |err| {
            if (err == error.INVAL) break;
            return err;
        };
    }
    const permitted = capabilities.setOf(sets.permitted) & own & ~without;
    const effective = capabilities.setOf(sets.effective) & permitted;
    const inheritable = capabilities.setOf(sets.inheritable) & ~without;
    try capabilities.set(effective, permitted, inheritable);
    const ambient = capabilities.setOf(sets.ambient) & permitted & inheritable;
    for (0..capabilities.names.len) |i| {
        if (ambient & @as(u64, 1) << @intCast(i) == 0) continue;
        try sys.do(.prctl, .{ PR.cap_ambient, PR.cap_ambient_raise, i, 0, 0 });
    }
}

pub fn noNewPrivileges() sys.Error!void {
    return sys.do(.prctl, .{ PR.set_no_new_privs, 1, 0, 0, 0 });
}
