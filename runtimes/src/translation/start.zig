//! The start of a translated run: the runtime makes the tracer, and the program's process lets
//! itself be traced and installs the filter. From then on that process sees the image's files.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const bpf = @import("../base/bpf.zig");
const errno = @import("../base/errno.zig");
const filter = @import("filter.zig");
const log = @import("../base/log.zig");
const loader_plan = @import("../launcher/loader_plan.zig");
const own_process = @import("../process/own_process.zig");
const signals = @import("../process/signals.zig");
const socket = @import("../base/socket.zig");
const tracer = @import("tracer.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Guest = @import("guest.zig").Guest;
const Listener = @import("../base/notification.zig").Listener;
const Tracer = tracer.Tracer;
const world = @import("world.zig");
pub const Given = world.Given;

/// By the program's process: a page of its memory, and what the filter allows the loader.
const Hello = extern struct { scratch: u64, password: [2]u64 = undefined };

/// Between the tracer and the program's process.
pub const Channel = struct {
    tracers: sys.fd_t,
    programs: sys.fd_t,
    /// The runtime holds the listener, too, in a message that it does not read. If only the tracer
    /// had it, calls would get ENOSYS between its death and that of the program's processes.
    runtimes: sys.fd_t,
    holders: sys.fd_t,
    notifies: bool,

    /// Tests cannot choose a kernel without notifications.
    pub fn open(callers: *const Environment) !Channel {
        const ends = try socket.pair();
        const held = try socket.pair();
        const forced = callers.get("DOCKERC_FORCE") orelse "";
        return .{
            .tracers = ends[0],
            .programs = ends[1],
            .runtimes = held[0],
            .holders = held[1],
            .notifies = !std.mem.eql(u8, forced, "translate-stops"),
        };
    }

    /// By the program's process.
    pub fn enter(self: Channel) !void {
        sys.close(self.tracers);
        // Yama lets a process be traced by its ancestors alone, or by one that it names.
        const set_tracer = 0x5961_6d61;
        const anybody: usize = std.math.maxInt(usize);
        _ = sys.raw(.prctl, .{ set_tracer, anybody, 0, 0, 0 });
        const scratch = try sys.anonymous(loader_plan.scratch_size);
        // It must not be written for the first time by another process.
        scratch[0] = 0;
        var hello: Hello = .{ .scratch = @intFromPtr(scratch.ptr) };
        try sys.do(.getrandom, .{ &hello.password, @sizeOf([2]u64), 0 });
        // If the tracer is gone, it has said why.
        socket.send(self.programs, std.mem.asBytes(&hello), &.{}) catch sys.exit(log.failed);
        var attached: [1]u8 = undefined;
        const got = socket.receive(self.programs, &attached, true) catch sys.exit(log.failed);
        if (got.bytes.len == 0) sys.exit(log.failed);
        _ = sys.raw(.prctl, .{ set_tracer, 0, 0, 0, 0 });
        const no_new_privs = 38;
        try sys.do(.prctl, .{ no_new_privs, 1, 0, 0, 0 });
        try self.install(hello.password);
        // The runtime's working directory is the caller's.
        return sys.do(.chdir, .{"/"});
    }

    /// Another listener, or an old kernel, may keep us from notifications.
    fn install(self: Channel, password: [2]u64) !void {
        var code: [filter.length_max]bpf.Instruction = undefined;
        if (self.notifies) if (filter.make(&code, true, password).listen(true)) |listener| {
            try socket.send(self.holders, "l", &.{listener});
            return socket.send(self.programs, "l", &.{listener});
        } else |err| log.debug("no user notification: {s}", .{errno.text(err)});
        try socket.send(self.programs, "t", &.{});
        try filter.make(&code, false, password).install();
    }
};

/// Makes the tracer, which ends with the program. `refused` says what else could be done, if
/// tracing is refused.
pub fn begin(
    given: *const Given,
    channel: Channel,
    refused: *const fn (sys.Error) noreturn,
    why: sys.Error,
) !own_process.Process {
    log.note("user namespaces are refused here ({s}): this run is not isolated from your " ++
        "files, processes and network; dockerc vm isolates it (DOCKERC_LOG=quiet silences this)", .{
        errno.text(why),
    });
    switch (try own_process.clone(0)) {
        .parent => |process| {
            sys.close(channel.tracers);
            sys.close(channel.programs);
            sys.close(channel.holders);
            if (given.ports) |ports| ports.leave();
            return process;
        },
        .child => trace(given, channel, refused, why) catch |err|
            log.die("cannot translate paths: {s}", .{errno.text(err)}),
    }
}

fn trace(
    given: *const world.Given,
    channel: Channel,
    refused: *const fn (sys.Error) noreturn,
    why: sys.Error,
) !noreturn {
    const set_pdeathsig = 1;
    try sys.do(.prctl, .{ set_pdeathsig, signals.SIG.kill, 0, 0, 0 });
    if (sys.raw(.getppid, .{}) != given.runtime) sys.exit(log.failed);
    for ([_]sys.fd_t{ channel.programs, channel.runtimes, channel.holders }) |fd| sys.close(fd);
    // Made files have the mode masks of the program's processes.
    _ = sys.raw(.umask, .{0o022});
    raiseFileLimit();
    const guest = try world.make(given);
    var hello: Hello = undefined;
    const got = try socket.receive(channel.tracers, std.mem.asBytes(&hello), true);
    if (got.bytes.len != @sizeOf(Hello)) sys.exit(log.failed);
    guest.password = hello.password;
    tracer.attach(given.app) catch |err| {
        log.debug("ptrace: {s}", .{errno.text(err)});
        refused(why);
    };
    if (given.ports) |ports| ports.check(given.app);
    (try guest.threads.addFirst(given.app, given.identity())).process.scratch = hello.scratch;
    try socket.send(channel.tracers, "a", &.{});
    var how: [1]u8 = undefined;
    const answer = try socket.receive(channel.tracers, &how, true);
    if (answer.bytes.len == 0) sys.exit(log.failed);
    if (answer.files[0]) |fd| {
        const listener: Listener = .{ .fd = fd };
        listener.shareProcessor();
        guest.listener = listener;
        if (given.ports) |ports| ports.listener = listener;
    }
    try world.keepFiles(guest);
    var self: Tracer = .{ .guest = guest, .main = given.app, .queue = try .open() };
    self.run();
    sys.exit(0);
}

/// It holds directories open; the program's own limit is another.
fn raiseFileLimit() void {
    const files = 7;
    var limit: [2]u64 = undefined;
    sys.do(.prlimit64, .{ 0, files, 0, &limit }) catch return;
    limit[0] = limit[1];
    _ = sys.raw(.prlimit64, .{ 0, files, &limit, 0 });
}

/// Whether processes may be traced here: tried with a child (--dockerc-doctor).
pub fn probe() sys.Error!void {
    const ends = try socket.pair();
    const child = try sys.fork();
    if (child == 0) {
        const set_tracer = 0x5961_6d61;
        const anybody: usize = std.math.maxInt(usize);
        _ = sys.raw(.prctl, .{ set_tracer, anybody, 0, 0, 0 });
        sys.close(ends[0]);
        var byte: [1]u8 = undefined;
        _ = socket.receive(ends[1], &byte, true) catch {};
        sys.exit(0);
    }
    sys.close(ends[1]);
    const outcome = tracer.attach(child);
    sys.close(ends[0]);
    // Its end is reported to the tracer, which is its parent, too.
    while (sys.wait(child, 0)) |got| {
        if (got.status & 0xff != 0x7f) break;
        tracer.letGoOn(child) catch break;
    } else |_| {}
    return outcome;
}
