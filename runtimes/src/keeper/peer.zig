//! Proof that the process at the other end of a socket is a runtime of this very file, of the same
//! user, and in no container: the same executable by inode, in our own user and PID namespaces. An
//! app that was given the directory of the sockets could put one of its own there, or connect.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const socket = @import("../base/socket.zig");
const text = @import("../base/text.zig");
const namespace_name = @import("../process/namespace_name.zig");

/// What a process and its peer have in common.
pub const Kin = struct {
    uid: u32,
    exe: Exe,
    /// Its user namespace and PID namespace.
    namespaces: [2]namespace_name.Name,

    const Exe = struct { inode: u64, major: u32, minor: u32 };

    /// Before namespaces are entered.
    pub fn ofSelf() sys.Error!Kin {
        const uid: u32 = @intCast(sys.raw(.geteuid, .{}));
        return of(uid, "self");
    }

    fn of(uid: u32, process: []const u8) sys.Error!Kin {
        var buf: Path = undefined;
        const st = try sys.stat(sys.at_fdcwd, path(&buf, process, "exe"));
        return .{
            .uid = uid,
            .exe = .{ .inode = st.ino, .major = st.dev_major, .minor = st.dev_minor },
            .namespaces = .{
                try namespace_name.of(sys.at_fdcwd, path(&buf, process, "ns/user")),
                try namespace_name.of(sys.at_fdcwd, path(&buf, process, "ns/pid")),
            },
        };
    }

    const Path = [64:0]u8;

    fn path(buf: *Path, process: []const u8, name: []const u8) [*:0]const u8 {
        buf[text.print(buf, "/proc/{s}/{s}", .{ process, name }).len] = 0;
        return buf;
    }

    /// The process; PERM if it is not proven to be kin.
    pub fn prove(self: *const Kin, connection: sys.fd_t) sys.Error!i32 {
        const peer = try socket.peerOf(connection);
        if (peer.uid != self.uid or peer.pid <= 0) return error.PERM;
        var digits: [16]u8 = undefined;
        const theirs = of(peer.uid, text.print(&digits, "{d}", .{peer.pid})) catch
            return error.PERM;
        return if (std.meta.eql(self.*, theirs)) peer.pid else error.PERM;
    }
};

test "a process is its own kin, and nobody else's" {
    const ends = try socket.pair();
    defer for (ends) |end| sys.close(end);
    var self: Kin = try .ofSelf();
    const pid: i32 = @intCast(sys.raw(.getpid, .{}));
    try std.testing.expectEqual(pid, try self.prove(ends[0]));
    self.exe.inode += 1;
    try std.testing.expectError(error.PERM, self.prove(ends[0]));
    self.exe.inode -= 1;
    self.namespaces[1][5] += 1;
    try std.testing.expectError(error.PERM, self.prove(ends[0]));
    self.namespaces[1][5] -= 1;
    self.uid += 1;
    try std.testing.expectError(error.PERM, self.prove(ends[0]));
}
