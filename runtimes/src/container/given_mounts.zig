//! What the caller and the image's maker have given to be mounted: volumes, tmpfs, devices. They
//! are made in the order of their depth, whatever the order they were given in and of whatever
//! kind, so that none hides another below it (docker's rule).
const std = @import("std");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const config = @import("../config/spec.zig");
const mounts = @import("mounts.zig");
const Source = @import("../config/source.zig").Source;
const Volume = @import("../config/source.zig").Volume;

const Given = union(enum) {
    volume: Volume,
    mount: struct { config.Mount, ?Source },

    fn destination(self: Given) []const u8 {
        return switch (self) {
            .volume => |volume| volume.destination,
            .mount => |mount| mount[0].destination,
        };
    }
};

fn depth(path: []const u8) usize {
    var parts = std.mem.tokenizeScalar(u8, path, '/');
    var count: usize = 0;
    while (parts.next()) |part| {
        if (!std.mem.eql(u8, part, ".")) count += 1;
    }
    return count;
}

/// `sources` are those of `all`, of which the given ones are made.
pub fn make(
    maker: *const mounts.Maker,
    all: []const config.Mount,
    sources: []const ?Source,
    volumes: []const Volume,
) !void {
    var list: std.ArrayList(Given) = .empty;
    for (all, sources) |mount, source|
        if (mount.given) try list.append(maker.arena, .{ .mount = .{ mount, source } });
    for (volumes) |volume| try list.append(maker.arena, .{ .volume = volume });
    // Those of one depth in the order that they were given in.
    var at: usize = 0;
    var left = list.items.len;
    while (left > 0) : (at += 1) for (list.items) |given| {
        if (depth(given.destination()) != at) continue;
        left -= 1;
        makeOne(maker, given) catch |err|
            // The target is there by now; a working directory that was removed could be opened.
            log.die("cannot mount on {s}: {s}", .{
                given.destination(),
                if (err == error.NOENT) "its source has been removed" else errno.text(err),
            });
    };
}

fn makeOne(maker: *const mounts.Maker, given: Given) !void {
    switch (given) {
        .mount => |mount| try maker.make(mount[0], mount[1]),
        .volume => |volume| try mounts.bind(
            maker.arena,
            maker.namespace,
            volume.source,
            volume.destination,
            volume.flags(),
        ),
    }
}

test "depths" {
    try std.testing.expectEqual(0, depth("/"));
    try std.testing.expectEqual(1, depth("//a/./"));
    try std.testing.expect(depth("/a/b") > depth("/zz"));
}
