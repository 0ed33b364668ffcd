//! --dockerc-doctor: what this machine allows, each tried in a child process, and in which ways a
//! file could run.
const std = @import("std");
const sys = @import("base/syscalls.zig");
const errno = @import("base/errno.zig");
const keeper = @import("keeper/find.zig");
const Environment = @import("cli/environment.zig").Environment;
const MountNamespace = @import("namespaces/mount_namespace.zig").MountNamespace;
const text = @import("base/text.zig");
const subordinate_ids = @import("namespaces/subordinate_ids.zig");
const userns = @import("namespaces/userns.zig");
const start = @import("translation/start.zig");
const payload_mount = @import("rootfs/payload_mount.zig");
const workspace = @import("rootfs/workspace.zig");

const Probe = struct { what: []const u8, ask: *const fn (std.mem.Allocator) anyerror!void };

const probes = [_]Probe{
    .{ .what = "mounts without a user namespace (root)", .ask = mountNamespace },
    .{ .what = "user namespaces", .ask = userNamespace },
    .{ .what = "tmpfs in it", .ask = tmpfs },
    .{ .what = "user.* attributes on tmpfs", .ask = attributes },
    .{ .what = "overlayfs in it", .ask = overlay },
    .{ .what = "/dev/fuse", .ask = fuse },
    .{ .what = "chroot", .ask = chroot },
    .{ .what = "path translation (ptrace)", .ask = translation },
};

/// What the probes have found.
const Machine = struct {
    mounts: bool,
    overlay: bool,
    fuse: bool,
    chroot: bool,
    tracing: bool,
};

const Way = struct { what: []const u8, works: *const fn (Machine) bool };

/// The order in which a start tries them (rootfs/rootfs.zig).
const ways = [_]Way{
    .{ .what = "FUSE, under an overlay", .works = struct {
        fn works(machine: Machine) bool {
            return machine.mounts and machine.overlay and machine.fuse;
        }
    }.works },
    .{ .what = "unpacked once into the cache, under an overlay", .works = struct {
        fn works(machine: Machine) bool {
            return machine.mounts and machine.overlay;
        }
    }.works },
    .{ .what = "unpacked for every run", .works = struct {
        fn works(machine: Machine) bool {
            return machine.mounts;
        }
    }.works },
    .{ .what = "unpacked for every run, in a chroot", .works = struct {
        fn works(machine: Machine) bool {
            return machine.chroot;
        }
    }.works },
    .{ .what = "unpacked once into the cache, its paths translated (ptrace)", .works = struct {
        fn works(machine: Machine) bool {
            return machine.tracing and sys.raw(.geteuid, .{}) != 0;
        }
    }.works },
};

/// The lines to print.
pub fn report(arena: std.mem.Allocator, callers: *const Environment) ![]const u8 {
    var works: [probes.len]bool = undefined;
    var out: []const u8 = "";
    for (probes, &works) |probe, *ok| {
        const err = try inChild(arena, probe.ask);
        ok.* = err.len == 0;
        const answer = if (ok.*) "yes" else err;
        out = try text.alloc(arena, "{s}{s}: {s}\n", .{ out, probe.what, answer });
    }
    const has_root, const has_namespace, const has_tmpfs, _, //
    const has_overlay, const has_fuse, const has_chroot, const has_tracing = works;
    const machine: Machine = .{
        .mounts = (has_root or has_namespace) and has_tmpfs,
        .overlay = has_overlay,
        .fuse = has_fuse,
        .chroot = has_chroot,
        .tracing = has_tracing,
    };
    out = try text.alloc(arena, "{s}{s}{s}", .{
        out,
        try helpers(arena, callers),
        "ways to run this file, of which the first that works is taken:\n",
    });
    var taken: []const u8 = "it cannot run here";
    for (0..ways.len) |back| {
        const way = ways[ways.len - 1 - back];
        if (way.works(machine)) taken = way.what;
    }
    for (ways) |way| out = try text.alloc(arena, "{s}  {s}: {s}\n", .{
        out,
        way.what,
        if (way.works(machine)) "works" else "does not work here",
    });
    if (advice(arena, machine)) |better|
        out = try text.alloc(arena, "{s}{s}\n", .{ out, better });
    return text.alloc(arena, "{s}this file would run by: {s}\n" ++
        "keepers of shared mounts of this file:{s}\n", .{
        out,
        taken,
        try keepers(arena, callers),
    });
}

/// What an administrator would have to allow for the better way.
fn advice(arena: std.mem.Allocator, machine: Machine) ?[]const u8 {
    if (!machine.mounts) {
        if (sys.raw(.geteuid, .{}) == 0) return null;
        var buf: [4096]u8 = undefined;
        const why = userns.whyRefused(&buf, error.PERM);
        return text.alloc(arena, "to run it faster, and isolated: {s}", .{why}) catch null;
    }
    if (!machine.overlay) return "to run it faster: let overlayfs be mounted (Linux 5.11 or " ++
        "newer, sudo modprobe overlay)";
    if (machine.fuse) return null;
    return "to run it without unpacking: let every user open /dev/fuse (sudo modprobe fuse; " ++
        "sudo chmod 666 /dev/fuse; in a container of an engine: --device /dev/fuse)";
}

/// Of the machine that the executable is for.
const emulator = "qemu-system-" ++ @tagName(@import("builtin").cpu.arch);

/// What other programs and files are there for.
fn helpers(arena: std.mem.Allocator, callers: *const Environment) ![]const u8 {
    const pasta = callers.findProgram(arena, "pasta") != null;
    const uid: u32 = @intCast(sys.raw(.geteuid, .{}));
    const ranges = subordinate_ids.find(arena, callers, uid);
    const maps = callers.findProgram(arena, "newuidmap") != null and
        callers.findProgram(arena, "newgidmap") != null;
    const ids = if (uid == 0)
        "not needed by root"
    else if (ranges.uids == null or ranges.gids == null)
        "no range for you: sudo usermod --add-subuids 100000-165535 --add-subgids " ++
            "100000-165535 $USER"
    else if (!maps)
        "newuidmap and newgidmap are not installed (package uidmap)"
    else
        "yes";
    return text.alloc(arena, "subordinate ids (for images of several users): {s}\n" ++
        "pasta (for --network private): {s}\n" ++
        "QEMU (for a machine of its own, which needs no user namespace: dockerc vm): {s}\n", .{
        ids,
        if (pasta) "yes" else "not installed (package passt)",
        if (callers.findProgram(arena, emulator) != null) "yes" else emulator ++ " not installed",
    });
}

fn keepers(arena: std.mem.Allocator, callers: *const Environment) ![]const u8 {
    const found = try keeper.all(arena, callers);
    if (found.len == 0) return " none";
    var out: []const u8 = "";
    for (found) |pid| out = try text.alloc(arena, "{s} process {d}", .{ out, pid });
    return out;
}

/// The error's text, or empty.
fn inChild(arena: std.mem.Allocator, ask: *const fn (std.mem.Allocator) anyerror!void) ![]const u8 {
    const child = try sys.fork();
    if (child == 0) {
        ask(arena) catch |err| sys.exit(errno.numberOf(err));
        sys.exit(0);
    }
    const end = try sys.wait(child, 0);
    return if (end.status == 0) "" else errno.textOf(@truncate(end.status >> 8));
}

fn mountNamespace(_: std.mem.Allocator) !void {
    _ = try ofRoot();
}

fn userNamespace(arena: std.mem.Allocator) !void {
    _ = try userns.enterPlain(arena);
}

fn ofRoot() !MountNamespace {
    const own = try MountNamespace.unshare(0);
    try own.makePrivate();
    return own;
}

fn namespace(arena: std.mem.Allocator) !MountNamespace {
    return ofRoot() catch try userns.enterPlain(arena);
}

fn tmpfs(arena: std.mem.Allocator) !void {
    try workspace.make(try namespace(arena));
}

fn attributes(arena: std.mem.Allocator) !void {
    try tmpfs(arena);
    try sys.do(.setxattr, .{ "changes", "user.dockerc", "y", 1, 0 });
}

fn overlay(arena: std.mem.Allocator) !void {
    const own = try namespace(arena);
    try workspace.make(own);
    for ([_][:0]const u8{ "changes/upper", "changes/work" }) |dir| try sys.mkdir(dir, 0o755);
    try own.mount(
        "dockerc",
        "root",
        "overlay",
        0,
        "lowerdir=lower,upperdir=changes/upper,workdir=changes/work,userxattr",
    );
}

fn fuse(arena: std.mem.Allocator) !void {
    const own = try namespace(arena);
    try workspace.make(own);
    _ = try payload_mount.mountDevice(own, arena, 0, 0);
}

fn translation(_: std.mem.Allocator) !void {
    return start.probe();
}

/// In a child process, to its own root.
fn chroot(_: std.mem.Allocator) !void {
    if (!userns.canChroot()) return error.PERM;
}
