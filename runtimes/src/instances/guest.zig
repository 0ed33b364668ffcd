//! The process that enters a run to start a program in it. Others in the container may be hostile:
//! they do not see this process, which stays out of their PID namespace and cannot be traced; and
//! no path is looked up there before it has the app's ids, capabilities and system call filter.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const cgroup = @import("../namespaces/cgroup.zig");
const config = @import("../config/spec.zig");
const credentials = @import("../container/credentials.zig");
const exec = @import("../container/exec.zig");
const landlock = @import("../container/landlock.zig");
const rlimits = @import("../config/rlimits.zig");
const port_filter = @import("../container/seccomp/port_filter.zig");
const root_emulation = @import("../container/seccomp/root_emulation.zig");
const seccomp = @import("../container/seccomp/filter.zig");
const signals = @import("../process/signals.zig");
const socket = @import("../base/socket.zig");
const streams = @import("../container/streams.zig");
const text = @import("../base/text.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Ids = @import("../namespaces/userns.zig").Ids;
const Lifeline = @import("../container/lifeline.zig").Lifeline;
const Namespaces = @import("enter.zig").Namespaces;
const Outputs = @import("../process/standard_output.zig").Outputs;
const ProcessDir = @import("process_dir.zig").ProcessDir;
const Program = @import("../base/bpf.zig").Program;
const Terminal = @import("../process/terminal.zig").Terminal;

/// A message to the session: the process id of the program, a child of its (launcher.zig).
pub const made = 'c';
/// The same: the program's terminal, a file with the message.
pub const terminal_made = 'm';

pub const Guest = struct {
    arena: std.mem.Allocator,
    /// /proc of the machine.
    proc: sys.fd_t,
    runtime: ProcessDir,
    namespaces: Namespaces,
    /// Whether the run has a limit of memory, processors or processes.
    limited: bool,
    process: *const config.Process,
    args: []const []const u8,
    env: Environment,
    /// Whether the session is asked about ports.
    publishes: bool,
    /// Null where all system calls are allowed.
    filter: ?Program,
    root_emulation: bool,
    ids: Ids,
    signal_mask: signals.Set,
    /// Signals that the caller ignores, and the program does not.
    ignored: signals.Set,
    /// The caller's, where there is one to keep from the program.
    terminal: ?*Terminal,
    outputs: *const Outputs,
    lifeline: Lifeline,

    /// By a process of its own. It never gets into the PID namespace, where others could see it:
    /// its last program, the launcher, makes a child there.
    pub fn enter(self: *Guest) noreturn {
        sys.close(self.lifeline.ours);
        self.prepare() catch |err| fatal("prepare to enter the run", err);
        self.namespaces.enter();
        self.become() catch |err| fatal("set up the program's process", err);
    }

    fn fatal(what: []const u8, err: anyerror) noreturn {
        log.die("cannot {s}: {s}", .{ what, errno.text(err) });
    }

    /// What a process has beside namespaces, while /proc is the machine's.
    fn prepare(self: *Guest) !void {
        try self.lifeline.dieWithRuntime();
        if (self.process.oomScoreAdj) |score| sys.writeFile(
            self.proc,
            "self/oom_score_adj",
            try text.alloc(self.arena, "{d}", .{score}),
        ) catch |err| log.debug("oom score: {s}", .{errno.text(err)});
        cgroup.join(self.arena, self.proc, self.runtime.fd) catch |err| if (self.limited)
            log.note("this program is not under the run's limits of memory, processors and " ++
                "processes: {s}", .{errno.text(err)});
        for (0..rlimits.names.len) |resource| {
            var limit: [2]u64 = undefined;
            const runtime = self.runtime.pid;
            sys.do(.prlimit64, .{ runtime, resource, 0, &limit }) catch continue;
            _ = try self.runtime.status();
            credentials.setLimit(resource, limit) catch |err|
                log.debug("limit {d}: {s}", .{ resource, errno.text(err) });
        }
        try forbidTracing();
    }

    /// Nobody may trace this process or read its memory and descriptors, whatever capabilities they
    /// have in the run's user namespace (ptrace(2); the memory is that of the caller's).
    fn forbidTracing() sys.Error!void {
        const set_dumpable = 4;
        return sys.do(.prctl, .{ set_dumpable, 0, 0, 0, 0 });
    }

    fn become(self: *Guest) !noreturn {
        const process = self.process;
        const user = process.user;
        _ = sys.raw(.umask, .{user.umask orelse 0o022});
        credentials.setLimits(process.rlimits);
        signals.resetHandlers(self.ignored);
        try signals.restore(&self.signal_mask);
        try self.outputs.replaceStreams();
        if (self.ids != .single) streams.give(user.uid);
        streams.refuseDirectories();
        try self.lifeline.keepAlone(0);
        exec.sealLauncher(self.lifeline.theirs + 1) catch |err| return if (err == error.ACCES)
            log.die("this machine forbids programs in memory (sysctl vm.memfd_noexec), which " ++
                "entering a run needs", .{})
        else
            err;
        if (process.noNewPrivileges) try credentials.noNewPrivileges();
        if (self.publishes) try port_filter.install(self.arena, self.lifeline.theirs);
        if (self.filter != null) landlock.scopeSockets();
        // Installing a filter needs no_new_privs or a capability that is about to be dropped.
        if (!process.noNewPrivileges) try self.filterCalls();
        credentials.setIds(self.arena, user, self.ids, false) catch |err|
            log.die("cannot become user {d} and group {d}: {s}", .{
                user.uid,
                user.gid,
                errno.text(err),
            });
        // A change of ids sets it to fs.suid_dumpable.
        try forbidTracing();
        try credentials.setCapabilities(process.capabilities, 0);
        if (process.noNewPrivileges) try self.filterCalls();
        // A change of ids clears it.
        try self.lifeline.dieWithRuntime();
        return self.start();
    }

    /// As one of the app's processes.
    fn start(self: *Guest) !noreturn {
        try exec.enterDirectory(self.arena, self.process.cwd);
        try streams.replaceNullDevice(true);
        try exec.setHome(self.arena, &self.env, self.process.user.uid);
        const path = try exec.locate(self.arena, self.args[0], &self.env);
        if (self.terminal) |terminal| self.makeTerminal(terminal) catch |err|
            fatal("make a terminal in the run", err);
        return exec.start(
            self.arena,
            path,
            self.args,
            &self.env,
            self.how(),
            self.lifeline.theirs,
            self.terminal != null,
        );
    }

    fn how(self: *const Guest) exec.How {
        const terminal = self.terminal orelse return .guest;
        for (terminal.streams, 0..) |is_terminal, stream|
            if (is_terminal) return .{ .guest_at_terminal = @intCast(stream) };
        return .guest;
    }

    fn filterCalls(self: *const Guest) !void {
        const filter = &(self.filter orelse return);
        try root_emulation.install(self.arena, .{
            .ids = self.ids,
            .uid = self.process.user.uid,
            .wanted = self.root_emulation,
        });
        seccomp.install(filter);
    }

    /// Of the container's devpts: its name in /dev/pts is valid there.
    fn makeTerminal(self: *Guest, terminal: *Terminal) !void {
        const flags: sys.O = .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };
        const devpts = try sys.openat(sys.at_fdcwd, "/dev/pts", flags, 0);
        const magic = 0x1cd1;
        if (try sys.fileSystem(devpts) != magic) return error.NODEV;
        const master = try terminal.makePair(devpts, "ptmx");
        try socket.send(self.lifeline.theirs, &.{terminal_made}, &.{master});
        try terminal.replaceStreams();
        for ([_]sys.fd_t{ devpts, master, terminal.slave }) |fd| if (fd > 2) sys.close(fd);
    }
};
