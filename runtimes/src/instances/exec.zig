//! --dockerc-exec: a program in a run, as docker exec has it. What it gets is made of the same file
//! and the same command line as the run: the app's own process may have changed since, and nobody
//! can read its system call filter. Files that options name are read again.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const apply_options = @import("../config/apply_options.zig");
const capabilities = @import("../base/capabilities.zig");
const cli = @import("../cli/options.zig");
const config = @import("../config/spec.zig");
const environment = @import("../container/exec.zig").environment;
const id_map = @import("../namespaces/id_map.zig");
const instance_file = @import("instance.zig");
const own_process = @import("../process/own_process.zig");
const seccomp = @import("../container/seccomp/filter.zig");
const signals = @import("../process/signals.zig");
const standard_input = @import("../process/standard_input.zig");
const users = @import("../config/users.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Guest = @import("guest.zig").Guest;
const Ids = @import("../namespaces/userns.zig").Ids;
const Instance = instance_file.Instance;
const Namespaces = @import("enter.zig").Namespaces;
const Outputs = @import("../process/standard_output.zig").Outputs;
const PortServer = @import("../process/ports/server.zig").Server;
const ProcessDir = @import("process_dir.zig").ProcessDir;
const Reader = @import("../squashfs/reader.zig").Reader;
const Session = @import("session.zig").Session;
const Terminal = @import("../process/terminal.zig").Terminal;

const usage = "write --dockerc-exec [OPTION...] [NAME|PID] COMMAND [ARGUMENT...]";

/// What the caller asks for.
const Request = struct {
    instance: Instance,
    options: cli.Options,

    /// A first word that no run is called is the command's, and the run is the only one.
    fn of(
        arena: std.mem.Allocator,
        instances: []const Instance,
        words: []const []const u8,
    ) !Request {
        const first = try parse(arena, words);
        const before = words.len - first.args.len;
        const ended = before > 0 and std.mem.eql(u8, words[before - 1], "--");
        const names_one = !ended and first.args.len > 0 and
            instance_file.isOne(instances, first.args[0]);
        const given = if (names_one) try parse(arena, first.args[1..]) else first;
        if (given.args.len == 0) log.die("no command: {s}", .{usage});
        return .{
            .instance = try instance_file.choose(
                arena,
                instances,
                if (names_one) first.args[0] else null,
            ),
            .options = .{
                .given = if (names_one)
                    try std.mem.concat(arena, cli.Given, &.{ first.given, given.given })
                else
                    first.given,
                .args = given.args,
            },
        };
    }

    fn parse(arena: std.mem.Allocator, words: []const []const u8) !cli.Options {
        var problem: cli.Problem = .{};
        const options = cli.parse(arena, .docker, &.{}, words, &problem) catch |err| switch (err) {
            error.OutOfMemory => |e| return e,
            error.Usage => log.die("{s}: {s}", .{ problem.word, usage }),
        };
        for (options.given) |given| switch (given.flag) {
            .env, .env_file, .user, .workdir, .group_add, .nothing => {},
            else => log.die("--dockerc-exec takes -e, --env-file, -u, --group-add, -w, -i and " ++
                "-t alone: {s}", .{usage}),
        };
        return options;
    }
};

pub const Entry = struct {
    arena: std.mem.Allocator,
    /// /proc of the machine.
    proc: sys.fd_t,
    reader: *Reader,
    spec: *config.Spec,
    callers: *const Environment,
    /// Outlive this structure's copies.
    terminal: ?Terminal = null,
    outputs: Outputs = .{},
    ports: ?*PortServer = null,

    /// Returns the exit status.
    pub fn run(
        self: *Entry,
        instances: []const Instance,
        words: []const []const u8,
    ) !u8 {
        const request: Request = try .of(self.arena, instances, words);
        const instance = &request.instance;
        const own: u32 = @intCast(sys.raw(.geteuid, .{}));
        if (instance.uid != own) log.die("this run is user {d}'s: enter it as that user " ++
            "(setpriv --reuid {d} --clear-groups FILE --dockerc-exec ...)", .{
            instance.uid,
            instance.uid,
        });
        signals.resetSigchld();
        const runtime = instance.runtime.open(self.proc) catch ended(instance);
        const app = instance.app.open(self.proc) catch ended(instance);
        const namespaces = Namespaces.open(self.proc, runtime, app) catch |err| switch (err) {
            error.SRCH, error.NOENT => ended(instance),
            else => log.die("cannot open the namespaces of {s}: {s}", .{
                instance.name,
                errno.text(err),
            }),
        };
        if (!namespaces.areContainer(runtime))
            log.die("{s} runs without namespaces of its own, and cannot be entered", .{
                instance.name,
            });
        const ids = try idsOf(self.arena, runtime, &namespaces);
        var guest = try self.describe(&request, runtime, namespaces, ids);
        return self.start(&guest, ids);
    }

    fn ended(instance: *const Instance) noreturn {
        log.die("{s} has ended", .{instance.name});
    }

    fn idsOf(arena: std.mem.Allocator, runtime: ProcessDir, namespaces: *const Namespaces) !Ids {
        const map = try id_map.Map.ofProcess(arena, runtime.fd, "uid_map") orelse
            return error.SRCH;
        if (map.count() == 1) return .single;
        if (!namespaces.shareIds()) return .range;
        return if (map.isAll()) .host else .outer;
    }

    /// The options of the run, and then those of this program.
    fn describe(
        self: *Entry,
        request: *const Request,
        runtime: ProcessDir,
        namespaces: Namespaces,
        ids: Ids,
    ) !Guest {
        const arena = self.arena;
        const spec = self.spec;
        const image: users.Image = .{
            .arena = arena,
            .reader = self.reader,
            .root = spec.rootPath(),
        };
        const host_access = try self.applyOfRun(&request.instance, runtime, image);
        if (host_access.ports.len > 0 and !request.instance.options.isPrivate())
            self.ports = try PortServer.ofRun(arena, self.proc, runtime.fd);
        try apply_options.applyToProcess(arena, &spec.process, &request.options, image);
        const sets = spec.process.capabilities;
        const bounding = if (sets) |given| capabilities.setOf(given.bounding) else 0;
        const options = &request.instance.options;
        return .{
            .arena = arena,
            .proc = self.proc,
            .runtime = runtime,
            .namespaces = namespaces,
            .limited = options.last(.memory) != null or options.last(.cpus) != null or
                options.last(.pids_limit) != null,
            .process = &spec.process,
            .args = request.options.args,
            .env = try environment(arena, spec, &request.options, self.callers),
            .publishes = self.ports != null,
            .filter = if (host_access.unconfined)
                null
            else
                try seccomp.prepare(arena, spec.linux.seccomp, bounding),
            .root_emulation = host_access.root_emulation,
            .ids = ids,
            .signal_mask = undefined,
            .ignored = signals.ignored(),
            .terminal = null,
            .outputs = &self.outputs,
            .lifeline = try .open(),
        };
    }

    /// Relative names of files are the run's. The directory that it was started in is known by the
    /// shell's variable alone.
    fn applyOfRun(
        self: *Entry,
        instance: *const Instance,
        runtime: ProcessDir,
        image: users.Image,
    ) !apply_options.HostAccess {
        const arena = self.arena;
        const flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
        const here = try sys.openat(sys.at_fdcwd, ".", flags, 0);
        defer sys.close(here);
        var theirs: Environment = .{};
        for (try runtime.words(arena, "environ")) |word| {
            // That of our terminal.
            if (std.mem.startsWith(u8, word, "TERM=")) continue;
            try theirs.words.append(arena, word);
        }
        if (theirs.get("PWD")) |directory| {
            const path = try arena.dupeSentinel(u8, directory, 0);
            sys.do(.chdir, .{path.ptr}) catch |err| log.debug("{s}: {s}", .{
                path,
                errno.text(err),
            });
        }
        var given: std.ArrayList(cli.Given) = .empty;
        for (instance.options.given) |each| try given.append(arena, each);
        const options: cli.Options = .{ .given = given.items, .args = &.{} };
        const host_access = try apply_options.apply(arena, self.spec, &options, &theirs, image);
        const env = try environment(arena, self.spec, &options, &theirs);
        const words = try arena.alloc([]const u8, env.words.items.len);
        for (words, env.words.items) |*word, each| word.* = each;
        self.spec.process.env = words;
        try sys.do(.fchdir, .{here});
        return host_access;
    }

    fn start(self: *Entry, guest: *Guest, ids: Ids) !u8 {
        guest.signal_mask = try signals.block(guest.ignored);
        const input = try standard_input.guard(null, @intCast(sys.raw(.geteuid, .{})));
        // In a user namespace of the run the app's user is the caller.
        if (guest.namespaces.shareIds() and ids != .single)
            self.outputs = try .open(guest.process.user.uid);
        self.terminal = .find();
        if (self.terminal) |*terminal| guest.terminal = terminal;
        switch (try own_process.clone(0)) {
            .child => guest.enter(),
            .parent => |entry| {
                sys.close(guest.lifeline.theirs);
                self.outputs.closeEnds();
                if (input) |given| try given.begin(self.arena);
                var session: Session = .{
                    .entry = entry,
                    .lifeline = guest.lifeline.ours,
                    .terminal = guest.terminal,
                    .outputs = &self.outputs,
                    .queue = try .open(),
                    .ports = self.ports,
                };
                return session.run();
            },
        }
    }
};
