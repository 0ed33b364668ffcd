//! --dockerc-ps: the runs of this file as a table.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const config = @import("../config/spec.zig");
const Instance = @import("instance.zig").Instance;

const columns = [_][]const u8{ "NAME", "PID", "APP", "USER", "UPTIME", "COMMAND" };
const Row = [columns.len][]const u8;

/// The lines to print, below a line of what they hold.
pub fn table(
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    instances: []const Instance,
) ![]const u8 {
    const rows = try arena.alloc(Row, 1 + instances.len);
    rows[0] = columns;
    for (rows[1..], instances) |*row, *instance| row.* = .{
        instance.name,
        try decimal(arena, @intCast(instance.runtime.pid)),
        try decimal(arena, @intCast(instance.app.pid)),
        try decimal(arena, instance.uid),
        try duration(arena, uptime(instance)),
        try command(arena, spec, instance),
    };
    var widths: [columns.len]usize = @splat(0);
    for (rows) |row| for (row, &widths) |cell, *width| {
        width.* = @max(width.*, cell.len);
    };
    var out: std.ArrayList(u8) = .empty;
    for (rows) |row| {
        for (row, widths, 0..) |cell, width, i| {
            // A name or a command may hold anything, and must not control the terminal; blanks
            // separate the columns.
            const first: u8 = if (i + 1 < row.len) '!' else ' ';
            for (cell) |byte|
                try out.append(arena, if (byte < first or byte == 0x7f) '?' else byte);
            if (i + 1 < row.len) try out.appendNTimes(arena, ' ', width - cell.len + 2);
        }
        try out.append(arena, '\n');
    }
    return out.items;
}

noinline fn decimal(arena: std.mem.Allocator, number: u64) ![]const u8 {
    return text.alloc(arena, "{d}", .{number});
}

fn command(
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    instance: *const Instance,
) ![]const u8 {
    const options = &instance.options;
    const words = config.command(
        arena,
        spec,
        options.last(.entrypoint),
        options.args,
    ) catch |err| if (err == error.Json) return "" else return err;
    return std.mem.join(arena, " ", words);
}

/// In seconds.
fn uptime(instance: *const Instance) u64 {
    const since_boot = 7;
    var now: linux.timespec = .{ .sec = 0, .nsec = 0 };
    _ = sys.raw(.clock_gettime, .{ since_boot, &now });
    const ticks_per_second = 100;
    return @as(u64, @intCast(now.sec)) -| instance.runtime.started / ticks_per_second;
}

/// The two largest units.
fn duration(arena: std.mem.Allocator, seconds: u64) ![]const u8 {
    const units = [_]struct { u64, []const u8 }{
        .{ 24 * 60 * 60, "d" },
        .{ 60 * 60, "h" },
        .{ 60, "m" },
        .{ 1, "s" },
    };
    for (units[0..3], units[1..4]) |large, small| if (seconds >= large[0])
        return text.alloc(arena, "{d}{s}{d}{s}", .{
            seconds / large[0],
            large[1],
            seconds % large[0] / small[0],
            small[1],
        });
    return text.alloc(arena, "{d}s", .{seconds});
}

test "durations" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    const expected = [_]struct { u64, []const u8 }{
        .{ 0, "0s" },        .{ 59, "59s" },       .{ 60, "1m0s" },
        .{ 3599, "59m59s" }, .{ 3600, "1h0m" },    .{ 86399, "23h59m" },
        .{ 86400, "1d0h" },  .{ 200_000, "2d7h" },
    };
    for (expected) |each|
        try std.testing.expectEqualStrings(each[1], try duration(arena.allocator(), each[0]));
}
