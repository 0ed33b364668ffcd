//! How often each processor was too hot tells what other programs do (moby's advisory
//! GHSA-6fw5-f8r9-fgfm): hidden from the app, as docker does, on the processors that there are.
const std = @import("std");
const config = @import("spec.zig");
const quantity = @import("../cli/quantity.zig");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");

/// More than any kernel is built for (NR_CPUS).
const processors_max = 8192;

/// Adds them to the paths to be masked. Asked of the machine, before anything is mounted.
pub fn hide(arena: std.mem.Allocator, spec: *config.Spec) !void {
    var buf: [4096]u8 = undefined;
    const path = "/sys/devices/system/cpu/possible";
    const list = sys.readFile(sys.at_fdcwd, path, &buf) catch return;
    var hidden: std.ArrayList([]const u8) = .empty;
    // 0-3,8 (the kernel's admin-guide/cputopology.rst).
    var ranges = std.mem.tokenizeAny(u8, list, ",\n");
    while (ranges.next()) |range| {
        const first, const last = std.mem.cutScalar(u8, range, '-') orelse .{ range, range };
        var cpu = quantity.number(u16, first) orelse return;
        const end = @min(quantity.number(u16, last) orelse return, processors_max);
        while (cpu <= end) : (cpu += 1) {
            const dir = "/sys/devices/system/cpu/cpu{d}/thermal_throttle";
            const name = try text.alloc(arena, dir, .{cpu});
            if (sys.stat(sys.at_fdcwd, name)) |_| try hidden.append(arena, name) else |_| {}
        }
    }
    const masked = &spec.linux.maskedPaths;
    masked.* = try std.mem.concat(arena, []const u8, &.{ masked.*, hidden.items });
}
