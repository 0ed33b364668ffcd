//! What a service manager passes to the app: sockets that it has opened (sd_listen_fds(3)), and the
//! socket for notifications (sd_notify(3)).
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const quantity = @import("../cli/quantity.zig");
const text = @import("../base/text.zig");
const Environment = @import("../cli/environment.zig").Environment;

const sockets_max = 64;
/// The first of them.
pub const first_socket = 3;
const notify_in_container = "/run/notify/notify.sock";

pub const Service = struct {
    /// Open descriptors from `first_socket` on.
    sockets: u8 = 0,
    /// A path on the machine.
    notify: ?[]const u8 = null,

    /// Before any file of ours is open: it could be taken for one of them.
    pub fn of(callers: *const Environment) Service {
        var self: Service = .{};
        const pid = quantity.number(u32, callers.get("LISTEN_PID") orelse "");
        if (pid != null and pid.? == sys.raw(.getpid, .{}))
            self.sockets = countSockets(callers.get("LISTEN_FDS") orelse "");
        if (callers.get("NOTIFY_SOCKET")) |path| if (isSocket(path)) {
            self.notify = path;
        };
        return self;
    }

    fn countSockets(given: []const u8) u8 {
        const count = quantity.number(u8, given) orelse sockets_max + 1;
        if (count > sockets_max)
            log.die("LISTEN_FDS={s}: at most {d} descriptors can be passed on", .{
                given,
                @as(u32, sockets_max),
            });
        for (first_socket..first_socket + count) |fd| {
            const mode = sys.fdMode(@intCast(fd)) catch
                log.die("LISTEN_FDS={s}, but descriptor {d} is not open", .{ given, fd });
            if (sys.isDirectory(mode)) log.die("descriptor {d} of LISTEN_FDS is a directory: " ++
                "the app would leave its root by it", .{fd});
        }
        return count;
    }

    /// Abstract ones are out of the app's reach, and a colon would end the path of a volume.
    fn isSocket(path: []const u8) bool {
        if (path.len == 0 or path[0] != '/' or std.mem.findScalar(u8, path, ':') != null)
            return false;
        var name: [std.posix.PATH_MAX:0]u8 = undefined;
        if (path.len > name.len) return false;
        @memcpy(name[0..path.len], path);
        name[path.len] = 0;
        const st = sys.stat(sys.at_fdcwd, &name) catch return false;
        return st.mode & 0o170000 == 0o140000;
    }

    /// As an option of the run.
    pub fn volume(self: Service, arena: std.mem.Allocator) !?[]const u8 {
        const path = self.notify orelse return null;
        return try text.alloc(arena, "{s}:" ++ notify_in_container, .{path});
    }

    /// With --init the app is the second process.
    pub fn extend(
        self: Service,
        arena: std.mem.Allocator,
        env: *Environment,
        callers: *const Environment,
        init: bool,
    ) !void {
        if (self.notify != null) try env.set(arena, "NOTIFY_SOCKET", notify_in_container);
        if (self.sockets == 0) return;
        try env.set(arena, "LISTEN_PID", if (init) "2" else "1");
        for ([_][]const u8{ "LISTEN_FDS", "LISTEN_FDNAMES" }) |name|
            if (callers.get(name)) |value| try env.set(arena, name, value);
    }

    /// Once the app has them.
    pub fn close(self: Service) void {
        if (self.sockets > 0) sys.closeRange(first_socket, first_socket + self.sockets - 1);
    }
};
