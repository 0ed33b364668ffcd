//! The container, set up from inside by the process that becomes the app.
const std = @import("std");
const sys = @import("sys.zig");
const text = @import("text.zig");
const log = @import("log.zig");
const config = @import("config.zig");
const credentials = @import("credentials.zig");
const devices = @import("devices.zig");
const init = @import("init.zig");
const Affinity = @import("affinity.zig").Affinity;
const jail_path = @import("jail_path.zig");
const mounts = @import("mounts.zig");
const names = @import("names.zig");
const program = @import("program.zig");
const rootfs = @import("rootfs.zig");
const seccomp = @import("seccomp.zig");
const settings = @import("settings.zig");
const signals = @import("signals.zig");
const volumes = @import("volumes.zig");
const Environment = @import("environment.zig").Environment;
const Options = @import("options.zig").Options;
const Ids = @import("userns.zig").Ids;

/// What the child cannot know when it is made.
pub const Prepared = extern struct { ids: Ids, rootfs: rootfs.Kind };

pub const Child = struct {
    pid: i32,
    /// Its other end tells the child what was prepared, and then that we are gone.
    lifeline: sys.fd_t,
    /// That other end, for as long as we write: should the child be dead, no signal tells us so.
    theirs: sys.fd_t,

    /// The root file system is there, and our working directory in it.
    pub fn goOn(self: Child, prepared: Prepared) void {
        _ = sys.raw(.write, .{ self.lifeline, &prepared, @sizeOf(Prepared) });
        sys.close(self.theirs);
    }
};

pub const Container = struct {
    arena: std.mem.Allocator,
    spec: *const config.Spec,
    options: *const Options,
    args: []const []const u8,
    env: Environment,
    machine: volumes.Machine,
    /// The mask that the caller had, which is the app's.
    signal_mask: signals.Set,
    beyond: settings.Beyond,
    /// Null where all system calls are allowed.
    filter: ?seccomp.Program,
    /// Directories that the image wants to be there (its volumes).
    wanted: []const []const u8,
    /// Whether a small first process starts the app and reaps what it leaves.
    init: bool,
    /// Where the app may run: until it is executed all is bound to one processor.
    anywhere: Affinity,
    ids: Ids = .none,
    rootfs: rootfs.Kind = .directory,
    /// The machine's files that every container is shown, where it has them.
    shown: []const mounts.Volume = &.{},
    lifeline: sys.fd_t = -1,
    /// The machine's root is still there, below ours: it cannot be unmounted.
    covers_machine: bool = false,

    /// Makes the process that becomes the app. Early, as long as we have few pages and no threads:
    /// to copy a page for every write of a thread after the fork takes longer than all of it.
    /// Null where that cannot be done (by qemu-user).
    pub fn forkEarly(self: *Container) !?Child {
        var last: sys.Error = error.INVAL;
        for (self.namespaces()) |into| {
            // Until it goes on, its working directory is ours.
            if (self.fork(into | sys.CLONE.fs)) |child| return child else |err| last = err;
        }
        return if (last == error.INVAL) null else last;
    }

    /// When the root file system is there. After that no thread can be made.
    pub fn forkLate(self: *Container, isolated: bool) !Child {
        const wanted = self.namespaces();
        if (isolated) sys.do(.unshare, .{wanted[0]}) catch try sys.do(.unshare, .{wanted[1]});
        return self.fork(0);
    }

    /// What config.json wants, and what is enough where there are no cgroup namespaces.
    fn namespaces(self: *const Container) [2]u32 {
        const wants = &self.spec.linux;
        const pid = if (wants.hasNamespace("pid")) sys.CLONE.newpid else 0;
        return .{ pid | (if (wants.hasNamespace("cgroup")) sys.CLONE.newcgroup else 0), pid };
    }

    fn fork(self: *Container, flags: u32) !Child {
        const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
        var pipe: [2]sys.fd_t = undefined;
        try sys.do(.pipe2, .{ &pipe, cloexec });
        const pid = sys.clone(flags) catch |err| {
            for (pipe) |fd| sys.close(fd);
            return err;
        };
        if (pid == 0) {
            sys.close(pipe[1]);
            self.lifeline = pipe[0];
            self.run();
        }
        log.debug("app is process {d}", .{pid});
        return .{ .pid = pid, .lifeline = pipe[1], .theirs = pipe[0] };
    }

    fn run(self: *Container) noreturn {
        // First thing: from here on nothing of us outlives the stub.
        dieWithStub(self.lifeline) catch |err| fatal("tie the app to its runtime", err);
        self.wait() catch |err| fatal("follow the runtime", err);
        self.enter() catch |err| fatal("set up the file system", err);
        self.tree() catch |err| fatal("set up the container's mounts", err);
        self.become() catch |err| fatal("set up the app's process", err);
    }

    fn fatal(what: []const u8, err: anyerror) noreturn {
        log.die("cannot {s}: {s}", .{ what, sys.text(err) });
    }

    /// Until the stub has prepared the root file system, where our working directory then is.
    fn wait(self: *Container) !void {
        var prepared: Prepared = undefined;
        // Nothing: the stub is gone, and has said why.
        if (try sys.call(.read, .{ self.lifeline, &prepared, @sizeOf(Prepared) }) != @sizeOf(Prepared)) sys.exit(log.failed);
        // A process that was forked late has its own, and a container may not allow this.
        sys.do(.unshare, .{sys.CLONE.fs}) catch |err| if (prepared.ids != .none) return err;
        self.ids = prepared.ids;
        self.rootfs = prepared.rootfs;
        // Not the caller's: what is made on the way to a mount is for the app's user to pass, too.
        _ = sys.raw(.umask, .{0o022});
        self.shown = try names.make(self.arena, self.spec, self.options);
    }

    /// What was mounted becomes the root; the machine's stays our working directory.
    fn enter(self: *Container) !void {
        const machine = try sys.openat(sys.at_fdcwd, "/", .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true }, 0);
        if (self.rootfs == .directory) {
            try sys.do(.chroot, .{"."});
            return sys.do(.fchdir, .{machine});
        }
        try sys.do(.chdir, .{"root"});
        // The old root ends up on top of the new one (pivot_root(2)), for us to go to and detach.
        sys.do(.pivot_root, .{ ".", "." }) catch |err| {
            if (err != error.INVAL) return err;
            // An initramfs cannot be pivoted away from: cover it, as switch_root(8) does.
            try sys.mount(".", "/", null, sys.MS.move, null);
            try sys.do(.chroot, .{"."});
            self.covers_machine = true;
        };
        try sys.do(.fchdir, .{machine});
    }

    fn tree(self: *Container) !void {
        const arena = self.arena;
        if (self.rootfs != .directory) {
            try self.mount();
        } else {
            if (self.machine.volumes.len > 0) log.die("volumes cannot be mounted here: this container may neither mount nor make a user namespace", .{});
            try devices.make(arena, self.ids);
            for (self.spec.mounts, self.machine.sources) |each, source| if (source) |s| self.copy(s, each.destination);
            for (self.shown) |file| self.copy(file.source, file.destination);
        }
        for (self.wanted) |path| _ = jail_path.resolve(arena, path, .directory) catch |err|
            log.debug("no {s}: {s}", .{ path, sys.text(err) });
        try self.makeCwd();
        try program.setHome(arena, &self.env, self.spec.process.user.uid);
        if (self.rootfs != .directory) {
            if (self.spec.root.readonly) try sys.mount(null, "/", null, sys.MS.remount | sys.MS.bind | sys.MS.rdonly, null);
            if (!self.covers_machine) try sys.unmount(".");
        }
        try sys.do(.chdir, .{"/"});
        log.debug("root is the container's", .{});
    }

    fn copy(self: *Container, source: mounts.Source, destination: []const u8) void {
        mounts.copy(self.arena, source, destination) catch |err| log.debug("no {s}: {s}", .{ destination, sys.text(err) });
    }

    fn mount(self: *Container) !void {
        const arena = self.arena;
        for (self.spec.mounts, self.machine.sources) |each, source| mounts.make(arena, each, source, self.ids, self.spec.linux.hasNamespace("cgroup")) catch |err|
            log.die("cannot mount {s} on {s}: {s}", .{ each.type, each.destination, sys.text(err) });
        try devices.make(arena, self.ids);
        if (self.beyond.all_devices) try devices.showAll(arena);
        for (self.shown) |file| mounts.bind(arena, file.source, file.destination, file.flags()) catch |err|
            log.debug("no {s}: {s}", .{ file.destination, sys.text(err) });
        for (self.machine.volumes) |volume| mounts.bind(arena, volume.source, volume.destination, volume.flags()) catch |err|
            // The target is there by now; a working directory that was removed could be opened.
            log.die("cannot mount a volume on {s}: {s}", .{ volume.destination, if (err == error.NOENT) "its source has been removed" else sys.text(err) });
        for (self.spec.linux.readonlyPaths) |path| try mounts.protect(arena, path);
        for (self.spec.linux.maskedPaths) |path| try mounts.mask(arena, path);
    }

    /// Docker makes it when the image has not, as the app's user.
    fn makeCwd(self: *Container) !void {
        const cwd = self.spec.process.cwd;
        const user = self.spec.process.user;
        if (jail_path.resolve(self.arena, cwd, .nothing)) |_| return else |_| {}
        const path = try jail_path.resolve(self.arena, cwd, .directory);
        if (self.ids != .single) try sys.do(.fchownat, .{ sys.at_fdcwd, path.ptr, user.uid, user.gid, 0 });
    }

    fn become(self: *Container) !noreturn {
        const process = &self.spec.process;
        if (self.spec.linux.hasNamespace("network")) names.raiseLoopback();
        if (self.spec.linux.hasNamespace("uts")) if (self.spec.hostname) |name|
            sys.do(.sethostname, .{ name.ptr, name.len }) catch |err| log.die("cannot take the hostname {s}: {s}", .{ name, sys.text(err) });
        if (process.oomScoreAdj) |score| self.setOomScore(score) catch |err| log.debug("oom score: {s}", .{sys.text(err)});
        credentials.setLimits(process.rlimits);
        if (process.user.umask) |umask| _ = sys.raw(.umask, .{umask});
        try signals.restore(&self.signal_mask);

        try self.closeDescriptors();
        if (self.init) try init.split();
        // A filter needs either no_new_privs or a privilege that is about to go.
        if (!process.noNewPrivileges) self.filterCalls();
        credentials.setIds(process.user, self.ids) catch |err|
            log.die("cannot become user {d} and group {d}: {s}", .{ process.user.uid, process.user.gid, sys.text(err) });
        // As the app's user, whose directory it may be.
        const cwd = try self.arena.dupeSentinel(u8, process.cwd, 0);
        sys.do(.chdir, .{cwd.ptr}) catch |err| log.die("cannot enter {s}: {s}", .{ cwd, sys.text(err) });
        // getcwd(2) tells a directory outside of the root by a name without a slash in front.
        var where: [std.posix.PATH_MAX]u8 = undefined;
        const inside = if (sys.call(.getcwd, .{ &where, where.len })) |_| where[0] == '/' else |_| false;
        if (!inside) log.die("cannot enter {s}: it leads out of the container", .{cwd});
        try credentials.setCapabilities(process.capabilities);
        if (process.noNewPrivileges) {
            try credentials.noNewPrivileges();
            self.filterCalls();
        }
        // A change of ids makes the kernel forget it.
        try dieWithStub(self.lifeline);
        self.anywhere.set();
        try program.exec(self.arena, self.args, &self.env);
    }

    /// Not the runtime's descriptors, and not those that the caller happened to have open: a
    /// working directory or program of /proc/self/fd/N must not lead to the machine's files (as it
    /// did in runc, CVE-2024-21626). Only the lifeline stays, as the first one, until the exec.
    fn closeDescriptors(self: *Container) !void {
        const first = 3;
        if (self.lifeline != first) {
            const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
            try sys.do(.dup3, .{ self.lifeline, first, cloexec });
            self.lifeline = first;
        }
        sys.closeRange(first + 1, std.math.maxInt(sys.fd_t));
    }

    fn filterCalls(self: *const Container) void {
        if (self.filter) |*filter| seccomp.install(filter);
    }

    fn setOomScore(self: *Container, score: i32) !void {
        try sys.writeFile(sys.at_fdcwd, "/proc/self/oom_score_adj", try text.alloc(self.arena, "{d}", .{score}));
    }
};

/// SIGKILL when the stub dies; if it died before that was in force, now.
fn dieWithStub(lifeline: sys.fd_t) !void {
    const set_pdeathsig = 1;
    const sigkill = 9;
    try sys.do(.prctl, .{ set_pdeathsig, sigkill, 0, 0, 0 });
    var poll: std.os.linux.pollfd = .{ .fd = lifeline, .events = 0, .revents = 0 };
    var at_once: std.os.linux.timespec = .{ .sec = 0, .nsec = 0 };
    // The kernel writes the time that was left back.
    if (try sys.call(.ppoll, .{ &poll, 1, &at_once, 0, 0 }) != 0) sys.exit(log.failed);
}
