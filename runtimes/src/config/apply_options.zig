//! Applies the options to config.json, as `docker run` would have. All later steps read only that
//! configuration.
const std = @import("std");
const cdi = @import("cdi.zig");
const config = @import("spec.zig");
const capabilities = @import("../base/capabilities.zig");
const log = @import("../base/log.zig");
const errno = @import("../base/errno.zig");
const etc_files = @import("etc_files.zig");
const quantity = @import("../cli/quantity.zig");
const places = @import("place.zig");
const ports = @import("ports.zig");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const rlimits = @import("rlimits.zig");
const sysctls = @import("sysctls.zig");
const users = @import("users.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Options = @import("../cli/options.zig").Options;

/// Options that config.json cannot express.
pub const HostAccess = struct {
    /// No system call filter.
    unconfined: bool = false,
    /// The app keeps the caller's supplementary groups, which may have rights to volumes.
    keep_groups: bool = false,
    /// Where root has one id, calls that need others succeed and do nothing.
    root_emulation: bool = true,
    sysctls: []const sysctls.Sysctl = &.{},
    /// Published on the machine's network.
    ports: []const ports.Port = &.{},
    place: places.Place = .{},
};

pub fn apply(
    arena: std.mem.Allocator,
    spec: *config.Spec,
    options: *const Options,
    callers: *const Environment,
    image: users.Image,
) !HostAccess {
    var host_access: HostAccess = .{ .root_emulation = !options.has(.no_root_emulation) };
    const process = &spec.process;
    try applyToProcess(arena, process, options, image);
    if (places.keepsId(options))
        try setUser(arena, process, try places.callerUser(arena, options), image);
    host_access.place = try places.apply(arena, spec, options, callers, &image);
    for (try options.all(arena, .group_add)) |given|
        if (std.mem.eql(u8, given, keep_groups)) {
            host_access.keep_groups = true;
        };
    if (options.has(.read_only)) spec.root.readonly = true;
    if (options.has(.read_only_tmpfs))
        for ([_][]const u8{ "/run", "/tmp", "/var/tmp" }) |path|
            try tmpfs(arena, spec, path);
    if (options.last(.shm_size)) |given| try setShmSize(arena, spec, given);
    if (options.last(.hostname)) |name| {
        if (name.len == 0 or name.len > 64)
            log.die("--hostname {s}: a name has 1 to 64 letters", .{name});
        spec.hostname = name;
        try addNamespace(arena, spec, "uts");
    }
    try etc_files.replaceBinds(arena, spec);
    try network(arena, spec, options);
    for (try options.all(arena, .tmpfs)) |given| try tmpfs(arena, spec, given);
    for (try options.all(arena, .ulimit)) |given| try limit(arena, process, given);
    if (options.has(.privileged)) {
        privileged(spec);
        host_access.unconfined = true;
    }
    try setCapabilities(arena, process, options);
    for (try options.all(arena, .security_opt)) |given|
        try security(arena, spec, &host_access, given);
    host_access.sysctls = try sysctls.given(arena, spec, options);
    host_access.ports = try publish(arena, spec, options);
    try cdi.apply(arena, spec, options);
    return host_access;
}

/// Those that a program which is started in a running container has, too.
pub fn applyToProcess(
    arena: std.mem.Allocator,
    process: *config.Process,
    options: *const Options,
    image: users.Image,
) !void {
    // As in docker, an empty one is the image's.
    if (options.last(.user)) |wanted| if (wanted.len > 0)
        try setUser(arena, process, wanted, image);
    if (options.last(.workdir)) |path| {
        if (path.len == 0 or path[0] != '/')
            log.die("--workdir {s}: write an absolute path", .{path});
        process.cwd = path;
    }
    for (try options.all(arena, .group_add)) |given|
        if (!std.mem.eql(u8, given, keep_groups)) try addGroup(arena, process, given, image);
}

fn setUser(
    arena: std.mem.Allocator,
    process: *config.Process,
    wanted: []const u8,
    image: users.Image,
) !void {
    const old_home = image.home(process.user.uid);
    const root_before = process.user.uid == 0;
    const umask = process.user.umask;
    process.user, const home = try image.resolve(wanted);
    process.user.umask = umask;
    // The builder has set HOME if it is the previous user's.
    var env: std.ArrayList([]const u8) = .empty;
    for (process.env) |word| {
        const value = std.mem.cutPrefix(u8, word, "HOME=");
        if (value == null or !std.mem.eql(u8, value.?, old_home)) try env.append(arena, word);
    }
    try env.append(arena, try text.alloc(arena, "HOME={s}", .{home}));
    process.env = env.items;
    // Root has its bounding set effective; other users get capabilities from files only.
    if (process.capabilities) |*sets| if (root_before != (process.user.uid == 0)) {
        const held: []const []const u8 = if (root_before) &.{} else sets.bounding;
        sets.* = .{ .bounding = sets.bounding, .permitted = held, .effective = held };
    };
}

/// podman's word for the caller's own.
const keep_groups = "keep-groups";

fn addGroup(
    arena: std.mem.Allocator,
    process: *config.Process,
    given: []const u8,
    image: users.Image,
) !void {
    const gid = image.groupOf(given) orelse
        log.die("no group {s} in the image's /etc/group", .{given});
    process.user.additionalGids = try std.mem.concat(arena, u32, &.{
        process.user.additionalGids,
        &.{gid},
    });
}

fn setShmSize(arena: std.mem.Allocator, spec: *config.Spec, given: []const u8) !void {
    const size = quantity.bytes(given) orelse
        log.die("--shm-size {s}: write a number of bytes, with k, m or g behind it", .{given});
    // Docker's default, which config.json has.
    if (size == 0) return;
    const all = try arena.dupe(config.Mount, spec.mounts);
    for (all) |*mount| if (std.mem.eql(u8, mount.destination, "/dev/shm")) {
        // The last of two counts.
        const option = try text.alloc(arena, "size={d}", .{size});
        mount.options = try std.mem.concat(arena, []const u8, &.{ mount.options, &.{option} });
    };
    spec.mounts = all;
}

fn addNamespace(arena: std.mem.Allocator, spec: *config.Spec, kind: []const u8) !void {
    if (spec.linux.hasNamespace(kind)) return;
    spec.linux.namespaces = try std.mem.concat(arena, config.Namespace, &.{
        spec.linux.namespaces,
        &.{.{ .type = kind }},
    });
}

/// The network is the machine's unless --network none is given: payloads of dockerc 0.3
/// may list a network namespace, which that never used.
fn network(arena: std.mem.Allocator, spec: *config.Spec, options: *const Options) !void {
    var kept: std.ArrayList(config.Namespace) = .empty;
    for (spec.linux.namespaces) |namespace|
        if (!std.mem.eql(u8, namespace.type, "network")) try kept.append(arena, namespace);
    spec.linux.namespaces = kept.items;
    const name = options.last(.network) orelse return;
    if (!text.isOneOf(name, &.{ "host", "none", "private" })) log.die("--network {s}: only " ++
        "host (the machine's network), private and none are supported", .{name});
    if (!std.mem.eql(u8, name, "host")) {
        try addNamespace(arena, spec, "network");
        try ownSysfs(arena, spec);
    }
}

fn publish(
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    options: *const Options,
) ![]const ports.Port {
    const published = try ports.List.of(arena, spec, options);
    if (published.len > 0 and spec.linux.hasNamespace("network") and !options.isPrivate())
        log.die("--publish {s}: with --network none there is nothing to publish; use --network " ++
            "private, or the machine's network (the default)", .{published[0].text});
    return published;
}

/// The machine's /sys would show its network devices.
fn ownSysfs(arena: std.mem.Allocator, spec: *config.Spec) !void {
    var mounts: std.ArrayList(config.Mount) = .empty;
    const options = [_][]const u8{ "nosuid", "noexec", "nodev", "ro" };
    for (spec.mounts) |mount| {
        if (!std.mem.eql(u8, mount.destination, "/sys") or std.mem.eql(u8, mount.type, "sysfs")) {
            try mounts.append(arena, mount);
            continue;
        }
        const new: config.Mount = .{ .destination = "/sys", .type = "sysfs", .options = &options };
        const cgroups: config.Mount = .{
            .destination = "/sys/fs/cgroup",
            .type = "cgroup",
            .options = &options,
        };
        try mounts.appendSlice(arena, &.{ new, cgroups });
    }
    spec.mounts = mounts.items;
}

fn tmpfs(arena: std.mem.Allocator, spec: *config.Spec, given: []const u8) !void {
    const path, const words = std.mem.cutScalar(u8, given, ':') orelse .{ given, "" };
    if (path.len == 0 or path[0] != '/')
        log.die("--tmpfs {s}: write /PATH or /PATH:OPTIONS", .{given});
    var list: std.ArrayList([]const u8) = .empty;
    // Docker's defaults, which the given options may revert.
    try list.appendSlice(arena, &.{ "nosuid", "nodev", "noexec", "mode=1777" });
    var each = std.mem.tokenizeScalar(u8, words, ',');
    while (each.next()) |word| try list.append(arena, word);
    spec.mounts = try std.mem.concat(arena, config.Mount, &.{ spec.mounts, &.{
        .{
            .destination = path,
            .type = "tmpfs",
            .source = "tmpfs",
            .options = list.items,
            .given = true,
        },
    } });
}

fn limit(arena: std.mem.Allocator, process: *config.Process, given: []const u8) !void {
    const name, const values = std.mem.cutScalar(u8, given, '=') orelse
        log.die("--ulimit {s}: write NAME=SOFT[:HARD]", .{given});
    const soft, const hard = std.mem.cutScalar(u8, values, ':') orelse .{ values, values };
    const kind = try std.ascii.allocUpperString(arena, name);
    if (!rlimits.isKnown(kind)) log.die("--ulimit {s}: unknown limit", .{given});
    const rlimit: config.Rlimit = .{
        .type = kind,
        .soft = quantity.limit(soft) orelse
            log.die("--ulimit {s}: write NAME=SOFT[:HARD]", .{given}),
        .hard = quantity.limit(hard) orelse
            log.die("--ulimit {s}: write NAME=SOFT[:HARD]", .{given}),
    };
    if (rlimit.soft > rlimit.hard)
        log.die("--ulimit {s}: the soft limit is above the hard one", .{given});
    process.rlimits = try std.mem.concat(arena, config.Rlimit, &.{ process.rlimits, &.{rlimit} });
}

/// All capabilities; for an ordinary user these are not more than the caller has.
fn privileged(spec: *config.Spec) void {
    const every = &capabilities.names;
    spec.process.capabilities = .{ .bounding = every, .permitted = every, .effective = every };
    if (spec.process.user.uid != 0) spec.process.capabilities = .{ .bounding = every };
    spec.process.noNewPrivileges = false;
    spec.linux.maskedPaths = &.{};
    spec.linux.readonlyPaths = &.{};
}

fn setCapabilities(
    arena: std.mem.Allocator,
    process: *config.Process,
    options: *const Options,
) !void {
    const dropped = try options.all(arena, .cap_drop);
    const added = try options.all(arena, .cap_add);
    if (dropped.len + added.len == 0) return;
    const before = if (process.capabilities) |sets| capabilities.setOf(sets.bounding) else 0;
    // Docker's rule: --cap-add counts even with --cap-drop ALL.
    const minus = try named(arena, "--cap-drop", dropped);
    const plus = try named(arena, "--cap-add", added);
    const list = try capabilities.namesOf(arena, (before & ~minus) | plus);
    const held: []const []const u8 = if (process.user.uid == 0) list else &.{};
    process.capabilities = .{ .bounding = list, .permitted = held, .effective = held };
}

fn named(arena: std.mem.Allocator, option: []const u8, list: []const []const u8) !u64 {
    var set: u64 = 0;
    for (list) |given| {
        const name = try std.ascii.allocUpperString(arena, given);
        const one = if (std.mem.eql(u8, name, "ALL"))
            capabilities.setOf(&capabilities.names)
        else
            capabilities.setOf(&.{name});
        if (one == 0) log.die("{s} {s}: unknown capability", .{ option, given });
        set |= one;
    }
    return set;
}

fn security(
    arena: std.mem.Allocator,
    spec: *config.Spec,
    host_access: *HostAccess,
    given: []const u8,
) !void {
    const at = std.mem.findAny(u8, given, "=:") orelse given.len;
    const key = given[0..at];
    const value = if (at == given.len) "true" else given[at + 1 ..];
    if (std.mem.eql(u8, key, "no-new-privileges")) {
        spec.process.noNewPrivileges = !std.mem.eql(u8, value, "false");
    } else if (!std.mem.eql(u8, key, "seccomp")) {
        log.die(
            "--security-opt {s}: only seccomp=FILE, seccomp=unconfined and no-new-privileges " ++
                "are supported",
            .{given},
        );
    } else if (std.mem.eql(u8, value, "unconfined")) {
        host_access.unconfined = true;
    } else {
        host_access.unconfined = false;
        const content = sys.readLarge(
            sys.at_fdcwd,
            try arena.dupeSentinel(u8, value, 0),
            config.size_max,
        ) catch |err|
            log.die("--security-opt {s}: {s}", .{ given, errno.text(err) });
        spec.linux.seccomp = @import("json.zig").parse(arena, content) catch |err| switch (err) {
            error.OutOfMemory => |e| return e,
            error.Json => log.die("--security-opt {s}: the file is not JSON", .{given}),
        };
    }
}
