//! Whether what a run writes may be kept in memory: a tmpfs, which holds half of the machine's at
//! most. It starts a program sooner than a disk does; where memory is short, or rationed by a
//! control group (a batch job, a container), that is not worth the risk.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const quantity = @import("../cli/quantity.zig");
const text = @import("../base/text.zig");

/// Bytes that must be free, besides three quarters of all.
const free_min = 8 << 30;

/// In the machine's cgroup namespace: in another one the groups above could not be seen.
pub fn allows(arena: std.mem.Allocator) bool {
    var buf: [4096]u8 = undefined;
    const meminfo = sys.readStart(sys.at_fdcwd, "/proc/meminfo", buf[0..1024]) catch return false;
    const total = field(meminfo, "MemTotal:") orelse return false;
    const available = field(meminfo, "MemAvailable:") orelse return false;
    if (available < free_min or available < total / 4 * 3) return false;
    const groups = sys.readFile(sys.at_fdcwd, "/proc/self/cgroup", &buf) catch |err|
        return err != error.FBIG;
    return !isRationed(arena, groups, total);
}

/// Bytes; proc_meminfo(5) counts in units of 1024.
fn field(meminfo: []const u8, name: []const u8) ?u64 {
    const at = std.mem.find(u8, meminfo, name) orelse return null;
    var words = std.mem.tokenizeAny(u8, meminfo[at + name.len ..], " \n");
    return (quantity.number(u64, words.next() orelse return null) orelse return null) *| 1024;
}

/// cgroups(7): a line a hierarchy, number:controllers:path; version 2 is number 0.
fn isRationed(arena: std.mem.Allocator, groups: []const u8, total: u64) bool {
    var lines = std.mem.tokenizeScalar(u8, groups, '\n');
    while (lines.next()) |line| {
        var fields = std.mem.splitScalar(u8, line, ':');
        const unified = std.mem.eql(u8, fields.first(), "0");
        const controllers = fields.next() orelse continue;
        if (!unified and !std.mem.eql(u8, controllers, "memory")) continue;
        // A limit may stand at any group above.
        var path = std.mem.trimEnd(u8, fields.rest(), "/");
        while (true) : (path = path[0 .. std.mem.findScalarLast(u8, path, '/') orelse 0]) {
            if (limit(arena, unified, path)) |bytes| if (bytes < total) return true;
            if (path.len == 0) break;
        }
    }
    return false;
}

fn limit(arena: std.mem.Allocator, unified: bool, path: []const u8) ?u64 {
    const name = if (unified)
        text.alloc(arena, "/sys/fs/cgroup{s}/memory.max", .{path}) catch return null
    else
        text.alloc(arena, "/sys/fs/cgroup/memory{s}/memory.limit_in_bytes", .{path}) catch
            return null;
    var buf: [32]u8 = undefined;
    const content = sys.readFile(sys.at_fdcwd, name, &buf) catch return null;
    // "max" is none.
    return quantity.number(u64, std.mem.trimEnd(u8, content, "\n"));
}

test "fields of meminfo" {
    const meminfo = "MemTotal:       24684092 kB\nMemFree:        21001028 kB\nMemAvailable:   " ++
        "23893380 kB\n";
    try std.testing.expectEqual(24684092 * 1024, field(meminfo, "MemTotal:"));
    try std.testing.expectEqual(23893380 * 1024, field(meminfo, "MemAvailable:"));
    try std.testing.expectEqual(null, field(meminfo, "Other:"));
}
