//! The runtime as the first process of a machine of its own (`dockerc vm`): the kernel has unpacked
//! an initramfs with nothing in it but this runtime, modules of drivers, and the settings.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const text = @import("../base/text.zig");
const network = @import("network.zig");
const own_process = @import("../process/own_process.zig");
const settings_file = @import("settings.zig");
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const processors = @import("processors.zig");
const OwnFile = @import("../payload/own_file.zig").OwnFile;
const Ports = @import("ports.zig").Ports;
const Session = @import("session.zig").Session;
const Settings = settings_file.Settings;
const Streams = @import("streams.zig").Streams;
const MS = sys.MS;

/// What a run gets of the machine in place of a caller's.
pub const Guest = struct {
    file: OwnFile,
    arguments: []const [*:0]const u8,
    variables: std.ArrayList([:0]const u8),
};

/// Whether this is the kernel's first process, with settings.
pub fn isFirstProcess() bool {
    if (sys.raw(.getpid, .{}) != 1) return false;
    _ = sys.stat(sys.at_fdcwd, settings_file.path) catch return false;
    return MountNamespace.ofMachine() != null;
}

/// Makes the machine ready, and a child that runs the app: only that returns.
pub fn begin(arena: std.mem.Allocator) !Guest {
    const settings: Settings = try .read(arena);
    const mounts = MountNamespace.ofMachine() orelse log.die("this is no machine of its own", .{});
    for (settings.modules.items) |name| try loadModule(arena, name);
    makeRoot(mounts, settings.files) catch |err|
        log.die("cannot mount the machine's own file systems: {s}", .{errno.text(err)});
    const starting = try processors.start(settings.processors);
    const name = "dockerc";
    _ = sys.raw(.sethostname, .{ name, name.len });
    network.raise(settings.network);
    const file: OwnFile = .{ .fd = disk("payload", .RDONLY), .size = settings.size };
    if (settings.overlay) mounts.mount(diskPath("overlay"), "/overlay", "ext4", 0, null) catch |err|
        log.die("cannot mount the disk of --overlay: {s}", .{errno.text(err)});
    for (settings.shares.items) |share| try mountShare(arena, mounts, share);
    const ports: Ports = .open(settings.token);
    // The app, and threads that serve its files, are to find them all.
    starting.waitForEnd();
    const streams: Streams = try .make(settings.terminal);
    const mask = try @import("../process/signals.zig").block(0);
    switch (try own_process.clone(0)) {
        .parent => |app| {
            streams.closeOfApp();
            var session: Session = try .init(ports, &streams, app);
            session.run();
            powerOff();
        },
        .child => {
            try @import("../process/signals.zig").restore(&mask);
            try streams.adopt();
            // Our ends of the pipes, above all: their readers would see no end.
            sys.closeAllBut(&.{ 0, 1, 2, file.fd });
            return .{
                .file = file,
                .arguments = settings.arguments.items,
                .variables = settings.variables,
            };
        },
    }
}

/// Without its signature, which takes an emulated processor a twentieth of a second to check; with
/// it, if the kernel insists.
fn loadModule(arena: std.mem.Allocator, name: []const u8) !void {
    const path = try text.alloc(arena, "/modules/{s}", .{name});
    const module = sys.readLarge(sys.at_fdcwd, path, module_max) catch |err|
        log.die("cannot read {s}: {s}", .{ path, errno.text(err) });
    defer sys.release(module);
    load(module[0..unsignedLength(module)]) catch load(module) catch |err|
        log.die("the kernel does not load its module {s}: {s}", .{ name, errno.text(err) });
}

/// As the builder's bound (toolkit/machine/kernel_module.py).
const module_max = 32 << 20;

fn load(module: []const u8) sys.Error!void {
    sys.do(.init_module, .{ module.ptr, module.len, "" }) catch |err|
        if (err != error.EXIST) return err;
}

/// struct module_signature of linux/module_signature.h: its last member is the length of the
/// signature before it.
fn unsignedLength(module: []const u8) usize {
    const magic = "~Module signature appended~\n";
    const about = 12;
    if (!std.mem.endsWith(u8, module, magic)) return module.len;
    const end = module.len - magic.len;
    if (end < about) return module.len;
    const length = std.mem.readInt(u32, module[end - 4 ..][0..4], .big);
    return if (length <= end - about) end - about - length else module.len;
}

test "signatures of modules" {
    const signed = "module" ++ "signature" ++ "\x00\x00\x02\x00\x00\x00\x00\x00" ++
        "\x00\x00\x00\x09" ++ "~Module signature appended~\n";
    try std.testing.expectEqual("module".len, unsignedLength(signed));
    try std.testing.expectEqual(6, unsignedLength("module"));
    const wrong = "\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x09" ++
        "~Module signature appended~\n";
    try std.testing.expectEqual(wrong.len, unsignedLength(wrong));
}

/// A tmpfs: the kernel's first root can neither be left nor pivoted (pivot_root(2)).
fn makeRoot(mounts: MountNamespace, files: bool) sys.Error!void {
    sys.mkdir("/root", 0o755) catch {};
    try mounts.mount("root", "/root", "tmpfs", MS.nosuid | MS.nodev, "mode=755,size=90%");
    try sys.do(.chdir, .{"/root"});
    for ([_][*:0]const u8{
        "dev", "etc", "files", "overlay", "proc", "root", "shares", "sys", "tmp", "var",
    }) |each|
        try sys.mkdir(each, 0o755);
    try sys.mkdir("var/tmp", 0o777);
    const limited = MS.nosuid | MS.nodev | MS.noexec;
    try mounts.mount("proc", "proc", "proc", limited, null);
    try mounts.mount("sysfs", "sys", "sysfs", limited, null);
    try mounts.mount("devtmpfs", "dev", "devtmpfs", MS.nosuid, null);
    try sys.mkdir("dev/pts", 0o755);
    try mounts.mount("devpts", "dev/pts", "devpts", MS.nosuid | MS.noexec, null);
    // Without it there are no limits; the runtime says so if they are asked for.
    mounts.mount("cgroup2", "sys/fs/cgroup", "cgroup2", limited, null) catch {};
    if (files) try mounts.mount("/files", "files", null, MS.bind, null);
    return mounts.becomeRoot();
}

fn mountShare(
    arena: std.mem.Allocator,
    mounts: MountNamespace,
    share: settings_file.Share,
) !void {
    const target = try text.alloc(arena, "/shares/{s}", .{share.tag});
    try sys.mkdir(target, 0o755);
    const options = "trans=virtio,version=9p2000.L,msize=262144,access=client,cache=mmap";
    const flags: usize = if (share.read_only) MS.rdonly else 0;
    mounts.mount(share.tag, target, "9p", flags, options) catch |err|
        log.die("cannot mount a directory of --volume (9p): {s}", .{errno.text(err)});
}

fn disk(serial: []const u8, mode: @FieldType(sys.O, "ACCMODE")) sys.fd_t {
    const path = diskPath(serial);
    return sys.openat(sys.at_fdcwd, path, .{ .ACCMODE = mode, .CLOEXEC = true }, 0) catch |err|
        log.die("cannot open the machine's disk {s}: {s}", .{ path, errno.text(err) });
}

/// The disk that QEMU gave this serial number.
fn diskPath(serial: []const u8) [*:0]const u8 {
    const disks = [_][2][*:0]const u8{
        .{ "/sys/block/vda/serial", "/dev/vda" },
        .{ "/sys/block/vdb/serial", "/dev/vdb" },
    };
    const deadline = sys.monotonic() + 10_000;
    while (sys.monotonic() < deadline) : (sys.sleep(1)) {
        for (disks) |each| {
            var buf: [64]u8 = undefined;
            const found = sys.readStart(sys.at_fdcwd, each[0], &buf) catch continue;
            if (std.mem.eql(u8, std.mem.trim(u8, found, "\n"), serial)) return each[1];
        }
    }
    log.die("the machine has no disk with the serial number {s}", .{serial});
}

pub fn powerOff() noreturn {
    const power_off = 0x4321_fedc;
    while (true) {
        _ = sys.raw(.reboot, .{ 0xfee1_dead, 0x2812_1969, power_off, 0 });
        sys.sleep(1000);
    }
}
