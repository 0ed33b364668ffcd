//! How the program's ports are reached: on the machine's network, where the runtime answers for
//! them (ports/), or in a network of the run's own.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Ids = @import("../namespaces/userns.zig").Ids;
const Options = @import("../cli/options.zig").Options;
const Port = @import("../config/ports.zig").Port;
const PortServer = @import("ports/server.zig").Server;
const PrivateNetwork = @import("private_network.zig").PrivateNetwork;
const Watchdog = @import("watchdog.zig").Watchdog;

pub const Network = struct {
    private: ?PrivateNetwork = null,
    ports: ?*PortServer = null,
    published: []const Port = &.{},

    /// Before any namespace is entered.
    pub fn begin(
        arena: std.mem.Allocator,
        options: *const Options,
        callers: *const Environment,
    ) !Network {
        return .{ .private = if (options.isPrivate()) try .begin(arena, callers) else null };
    }

    /// While we are in the machine's network.
    pub fn publish(self: *Network, arena: std.mem.Allocator, ports: []const Port) !void {
        self.published = ports;
        if (self.private) |*private| try private.publish(arena, ports);
    }

    /// Once our namespaces are there, and their ids mapped.
    pub fn connect(self: *const Network, arena: std.mem.Allocator, ids: Ids) !void {
        if (self.private) |*private| try private.connect(arena, ids);
    }

    /// Before the app goes on, and not earlier: threads of the start would hold the ports, too.
    pub fn serve(
        self: *Network,
        arena: std.mem.Allocator,
        proc: sys.fd_t,
        watchdog: Watchdog,
    ) !void {
        if (self.private) |*private| {
            try watchdog.willEnd(private.process);
            private.wait();
        } else self.ports = try .begin(arena, proc, self.published);
    }

    /// To another process of ours.
    pub fn leavePorts(self: *Network) ?*PortServer {
        defer self.ports = null;
        return self.ports;
    }

    pub fn end(self: *const Network) void {
        if (self.private) |*private| private.end();
    }
};
