//! Plans compared with what they are to be, as text: configurations and options in, operations out.
const std = @import("std");
const apply_options = @import("../config/apply_options.zig");
const config = @import("../config/spec.zig");
const plan = @import("plan.zig");
const Ids = @import("../namespaces/userns.zig").Ids;
const Machine = @import("../config/volumes.zig").Machine;
const Options = @import("../cli/options.zig").Options;
const Source = @import("../config/source.zig").Source;

const Case = struct {
    config: []const u8 = "{}",
    options: @FieldType(Options, "given") = &.{},
    /// Opened sources: config.json's mounts come first, then those of options.
    machine: Machine = .{},
    can_mount: bool = true,
    ids: ?Ids = null,
};

fn expectPlan(case: Case, expected: []const u8) !void {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    var spec = try config.parse(arena, case.config);
    const given: Options = .{ .given = case.options, .args = &.{} };
    // The image is read for users' names only.
    _ = try apply_options.apply(arena, &spec, &given, &.{}, .{
        .arena = arena,
        .reader = undefined,
        .root = "rootfs",
    });
    var machine = case.machine;
    const sources = try arena.alloc(?Source, spec.mounts.len);
    @memset(sources, null);
    @memcpy(sources[0..machine.sources.len], machine.sources);
    machine.sources = sources;
    const operations = try plan.make(arena, .{
        .spec = &spec,
        .options = &given,
        .machine = &machine,
        .can_mount = case.can_mount,
        .ids = case.ids,
    });
    var lines: std.ArrayList(u8) = .empty;
    for (operations) |operation| {
        if (lines.items.len > 0) try lines.append(arena, '\n');
        try lines.appendSlice(arena, if (operation.optional) "? " else "");
        try lines.appendSlice(arena, try operation.describe(arena));
    }
    try std.testing.expectEqualStrings(expected, lines.items);
}

fn directory(name: []const u8) Source {
    return .{ .fd = -1, .directory = true, .name = name };
}

fn file(name: []const u8) Source {
    return .{ .fd = -1, .directory = false, .name = name };
}

const devices =
    \\? bind /dev/null on /dev/null
    \\? bind /dev/zero on /dev/zero
    \\? bind /dev/full on /dev/full
    \\? bind /dev/random on /dev/random
    \\? bind /dev/urandom on /dev/urandom
    \\? bind /dev/tty on /dev/tty
    \\
++ links;

const links =
    \\link /dev/fd to /proc/self/fd
    \\link /dev/stdin to /proc/self/fd/0
    \\link /dev/stdout to /proc/self/fd/1
    \\link /dev/stderr to /proc/self/fd/2
    \\link /dev/core to /proc/kcore
    \\link /dev/ptmx to pts/ptmx
    \\
;

test "what config.json lists" {
    try expectPlan(.{
        .config =
        \\{"process":{"cwd":"/srv","user":{"uid":5,"gid":6}},"root":{"readonly":true},
        \\ "annotations":{"dev.dockerc.volumes":"[\"/data\"]"},
        \\ "mounts":[{"destination":"/proc","type":"proc"},
        \\  {"destination":"/dev","type":"tmpfs","options":["nosuid","mode=755","size=65536k"]},
        \\  {"destination":"/dev/pts","type":"devpts","options":["gid=5"]},
        \\  {"destination":"/dev/mqueue","type":"mqueue","options":["nosuid","noexec","nodev"]},
        \\  {"destination":"/sys","type":"none","source":"/sys","options":["rbind","ro"]},
        \\  {"destination":"/missing","type":"bind","options":["bind"]},
        \\  {"destination":"/new-sys","type":"sysfs","options":["ro"]},
        \\  {"destination":"/sys/fs/cgroup","type":"cgroup","options":["nosuid"]}],
        \\ "linux":{"namespaces":[{"type":"cgroup"}],
        \\  "maskedPaths":["/proc/keys"],"readonlyPaths":["/proc/sys"]}}
        ,
        .machine = .{
            .sources = &.{ null, null, null, null, directory("/sys"), null, null, null },
            .etc = .{ .hosts = "::1 localhost\n", .resolv_conf = "nameserver ::1\n" },
        },
    },
        \\mount proc on /proc
        \\mount tmpfs on /dev (nosuid,nodev,mode=755,size=65536k)
        \\mount devpts on /dev/pts (gid=5)
        \\? mount mqueue on /dev/mqueue (nosuid,nodev,noexec)
        \\bind /sys on /sys (ro,nodev)
        \\mount sysfs on /new-sys (ro)
        \\? mount cgroup2 on /sys/fs/cgroup (nosuid,nodev)
        \\
    ++ devices ++
        \\? write /etc/resolv.conf, 15 bytes
        \\? write /etc/hosts, 14 bytes
        \\? link /etc/mtab to /proc/mounts
        \\make /proc/sys read-only
        \\mask /proc/keys
        \\? make directory /data
        \\make directory /srv of 5:6
        \\remount / (ro,nodev)
    );
}

test "volumes, tmpfs and devices by name are made in the order of their depth" {
    try expectPlan(.{
        .config =
        \\{"mounts":[{"destination":"/a/b/c","type":"tmpfs"}]}
        ,
        .options = &.{
            .{ .flag = .tmpfs, .value = "/m/n/o:size=1m,exec" },
            .{ .flag = .tmpfs, .value = "/m" },
        },
        .machine = .{ .volumes = &.{
            .{ .source = directory("inner"), .destination = "/m/./n//", .readonly = true },
            .{ .source = file("/f"), .destination = "/f", .readonly = false },
            .{ .source = file("/dev/fuse"), .destination = "/dev/fuse", .readonly = false },
        } },
    },
        \\mount tmpfs on /a/b/c (nodev)
        \\
    ++ devices ++
        \\? link /etc/mtab to /proc/mounts
        \\? write /etc/apt/apt.conf.d/99dockerc, 27 bytes
        \\mount tmpfs on /m (nosuid,nodev,noexec,mode=1777)
        \\bind /f on /f
        \\bind inner on /m/./n// (ro,nodev)
        \\bind /dev/fuse on /dev/fuse
        \\mount tmpfs on /m/n/o (nosuid,nodev,mode=1777,size=1m)
        \\make directory / of 0:0
    );
}

test "options that change files of /etc" {
    const etc: @FieldType(Machine, "etc") = .{
        .hosts = "::1 localhost\n",
        .resolv_conf = "nameserver ::1\nsearch a\noptions edns0\n",
    };
    try expectPlan(.{
        .options = &.{
            .{ .flag = .add_host, .value = "db:10.0.0.1" },
            .{ .flag = .dns, .value = "1.1.1.1" },
            .{ .flag = .hostname, .value = "h" },
        },
        .machine = .{ .etc = etc },
    }, devices ++
        \\? write /etc/resolv.conf, 19 bytes
        \\? write /etc/hosts, 38 bytes
        \\? write /etc/hostname, 2 bytes
        \\? link /etc/mtab to /proc/mounts
        \\? write /etc/apt/apt.conf.d/99dockerc, 27 bytes
        \\make directory / of 0:0
    );
    // What config.json mounts there stays.
    try expectPlan(.{
        .config =
        \\{"mounts":[{"destination":"/etc/hosts","type":"bind","options":["bind"]}]}
        ,
        .machine = .{ .etc = etc, .sources = &.{file("/run/hosts")} },
    },
        \\bind /run/hosts on /etc/hosts
        \\
    ++ devices ++
        \\? write /etc/resolv.conf, 38 bytes
        \\? link /etc/mtab to /proc/mounts
        \\? write /etc/apt/apt.conf.d/99dockerc, 27 bytes
        \\make directory / of 0:0
    );
}

test "the machine's root gets devices whose nodes it cannot change" {
    for ([_]Ids{ .host, .outer }) |ids| try expectPlan(.{
        .config =
        \\{"linux":{"maskedPaths":["/proc/keys"],"readonlyPaths":["/proc/sys"]}}
        ,
        .options = &.{
            .{ .flag = .privileged, .value = "true" },
            .{ .flag = .read_only, .value = "true" },
        },
        .machine = .{ .devices = &.{ "/dev/sda", "/dev/dri" } },
        .ids = ids,
    },
        \\? bind /dev/null on /dev/null (ro)
        \\? bind /dev/zero on /dev/zero (ro)
        \\? bind /dev/full on /dev/full (ro)
        \\? bind /dev/random on /dev/random (ro)
        \\? bind /dev/urandom on /dev/urandom (ro)
        \\? bind /dev/tty on /dev/tty (ro)
        \\
    ++ links ++
        \\? show /dev/sda, if nothing is there
        \\? show /dev/dri, if nothing is there
        \\? link /etc/mtab to /proc/mounts
        \\make directory / of 0:0
        \\remount / (ro,nodev)
    );
}

test "where nothing can be mounted, files are made in the root" {
    try expectPlan(.{
        .config =
        \\{"root":{"readonly":true},"mounts":[{"destination":"/proc","type":"proc"},
        \\ {"destination":"/etc/resolv.conf","type":"bind","options":["bind"]}],
        \\ "linux":{"maskedPaths":["/proc/keys"],"readonlyPaths":["/proc/sys"]}}
        ,
        .options = &.{
            .{ .flag = .hostname, .value = "h" },
            .{ .flag = .tmpfs, .value = "/x" },
            .{ .flag = .workdir, .value = "/w" },
        },
        .machine = .{
            .sources = &.{ null, file("/etc/resolv.conf") },
            .etc = .{ .resolv_conf = "nameserver ::1\n" },
        },
        .can_mount = false,
        .ids = .none,
    },
        \\? make device /dev/null 1:3
        \\? make device /dev/zero 1:5
        \\? make device /dev/full 1:7
        \\? make device /dev/random 1:8
        \\? make device /dev/urandom 1:9
        \\? make device /dev/tty 5:0
        \\
    ++ links ++
        \\? copy /etc/resolv.conf to /etc/resolv.conf
        \\? write /etc/hosts, 32 bytes
        \\? write /etc/hostname, 2 bytes
        \\? link /etc/mtab to /proc/mounts
        \\make directory /w of 0:0
    );
}
