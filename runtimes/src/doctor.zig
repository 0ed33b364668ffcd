//! --dockerc-doctor: what this machine allows, tried one by one in children, and which way a run
//! would take.
const std = @import("std");
const sys = @import("base/syscalls.zig");
const errno = @import("base/errno.zig");
const MountNamespace = @import("namespaces/mount_namespace.zig").MountNamespace;
const text = @import("base/text.zig");
const userns = @import("namespaces/userns.zig");
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
};

/// The lines to print.
pub fn report(arena: std.mem.Allocator) ![]const u8 {
    var works: [probes.len]bool = undefined;
    var out: []const u8 = "";
    for (probes, &works) |probe, *ok| {
        const err = try inChild(arena, probe.ask);
        ok.* = err.len == 0;
        out = try text.alloc(
            arena,
            "{s}{s}: {s}\n",
            .{ out, probe.what, if (ok.*) "yes" else err },
        );
    }
    const has_root, const has_namespace, const has_tmpfs, _, //
    const has_overlay, const has_fuse, const has_chroot = works;
    const can_mount = (has_root or has_namespace) and has_tmpfs;
    const way = if (!can_mount)
        (if (has_chroot) "unpacked for every run, in a chroot" else "it cannot run here")
    else if (!has_overlay)
        "unpacked for every run"
    else if (has_fuse)
        "FUSE, under an overlay"
    else
        "unpacked once into the cache, under an overlay";
    return text.alloc(arena, "{s}this file would run by: {s}\n", .{ out, way });
}

/// What went wrong, or nothing.
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
    _ = try namespace(arena);
    sys.close(try sys.openat(sys.at_fdcwd, "/dev/fuse", .{ .ACCMODE = .RDWR, .CLOEXEC = true }, 0));
}

/// In this child of ours, to where it is.
fn chroot(_: std.mem.Allocator) !void {
    if (!userns.canChroot()) return error.PERM;
}
