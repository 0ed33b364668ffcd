//! What the tracer knows of its run.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const Listener = @import("../base/notification.zig").Listener;
const PortServer = @import("../process/ports/server.zig").Server;
const Identity = @import("identity.zig").Identity;
const Resolver = @import("resolver.zig").Resolver;
const Threads = @import("threads.zig").Threads;
const Tree = @import("tree.zig").Tree;

/// user_namespaces(7): who owns files of users that do not exist.
const nobody = 65534;

pub const Guest = struct {
    tree: Tree,
    threads: Threads,
    resolver: Resolver,
    /// The caller's ids, and those that the program sees in their place.
    caller: Pair,
    shown: Pair,
    /// Given for the run (--hostname).
    hostname: ?[]const u8,
    /// Where notifications come from; null if every call stops the thread.
    listener: ?Listener = null,
    /// The program that is executed in place of others.
    loader: sys.fd_t,
    /// What its calls have that the filter allows.
    password: [2]u64 = undefined,
    umask: u32 = 0o022,
    /// Whether nothing in the tree may change (--read-only), once the program is executed.
    readonly: bool = false,
    told_of_tracing: bool = false,
    /// Null if no port is published.
    ports: ?*PortServer,

    pub const Pair = struct { uid: u32, gid: u32 };

    /// Files made for a process have its mode mask.
    pub fn setUmask(self: *Guest, mask: u32) void {
        if (self.umask == mask) return;
        self.umask = mask;
        _ = sys.raw(.umask, .{mask});
    }

    pub fn shownUser(self: *const Guest, uid: u32) u32 {
        return if (uid == self.caller.uid) self.shown.uid else nobody;
    }

    pub fn shownGroup(self: *const Guest, gid: u32) u32 {
        return if (gid == self.caller.gid) self.shown.gid else nobody;
    }
};
