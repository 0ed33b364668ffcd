//! What a translated run is made of: the root file system's two layers, and what of the machine is
//! seen in it.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const text = @import("../base/text.zig");
const config = @import("../config/spec.zig");
const etc_files = @import("../config/etc_files.zig");
const mount_options = @import("../config/mount_options.zig");
const places = @import("place.zig");
const sources = @import("../config/source.zig");
const trees = @import("tree.zig");
const Guest = @import("guest.zig").Guest;
const Identity = @import("identity.zig").Identity;
const Machine = @import("../config/volumes.zig").Machine;
const Mount = @import("mounts.zig").Mount;
const Options = @import("../cli/options.zig").Options;
const PortServer = @import("../process/ports/server.zig").Server;
const Process = @import("threads.zig").Process;
const SizeClasses = @import("../base/size_classes.zig").SizeClasses;
const Resolver = @import("resolver.zig").Resolver;
const Thread = @import("threads.zig").Thread;
const WorkingDirectory = @import("working_directory.zig").WorkingDirectory;

pub const Given = struct {
    arena: std.mem.Allocator,
    /// Our parent, and the process to trace.
    runtime: i32,
    app: i32 = -1,
    /// A directory of this run, and the unpacked root file system.
    own: sys.fd_t,
    unpacked: sys.fd_t,
    /// The directory in which the unpacked one is, if it is the run's to change (--overlay).
    kept: ?sys.fd_t,
    spec: *const config.Spec,
    options: *const Options,
    machine: *const Machine,
    caller: Guest.Pair,
    ports: ?*PortServer,

    pub fn identity(self: *const Given) Identity {
        const user = self.spec.process.user;
        return .of(user.uid, user.gid, user.additionalGids);
    }
};

pub fn make(given: *const Given) !*Guest {
    const flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
    const user = given.spec.process.user;
    try sys.do(.mkdirat, .{ given.own, "root", 0o755 });
    const upper = try sys.openat(given.own, "root", .{ .DIRECTORY = true, .CLOEXEC = true }, 0);
    const other, const lower = if (given.kept == null)
        .{ upper, given.unpacked }
    else
        .{ given.unpacked, upper };
    const blocks = try given.arena.create(SizeClasses);
    blocks.* = .{};
    const memory = blocks.allocator();
    const guest = try given.arena.create(Guest);
    guest.* = .{
        .tree = try .init(memory, other, lower, given.kept),
        .threads = .{
            .memory = memory,
            .proc = try sys.openat(sys.at_fdcwd, "/proc", flags, 0),
        },
        .resolver = .{
            .tree = &guest.tree,
            .mounts = .{},
            .threads = &guest.threads,
            .scratch = .init(try sys.anonymous(scratch_size)),
            .known_memory = .init(std.heap.page_allocator),
        },
        .caller = given.caller,
        .shown = .{ .uid = user.uid, .gid = user.gid },
        .hostname = given.options.last(.hostname),
        .loader = try placeLoader(given.own),
        .readonly = given.spec.root.readonly,
        .ports = given.ports,
    };
    var maker: Maker = .{ .given = given, .guest = guest };
    try maker.mountAll();
    return guest;
}

/// More than the largest message that is copied (socket_calls.zig), and the paths of a call.
const scratch_size = 1 << 20;

/// A file, for a memfd may not be executable (sysctl vm.memfd_noexec).
fn placeLoader(dir: sys.fd_t) !sys.fd_t {
    const loader = @import("build_options").loader;
    const flags: sys.O = .{ .ACCMODE = .WRONLY, .CREAT = true, .EXCL = true, .CLOEXEC = true };
    const fd = try sys.openat(dir, "loader", flags, 0o500);
    const written = sys.writeAll(fd, loader);
    sys.close(fd);
    try written;
    return sys.openat(dir, "loader", .{ .PATH = true, .CLOEXEC = true }, 0);
}

/// Closes what the tracer does not need: an open end of a pipe keeps its reader from seeing the
/// end.
pub fn keepFiles(guest: *Guest) !void {
    const memory = guest.threads.memory;
    var kept: std.ArrayList(sys.fd_t) = .empty;
    const resolver = &guest.resolver;
    guest.tree.changed = true;
    resolver.begin(undefined);
    try kept.appendSlice(memory, &.{
        guest.tree.upper, guest.tree.lower, guest.threads.proc, guest.loader,
    });
    if (guest.tree.owner_file) |file| try kept.append(memory, file.fd);
    if (guest.listener) |each| try kept.append(memory, each.fd);
    if (log.debugging) try kept.append(memory, 2);
    if (guest.ports) |ports| for (ports.reservation.sockets) |socket|
        if (socket) |fd| try kept.append(memory, fd);
    for (resolver.mounts.list) |mount| try kept.append(memory, mount.fd);
    sys.closeAllBut(kept.items);
}

const Maker = struct {
    given: *const Given,
    guest: *Guest,
    mounts: std.ArrayList(Mount) = .empty,
    files: u32 = 0,
    /// While no process of the program exists.
    process: Process = .{ .pid = 0, .identity = undefined, .exe = "" },
    thread: Thread = undefined,
    cwd: WorkingDirectory = .{},

    fn mountAll(self: *Maker) !void {
        self.thread = .{ .tid = 0, .process = &self.process, .cwd = &self.cwd };
        for ([_][:0]const u8{ "/proc", "/dev", "/sys" }) |path| {
            const source = try sources.Source.open(path);
            try self.mountSource(&source, path, false);
        }
        self.mounts.items[0].is_proc = true;
        try self.mountEtcFiles();
        const spec = self.given.spec;
        const machine = self.given.machine;
        // Those of one depth in the order that they were given in: none hides another below it.
        for (0..std.posix.PATH_MAX / 2) |depth| {
            var deeper = false;
            for (spec.mounts, machine.sources) |*mount, *source| {
                const at = depthOf(mount.destination);
                deeper = deeper or at > depth;
                if (at == depth) try self.mountListed(mount, source);
            }
            for (machine.volumes) |*volume| {
                const at = depthOf(volume.destination);
                deeper = deeper or at > depth;
                if (at != depth) continue;
                try self.mountSource(&volume.source, volume.destination, volume.readonly);
            }
            if (!deeper) break;
        }
    }

    /// Of config.json and the options: the kernel's file systems are the machine's.
    fn mountListed(self: *Maker, mount: *const config.Mount, source: *const ?sources.Source) !void {
        const options = try mount_options.parse(self.given.arena, mount.options);
        const readonly = options.flags & sys.MS.rdonly != 0;
        if (source.*) |*found| if (!mountedAlready(mount.destination))
            return self.mountSource(found, mount.destination, readonly);
        if (!mount.given or !std.mem.eql(u8, mount.type, "tmpfs")) return;
        self.files += 1;
        const name = try text.alloc(self.given.arena, "tmp-{d}", .{self.files});
        try sys.do(.mkdirat, .{ self.given.own, name.ptr, 0o700 });
        const flags: sys.O = .{ .DIRECTORY = true, .CLOEXEC = true };
        const fd = try sys.openat(self.given.own, name, flags, 0);
        try sys.do(.fchmod, .{ fd, modeOf(options.data) });
        const made: sources.Source = .{ .fd = fd, .directory = true, .name = name };
        return self.mountSource(&made, mount.destination, readonly);
    }

    fn mountEtcFiles(self: *Maker) !void {
        const arena = self.given.arena;
        const machine = self.given.machine;
        const files = try etc_files.list(arena, self.given.spec, self.given.options, machine.etc);
        for (files) |each| if (each) |file| switch (file.content) {
            .text => |content| {
                self.files += 1;
                const name = try text.alloc(arena, "etc-{d}", .{self.files});
                const flags: sys.O = .{
                    .ACCMODE = .WRONLY,
                    .CREAT = true,
                    .EXCL = true,
                    .CLOEXEC = true,
                };
                const fd = try sys.openat(self.given.own, name, flags, 0o644);
                defer sys.close(fd);
                try sys.writeAll(fd, content);
                const source: sources.Source = .{ .fd = fd, .directory = false, .name = name };
                self.mountFile(&source, file.path) catch |err|
                    log.debug("no {s}: {s}", .{ file.path, errno.text(err) });
            },
            .machine => |source| try self.mountSource(&source, file.path, true),
        };
    }

    /// Without a name in the image's directory, if the image has none.
    fn mountFile(self: *Maker, source: *const sources.Source, target: []const u8) !void {
        self.guest.resolver.begin(&self.thread);
        const place = self.guest.resolver.place("", target, true) catch
            try self.makeTarget(target, false);
        try self.add(source, place.path, false);
    }

    fn mountSource(
        self: *Maker,
        source: *const sources.Source,
        target: []const u8,
        readonly: bool,
    ) !void {
        const place = self.makeTarget(target, source.directory) catch |err| log.die(
            "cannot bind {s} on {s}: {s}",
            .{ source.name, target, errno.text(err) },
        );
        if (place.path.len == 0) log.die(
            "cannot mount on {s}: it is the container's root, or leads there",
            .{target},
        );
        if (place.exists() and place.is(places.directory) != source.directory) log.die(
            "cannot bind {s} on {s}: {s}",
            .{
                source.name,
                target,
                if (source.directory) "a file is there" else "a directory is there",
            },
        );
        return self.add(source, place.path, readonly);
    }

    /// Made if nothing is there, with the directories above it.
    fn makeTarget(self: *Maker, target: []const u8, directory: bool) !places.Place {
        const resolver = &self.guest.resolver;
        var at: usize = 0;
        while (true) {
            at = std.mem.findScalarPos(u8, target, at + 1, '/') orelse target.len;
            resolver.begin(&self.thread);
            var place = try resolver.place("", target[0..at], true);
            const last = at == target.len;
            if (!place.exists()) {
                try resolver.forWriting(&place);
                if (directory or !last) {
                    try sys.do(.mkdirat, .{ place.dir, place.name, 0o755 });
                } else {
                    const regular = 0o100644;
                    try sys.do(.mknodat, .{ place.dir, place.name, regular, 0 });
                }
            }
            if (last) return place;
        }
    }

    fn add(self: *Maker, source: *const sources.Source, path: []const u8, readonly: bool) !void {
        const arena = self.given.arena;
        var mount: Mount = .{
            .target = try arena.dupe(u8, path),
            .host = try trees.Tree.pathOf(arena, source.fd),
            .fd = source.fd,
            .readonly = readonly,
        };
        if (!source.directory) {
            const at = std.mem.findScalarLast(u8, mount.host, '/') orelse return error.NOENT;
            const flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
            const dir = try arena.dupeSentinel(u8, mount.host[0..@max(at, 1)], 0);
            mount.fd = try sys.openat(sys.at_fdcwd, dir, flags, 0);
            mount.name = try arena.dupeSentinel(u8, mount.host[at + 1 ..], 0);
        }
        try self.mounts.append(arena, mount);
        self.guest.resolver.mounts.list = self.mounts.items;
        self.guest.tree.changed = true;
    }
};

fn mountedAlready(path: []const u8) bool {
    for ([_][]const u8{ "/proc", "/dev", "/sys" }) |top|
        if (@import("path_below.zig").below(path, top) != null) return true;
    return false;
}

fn depthOf(path: []const u8) usize {
    var parts = std.mem.tokenizeScalar(u8, path, '/');
    var count: usize = 0;
    while (parts.next()) |_| count += 1;
    return count;
}

/// Of a tmpfs' options (tmpfs(5)).
fn modeOf(data: []const u8) u32 {
    var words = std.mem.splitScalar(u8, data, ',');
    var mode: u32 = 0o1777;
    while (words.next()) |word| if (std.mem.cutPrefix(u8, word, "mode=")) |digits| {
        mode = std.fmt.parseInt(u32, digits, 8) catch mode;
    };
    return mode & 0o7777;
}
