//! What the container gets, as a list of operations: made of the configuration (which has the
//! caller's options) and what was opened of the machine. Nothing here makes a system call.
const std = @import("std");
const config = @import("../config/spec.zig");
const errno = @import("../base/errno.zig");
const etc_files = @import("../config/etc_files.zig");
const log = @import("../base/log.zig");
const mount_options = @import("../config/mount_options.zig");
const restrictions = @import("../namespaces/mount_namespace.zig").restrictions;
const Bind = @import("operation.zig").Bind;
const Ids = @import("../namespaces/userns.zig").Ids;
const Machine = @import("../config/volumes.zig").Machine;
const MS = @import("../base/syscalls.zig").MS;
const Operation = @import("operation.zig").Operation;
const Options = @import("../cli/options.zig").Options;
const Source = @import("../config/source.zig").Source;
const Sysctl = @import("../config/sysctls.zig").Sysctl;
const Write = @import("operation.zig").Write;
const isOneOf = @import("../base/text.zig").isOneOf;

pub const Given = struct {
    spec: *const config.Spec,
    options: *const Options,
    machine: *const Machine,
    sysctls: []const Sysctl = &.{},
    /// Whether the start has a mount namespace.
    can_mount: bool,
    /// Whether the tracer shows what would be mounted.
    translated: bool = false,
    /// Null: some of a user namespace of ours.
    ids: ?Ids,
};

pub fn make(arena: std.mem.Allocator, given: Given) ![]const Operation {
    var plan: Plan = .{ .arena = arena, .given = given };
    const spec = given.spec;
    if (given.can_mount) try plan.mountAll() else if (!given.translated) try plan.fillRoot();
    // The image's volumes.
    const volumes = config.list(arena, spec, "dev.dockerc.volumes") catch null;
    for (volumes orelse &.{}) |path|
        try plan.add(.{ .what = .{ .directory = .{ .path = path } }, .optional = true });
    // Docker's rule: the working directory is the app's user's.
    const user = spec.process.user;
    try plan.add(.{ .what = .{ .directory = .{
        .path = spec.process.cwd,
        .owner = .{ .uid = user.uid, .gid = user.gid },
    } } });
    if (given.can_mount and spec.root.readonly)
        try plan.add(.{ .what = .{ .remount = MS.rdonly | MS.nodev } });
    return plan.operations.items;
}

/// The devices that every container has (the runtime specification's "default devices").
const devices = [_]struct { path: [:0]const u8, major: u32, minor: u32 }{
    .{ .path = "/dev/null", .major = 1, .minor = 3 },
    .{ .path = "/dev/zero", .major = 1, .minor = 5 },
    .{ .path = "/dev/full", .major = 1, .minor = 7 },
    .{ .path = "/dev/random", .major = 1, .minor = 8 },
    .{ .path = "/dev/urandom", .major = 1, .minor = 9 },
    .{ .path = "/dev/tty", .major = 5, .minor = 0 },
};

const links = [_]struct { path: []const u8, to: [:0]const u8 }{
    .{ .path = "/dev/fd", .to = "/proc/self/fd" },
    .{ .path = "/dev/stdin", .to = "/proc/self/fd/0" },
    .{ .path = "/dev/stdout", .to = "/proc/self/fd/1" },
    .{ .path = "/dev/stderr", .to = "/proc/self/fd/2" },
    .{ .path = "/dev/core", .to = "/proc/kcore" },
    .{ .path = "/dev/ptmx", .to = "pts/ptmx" },
};

/// File systems that may be mounted: none that reads a device or changes the machine.
const kinds = [_][]const u8{ "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2" };

const Plan = struct {
    arena: std.mem.Allocator,
    given: Given,
    operations: std.ArrayList(Operation) = .empty,

    noinline fn add(self: *Plan, operation: Operation) !void {
        try self.operations.append(self.arena, operation);
    }

    fn mountAll(self: *Plan) !void {
        const spec = self.given.spec;
        const machine = self.given.machine;
        for (spec.mounts, machine.sources) |mount, source|
            if (!mount.given) try self.addMount(mount, source);
        try self.bindDevices();
        try self.addLinks();
        // Those of the machine that the container does not have by now (--privileged).
        for (machine.devices) |path| try self.add(.{ .what = .{ .show = path }, .optional = true });
        try self.addEtcFiles();
        try self.addGiven();
        for (self.given.sysctls) |sysctl| try self.add(.{ .what = .{ .sysctl = sysctl } });
        for (spec.linux.readonlyPaths) |path| try self.add(.{ .what = .{ .read_only = path } });
        for (spec.linux.maskedPaths) |path| try self.add(.{ .what = .{ .mask = path } });
    }

    /// Where nothing can be mounted, the container's root is a directory: files are made in it.
    fn fillRoot(self: *Plan) !void {
        const machine = self.given.machine;
        if (machine.volumes.len > 0) log.die("volumes cannot be mounted here: this " ++
            "container may neither mount nor make a user namespace", .{});
        for (devices) |device| try self.add(.{ .what = .{ .device = .{
            .path = device.path,
            .major = device.major,
            .minor = device.minor,
        } }, .optional = true });
        try self.addLinks();
        for (self.given.spec.mounts, machine.sources) |mount, source|
            if (source) |file| try self.addCopy(file, mount.destination);
        try self.addEtcFiles();
    }

    /// The machine's nodes, bound: in a user namespace no device node can be made, and on a mount
    /// where nodes made by root can be opened, so can those that root's app makes.
    fn bindDevices(self: *Plan) !void {
        // Read-only, so that root's app cannot change a node's mode or owner; the device can still
        // be written. In a user namespace of ours the app is not the machine's root.
        const ids = self.given.ids;
        const flags: usize = if (ids == .host or ids == .outer) MS.rdonly else 0;
        for (devices) |device| try self.addBind(.{
            .source = .{ .path = device.path },
            .directory = false,
            .target = device.path,
            .flags = flags,
        }, true);
    }

    fn addLinks(self: *Plan) !void {
        for (links) |link|
            try self.add(.{ .what = .{ .link = .{ .path = link.path, .to = link.to } } });
    }

    fn addEtcFiles(self: *Plan) !void {
        const given = &self.given;
        const files = try etc_files.list(self.arena, given.spec, given.options, given.machine.etc);
        for (files) |each| if (each) |file| switch (file.content) {
            .text => |content| try self.add(.{
                .what = .{ .write = .{ .path = file.path, .content = content } },
                .optional = true,
            }),
            .machine => |source| if (given.can_mount)
                try self.addBind(opened(source, file.path, MS.rdonly), true)
            else
                try self.addCopy(source, file.path),
        };
        // As docker has it; df(1) and mount(8) of old images read it.
        const mtab: Operation.What = .{ .link = .{ .path = "/etc/mtab", .to = "/proc/mounts" } };
        try self.add(.{ .what = mtab, .optional = true });
        const may_be_single = (given.ids orelse .single) == .single;
        if (may_be_single and given.spec.process.user.uid == 0 and
            !given.options.has(.no_root_emulation))
            try self.add(.{ .what = .{ .write = apt }, .optional = true });
    }

    /// apt-get(8) becomes the user _apt to fetch packages, and looks whether it is
    /// (seccomp/root_emulation.zig).
    const apt: Write = .{
        .path = "/etc/apt/apt.conf.d/99dockerc",
        .content = "APT::Sandbox::User \"root\";\n",
        .for_single_root = true,
    };

    noinline fn addCopy(self: *Plan, source: Source, target: []const u8) !void {
        const copy: Operation.What = .{ .copy = .{ .source = source, .target = target } };
        try self.add(.{ .what = copy, .optional = true });
    }

    noinline fn addBind(self: *Plan, bind: Bind, optional: bool) !void {
        try self.add(.{ .what = .{ .bind = bind }, .optional = optional });
    }

    /// What the caller and the image's maker have given to be mounted: volumes, tmpfs, devices. In
    /// the order of their depth, whatever the order they were given in and of whatever kind, so
    /// that none hides another below it (docker's rule).
    fn addGiven(self: *Plan) !void {
        const mounts = self.given.spec.mounts;
        const machine = self.given.machine;
        var left = machine.volumes.len;
        for (mounts) |mount| left += @intFromBool(mount.given);
        // Those of one depth in the order that they were given in.
        var at: usize = 0;
        while (left > 0) : (at += 1) {
            for (mounts, machine.sources) |mount, source|
                if (mount.given and depth(mount.destination) == at) {
                    left -= 1;
                    try self.addMount(mount, source);
                };
            for (machine.volumes) |volume| if (depth(volume.destination) == at) {
                left -= 1;
                var bind = opened(volume.source, volume.destination, volume.flags());
                bind.shared = true;
                try self.addBind(bind, false);
            };
        }
    }

    /// One that the configuration lists.
    noinline fn addMount(self: *Plan, mount: config.Mount, source: ?Source) !void {
        const spec = self.given.spec;
        const target = mount.destination;
        if (target.len == 0 or target[0] != '/') refuse(mount, error.INVAL);
        const options = try mount_options.parse(self.arena, mount.options);
        if (options.bind) {
            // Null if this machine does not have it.
            var bind = opened(source orelse return, target, options.flags);
            bind.shared = mount.given;
            return self.addBind(bind, false);
        }
        const kind = mount.type;
        if (!isOneOf(kind, &kinds)) refuse(mount, error.NODEV);
        if (std.mem.startsWith(u8, kind, "cgroup")) return self.addCgroup(target, options.flags);
        try self.add(.{
            .what = .{
                .mount = .{
                    .fstype = kind,
                    .target = target,
                    // Device nodes that the app makes cannot be opened.
                    .flags = options.flags | if (kind[0] == 't') @as(usize, MS.nodev) else 0,
                    .data = options.data,
                    // A new sysfs needs a network namespace of our own, and a new proc is refused
                    // if an outer container masks parts of its own.
                    .instead = switch (kind[0]) {
                        's' => .{
                            .path = "/sys",
                            .flags = MS.nodev | MS.rdonly,
                            .hidden = if (spec.linux.hasNamespace("network"))
                                "/sys/class/net"
                            else
                                "",
                        },
                        'p' => .{ .path = "/proc", .flags = MS.nodev },
                        else => null,
                    },
                },
            },
            // Some kernels lack it, and few programs use it.
            .optional = kind[0] == 'm',
        });
    }

    /// With a cgroup namespace, a mount of cgroup v2 if that is allowed; else the machine's,
    /// read-only, which /sys may contain already.
    fn addCgroup(self: *Plan, target: []const u8, flags: usize) !void {
        const machines = "/sys/fs/cgroup";
        const restricted = MS.rdonly | MS.nodev;
        if (!self.given.spec.linux.hasNamespace("cgroup")) return self.addBind(.{
            .source = .{ .path = machines },
            .directory = true,
            .target = target,
            .flags = restricted,
        }, true);
        try self.add(.{ .what = .{ .mount = .{
            .fstype = "cgroup2",
            .target = target,
            .flags = flags | MS.nodev,
            .instead = .{ .path = machines, .flags = restricted },
        } }, .optional = true });
    }
};

fn opened(source: Source, target: []const u8, flags: usize) Bind {
    // nodev has no meaning for a file.
    const nodev = if (source.directory) @as(usize, MS.nodev) else 0;
    return .{
        .source = .{ .opened = source },
        .directory = source.directory,
        .target = target,
        .flags = (flags & restrictions) | nodev,
    };
}

fn refuse(mount: config.Mount, err: errno.Error) noreturn {
    log.die(
        "cannot mount {s} on {s}: {s}",
        .{ mount.type, mount.destination, errno.text(err) },
    );
}

noinline fn depth(path: []const u8) usize {
    var parts = std.mem.tokenizeScalar(u8, path, '/');
    var count: usize = 0;
    while (parts.next()) |part| {
        if (!std.mem.eql(u8, part, ".")) count += 1;
    }
    return count;
}

test "depths" {
    try std.testing.expectEqual(0, depth("/"));
    try std.testing.expectEqual(1, depth("//a/./"));
    try std.testing.expect(depth("/a/b") > depth("/zz"));
}
