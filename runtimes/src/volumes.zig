//! What of the machine is shown in the container: the caller's volumes, the binds that config.json
//! lists, and the files that name resolution needs, for the network is the machine's.
const std = @import("std");
const sys = @import("sys.zig");
const log = @import("log.zig");
const config = @import("config.zig");
const mounts = @import("mounts.zig");
const options = @import("options.zig");

const name_resolution = [_][:0]const u8{ "/etc/resolv.conf", "/etc/hosts" };

pub const Machine = struct {
    volumes: []const mounts.Volume,
    sources: []const ?mounts.Source,
    shown: []const mounts.Volume,
};

pub fn open(arena: std.mem.Allocator, spec: *const config.Spec, given: []const options.Volume) !Machine {
    const volumes = try arena.alloc(mounts.Volume, given.len);
    for (volumes, given) |*volume, g| volume.* = .{
        .source = try openGiven(arena, g.source),
        .destination = g.destination,
        .readonly = g.readonly,
    };
    const sources = try arena.alloc(?mounts.Source, spec.mounts.len);
    for (sources, spec.mounts) |*source, mount| source.* = try mounts.openSource(arena, mount);

    var shown: std.ArrayList(mounts.Volume) = .empty;
    next: for (name_resolution) |path| {
        for (spec.mounts) |mount| if (std.mem.eql(u8, mount.destination, path)) continue :next;
        const source = mounts.Source.open(path) catch continue;
        try shown.append(arena, .{ .source = source, .destination = path, .readonly = true });
    }
    return .{ .volumes = volumes, .sources = sources, .shown = shown.items };
}

/// A source that is not there is made, as docker does.
fn openGiven(arena: std.mem.Allocator, path: []const u8) !mounts.Source {
    const name = try arena.dupeSentinel(u8, path, 0);
    if (mounts.Source.open(name)) |source| return source else |err| {
        if (err != error.NOENT) log.die("cannot use {s} as a volume: {s}", .{ path, sys.text(err) });
    }
    var end: usize = 0;
    while (end < path.len) {
        end = std.mem.findScalarPos(u8, path, end + 1, '/') orelse path.len;
        const part = try arena.dupeSentinel(u8, path[0..end], 0);
        sys.mkdir(part, 0o755) catch |err| if (err != error.EXIST)
            log.die("the volume {s} is not there and cannot be made: {s}", .{ path, sys.text(err) });
    }
    return mounts.Source.open(name) catch |err| log.die("cannot use {s} as a volume: {s}", .{ path, sys.text(err) });
}
