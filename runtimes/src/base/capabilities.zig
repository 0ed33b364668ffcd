//! Capabilities (capabilities(7)): sets of them by name, and those of the calling process.
const std = @import("std");
const sys = @import("syscalls.zig");

pub const names = [_][]const u8{
    "CHOWN",              "DAC_OVERRIDE",    "DAC_READ_SEARCH",  "FOWNER",
    "FSETID",             "KILL",            "SETGID",           "SETUID",
    "SETPCAP",            "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST",
    "NET_ADMIN",          "NET_RAW",         "IPC_LOCK",         "IPC_OWNER",
    "SYS_MODULE",         "SYS_RAWIO",       "SYS_CHROOT",       "SYS_PTRACE",
    "SYS_PACCT",          "SYS_ADMIN",       "SYS_BOOT",         "SYS_NICE",
    "SYS_RESOURCE",       "SYS_TIME",        "SYS_TTY_CONFIG",   "MKNOD",
    "LEASE",              "AUDIT_WRITE",     "AUDIT_CONTROL",    "SETFCAP",
    "MAC_OVERRIDE",       "MAC_ADMIN",       "SYSLOG",           "WAKE_ALARM",
    "BLOCK_SUSPEND",      "AUDIT_READ",      "PERFMON",          "BPF",
    "CHECKPOINT_RESTORE",
};
pub const sys_admin = 21;

/// A set of capabilities by number; names that this table does not know are of another kernel.
pub fn setOf(list: []const []const u8) u64 {
    var out: u64 = 0;
    for (list) |given| {
        const name = std.mem.cutPrefix(u8, given, "CAP_") orelse given;
        for (names, 0..) |known, i| {
            if (std.mem.eql(u8, name, known)) out |= @as(u64, 1) << @intCast(i);
        }
    }
    return out;
}

pub fn namesOf(arena: std.mem.Allocator, wanted: u64) error{OutOfMemory}![]const []const u8 {
    var out: std.ArrayList([]const u8) = .empty;
    for (names, 0..) |name, i|
        if (wanted & @as(u64, 1) << @intCast(i) != 0) try out.append(arena, name);
    return out.items;
}

/// Whether the calling process has any capability.
pub fn any() bool {
    return (held() catch return true) != 0;
}

// linux/capability.h: version 3 of the interface, two words of 32 bits for each set.
const Header = extern struct { version: u32 = 0x20080522, pid: i32 = 0 };
const Data = extern struct { effective: u32, permitted: u32, inheritable: u32 };

/// What the calling process may have (permitted).
pub fn held() sys.Error!u64 {
    // Not constant: the kernel may write the version that it would rather have.
    var header: Header = .{};
    var data: [2]Data = undefined;
    try sys.do(.capget, .{ &header, &data });
    return @as(u64, data[1].permitted) << 32 | data[0].permitted;
}

/// For the calling process.
pub fn set(effective: u64, permitted: u64, inheritable: u64) sys.Error!void {
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
    try std.testing.expectEqual(
        1 << 21 | 1,
        setOf(&.{ "CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_OF_TOMORROW" }),
    );
    try std.testing.expectEqual(sys_admin, std.math.log2_int(u64, setOf(&.{"SYS_ADMIN"})));
}
