//! The process that serves a shared mount. It lives in the user namespace of the runs and in a
//! mount namespace with nothing but the payload, and ends with its keeper. No app can trace it: it
//! is in no PID namespace of theirs and not dumpable (prctl(2)), so that CAP_SYS_PTRACE in the
//! user namespace that they share does not suffice.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const messages = @import("messages.zig");
const payload_mount = @import("../rootfs/payload_mount.zig");
const socket = @import("../base/socket.zig");
const startup = @import("../fuse/prefetch/startup.zig");
const streams = @import("streams.zig");
const userns = @import("../namespaces/userns.zig");
const workspace = @import("../rootfs/workspace.zig");
const CpuPolicy = @import("../process/cpu_policy.zig").CpuPolicy;
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const Owners = @import("../namespaces/owners.zig").Owners;
const Quiesce = @import("../process/quiesce.zig").Quiesce;
const Reply = messages.Reply;
const Request = @import("request.zig").Request;
const Server = @import("../fuse/server.zig").Server;

/// `lifeline` is the keeper's.
pub fn run(request: *const Request, lifeline: sys.fd_t) noreturn {
    const self: PayloadServer = .{ .request = request, .lifeline = lifeline };
    self.serve() catch |err| {
        const reply: Reply = .{ .kind = .unavailable, .failure = errno.numberOf(err) };
        socket.send(lifeline, std.mem.asBytes(&reply), &.{}) catch {};
        sys.exit(0);
    };
    // Nothing is sent to it: this is the keeper's end.
    var buf: [1]u8 = undefined;
    _ = socket.receive(lifeline, &buf, true) catch {};
    sys.exit(0);
}

const PayloadServer = struct {
    request: *const Request,
    lifeline: sys.fd_t,

    fn serve(self: *const PayloadServer) !void {
        const request = self.request;
        const arena = request.arena;
        const caller: userns.Caller = .begin(
            arena,
            request.callers,
            request.ids.range,
            request.ids.mapped,
        );
        const entered = userns.enter(arena, request.callers, caller, .{
            .uid = request.ids.user.uid,
            .gid = request.ids.user.gid,
            .mapped = request.ids.mapped,
            .ipc = false,
            .uts = false,
            .network = false,
            .optional = true,
        });
        const mounts = entered.mounts orelse return error.PERM;
        const ids = entered.settle(arena);
        try workspace.make(mounts);
        // From here on nothing is said: threads would hold the caller's standard error.
        log.debugging = false;
        try streams.discard(&.{2});
        const cpus = try arena.create(CpuPolicy);
        cpus.* = .init();
        _ = try startup.begin(arena, request.reader, cpus, request.program);
        try self.mount(mounts, cpus, ids);
        const device = messages.deviceOf(try sys.stat(sys.at_fdcwd, "lower"));
        const files = [_]sys.fd_t{
            try namespace("/proc/self/ns/mnt"),
            try namespace("/proc/self/ns/user"),
        };
        try keepOnlyPayload(mounts);
        const set_dumpable = 4;
        try sys.do(.prctl, .{ set_dumpable, 0, 0, 0, 0 });
        // Null before they are settled: a user namespace of our own.
        const own_user = entered.ids == null;
        const reply: Reply = .{ .kind = .ready, .ids = @backingInt(ids), .device = device };
        try socket.send(
            self.lifeline,
            std.mem.asBytes(&reply),
            files[0..if (own_user) 2 else 1],
        );
        sys.closeAllBut(&.{self.lifeline});
    }

    fn mount(
        self: *const PayloadServer,
        mounts: MountNamespace,
        cpus: *CpuPolicy,
        ids: userns.Ids,
    ) !void {
        const request = self.request;
        const arena = request.arena;
        const owners = try arena.create(Owners);
        owners.* = try .find(arena, ids, request.ids.user.uid, request.ids.user.gid);
        const quiesce = try arena.create(Quiesce);
        quiesce.* = .{};
        const server = try arena.create(Server);
        server.* = .{
            .arena = arena,
            .reader = request.reader,
            .owners = owners,
            .cpus = cpus,
            .quiesce = quiesce,
            .start_list = request.program.start_list,
        };
        return payload_mount.mount(mounts, server);
    }
};

fn namespace(path: [*:0]const u8) sys.Error!sys.fd_t {
    return sys.openat(sys.at_fdcwd, path, .{ .CLOEXEC = true }, 0);
}

/// The machine's file systems could not be unmounted as long as we had them. On an initramfs they
/// cannot be left (pivot_root(2)), and no mount is shared.
fn keepOnlyPayload(mounts: MountNamespace) sys.Error!void {
    try mounts.pivotRoot();
    try mounts.unmountWorkingDirectory();
    return sys.do(.chdir, .{"/"});
}
