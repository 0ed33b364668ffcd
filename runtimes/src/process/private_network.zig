//! --network private: a network namespace that pasta(1) connects with the machine's network. pasta
//! is a process beside the run, outside of its namespaces, and gets nothing of the image's choice.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const own_process = @import("own_process.zig");
const quantity = @import("../cli/quantity.zig");
const reservation = @import("ports/reservation.zig");
const signals = @import("signals.zig");
const socket = @import("../base/socket.zig");
const text = @import("../base/text.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Ids = @import("../namespaces/userns.zig").Ids;
const Port = @import("../config/ports.zig").Port;
const Process = own_process.Process;
const name_server = @import("../config/etc_files.zig").private_name_server;

/// Not the machine's own address, which pasta takes by default: the program could not reach the
/// machine. slirp4netns(1) has the same.
const address = "10.0.2.100";
const gateway = "10.0.2.2";

const arguments_max = 64 << 10;

pub const PrivateNetwork = struct {
    process: Process,
    /// To the process until it executes pasta.
    control: sys.fd_t,
    /// What pasta writes: its process id when the network is there, and errors.
    output: sys.fd_t,
    /// Options of pasta.
    ports: []const []const u8 = &.{},

    /// Before any namespace is entered: pasta is in those of the caller.
    pub fn begin(arena: std.mem.Allocator, callers: *const Environment) !PrivateNetwork {
        const runtime: i32 = @intCast(sys.raw(.getpid, .{}));
        const program = callers.findProgram(arena, "pasta") orelse
            log.die("--network private needs pasta, which is not installed (package passt); " ++
                "--publish works without it, on the machine's network", .{});
        const ends = try socket.pair();
        var pipe: [2]sys.fd_t = undefined;
        // Not blocking: nobody reads what it writes later.
        const flags: u32 = @bitCast(sys.O{ .CLOEXEC = true, .NONBLOCK = true });
        try sys.do(.pipe2, .{ &pipe, flags });
        switch (try own_process.clone(0)) {
            .parent => |process| {
                sys.close(ends[1]);
                sys.close(pipe[1]);
                return .{ .process = process, .control = ends[0], .output = pipe[0] };
            },
            .child => become(arena, program, runtime, ends[1], pipe[1]) catch {
                sys.exit(log.failed);
            },
        }
    }

    /// Keys of the caller's terminal are not for it, and it does not outlive the runtime.
    fn become(
        arena: std.mem.Allocator,
        program: [:0]const u8,
        runtime: i32,
        control: sys.fd_t,
        output: sys.fd_t,
    ) !noreturn {
        try sys.do(.setsid, .{});
        const set_pdeathsig = 1;
        try sys.do(.prctl, .{ set_pdeathsig, signals.SIG.kill, 0, 0, 0 });
        sys.closeAllBut(&.{ control, output });
        const buf = try arena.alloc(u8, arguments_max);
        // Nothing: the runtime has ended.
        const got = try socket.receive(control, buf, true);
        if (got.bytes.len == 0) sys.exit(log.failed);
        var argv: std.ArrayList(?[*:0]const u8) = .empty;
        try argv.append(arena, program);
        var words = std.mem.splitScalar(u8, got.bytes, 0);
        while (words.next()) |word| try argv.append(arena, try arena.dupeSentinel(u8, word, 0));
        try argv.append(arena, null);
        // By a descriptor: as root it drops the capability to look at other processes.
        var name: [32:0]u8 = undefined;
        const path = text.print(&name, "/proc/{d}/ns/net", .{runtime});
        name[path.len] = 0;
        const network = try sys.openat(sys.at_fdcwd, &name, .{ .CLOEXEC = true }, 0);
        // They may be standard streams themselves, if the caller has closed those.
        const said = try sys.dupAbove(output);
        for ([_]sys.fd_t{ try sys.dupAbove(network), said, said }, 0..) |from, stream|
            try sys.do(.dup3, .{ from, @as(sys.fd_t, @intCast(stream)), 0 });
        const none = [_:null]?[*:0]const u8{};
        try sys.do(.execve, .{ program.ptr, argv.items.ptr, &none });
        sys.exit(log.failed);
    }

    /// While we are in the machine's network.
    pub fn publish(self: *PrivateNetwork, arena: std.mem.Allocator, ports: []const Port) !void {
        self.ports = try std.mem.concat(arena, []const u8, &.{
            try published(arena, .tcp, "--tcp-ports", ports),
            try published(arena, .udp, "--udp-ports", ports),
        });
    }

    /// Once our namespaces are there, and their ids mapped.
    pub fn connect(self: *const PrivateNetwork, arena: std.mem.Allocator, ids: Ids) !void {
        var words: std.ArrayList([]const u8) = .empty;
        const pid: i32 = @intCast(sys.raw(.getpid, .{}));
        try words.appendSlice(arena, &.{
            "--foreground",    "--quiet",
            "--config-net",    "--no-map-gw",
            "--address",       address,
            "--netmask",       "24",
            "--gateway",       gateway,
            "--dns-forward",   name_server,
            "--tcp-ns",        "none",
            "--udp-ns",        "none",
            "--netns",         "/proc/self/fd/0",
            "--no-netns-quit",
            // Where it writes its process id when all is ready.
            "--pid",
            "/proc/self/fd/1",
        });
        if (ids == .host or ids == .outer)
            // It would become nobody, who may not enter our namespace.
            try words.appendSlice(arena, &.{ "--netns-only", "--runas", "0" })
        else
            try words.appendSlice(arena, &.{
                "--userns", try text.alloc(arena, "/proc/{d}/ns/user", .{pid}),
            });
        try words.appendSlice(arena, self.ports);
        const line = try std.mem.join(arena, "\x00", words.items);
        try socket.send(self.control, line, &.{});
    }

    /// Waits until the program can use the network. An error ends the start.
    pub fn wait(self: *const PrivateNetwork) void {
        var buf: [4096]u8 = undefined;
        var len: usize = 0;
        // It takes a tenth of a second.
        const patience: linux.timespec = .{ .sec = 10, .nsec = 0 };
        while (len < buf.len) {
            var ready: linux.pollfd = .{ .fd = self.output, .events = linux.POLL.IN, .revents = 0 };
            var left = patience;
            if (sys.raw(.ppoll, .{ &ready, 1, &left, 0, 0 }) == 0)
                log.die("--network private: pasta is not ready after 10 seconds", .{});
            const got = sys.call(.read, .{ self.output, buf[len..].ptr, buf.len - len }) catch |err|
                switch (err) {
                    error.AGAIN, error.INTR => continue,
                    else => 0,
                };
            if (got == 0) break;
            len += got;
            var lines = std.mem.splitScalar(u8, buf[0..len], '\n');
            while (lines.next()) |line| if (quantity.number(i32, line) == self.process.pid and
                lines.peek() != null) return;
        }
        const said = std.mem.trim(u8, buf[0..len], " \n");
        log.die("--network private: pasta has failed: {s}", .{
            if (said.len > 0) said else "it says nothing",
        });
    }

    /// By the runtime, at the end of the run.
    pub fn end(self: *const PrivateNetwork) void {
        self.process.kill(signals.SIG.kill);
        _ = sys.wait(self.process.pid, 0) catch {};
    }
};

/// Options of pasta: [ADDRESS/]PORT[:PORT INSIDE].
fn published(
    arena: std.mem.Allocator,
    protocol: @FieldType(Port, "protocol"),
    option: []const u8,
    ports: []const Port,
) ![]const []const u8 {
    var words: std.ArrayList([]const u8) = .empty;
    for (ports) |*port| if (port.protocol == protocol) {
        // So that a port that is taken is told as without a private network.
        const held = reservation.hold(port) catch |err| reservation.refuse(port, err);
        sys.close(held.socket);
        if (port.first != port.last or port.first == 0) reservation.tell(port, held.number);
        const ip = port.address;
        const at = try text.alloc(arena, "{s}{s}{d}:{d}", .{
            ip,
            @as([]const u8, if (ip.len > 0) "/" else ""),
            held.number,
            port.inside,
        });
        try words.appendSlice(arena, &.{ option, at });
    };
    return if (words.items.len > 0) words.items else arena.dupe([]const u8, &.{ option, "none" });
}
