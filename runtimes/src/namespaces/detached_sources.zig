//! Directories of the machine as they are now: the workspace may be mounted over one of them, or in
//! it.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const Machine = @import("../config/volumes.zig").Machine;
const MountNamespace = @import("mount_namespace.zig").MountNamespace;
const Source = @import("../config/source.zig").Source;
const Volume = @import("../config/source.zig").Volume;

pub fn detachAll(arena: std.mem.Allocator, machine: *Machine, namespace: MountNamespace) !void {
    const given = try arena.dupe(Volume, machine.volumes);
    for (given) |*volume| detach(namespace, &volume.source);
    const listed = try arena.dupe(?Source, machine.sources);
    for (listed) |*source| if (source.*) |*found| detach(namespace, found);
    machine.volumes = given;
    machine.sources = listed;
}

noinline fn detach(namespace: MountNamespace, source: *Source) void {
    if (!source.directory) return;
    const tree = namespace.detachedTree(source.fd) catch |err|
        return log.debug("{s} is bound as it is then: {s}", .{ source.name, errno.text(err) });
    sys.close(source.fd);
    source.fd = tree;
    source.detached = true;
}
