//! Fields of /proc/PID/status (proc_pid_status(5)).
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const quantity = @import("../cli/quantity.zig");
const text = @import("../base/text.zig");

pub const Status = struct {
    /// A process may be in many groups, and the masks of signals come after them.
    buf: [16384]u8 = undefined,
    len: usize = 0,

    /// Empty if there is no such thread. `proc` is a directory of /proc.
    pub noinline fn read(self: *Status, proc: sys.fd_t, tid: i32) void {
        var path: [32:0]u8 = undefined;
        path[text.print(&path, "{d}/status", .{tid}).len] = 0;
        self.readFrom(proc, &path);
    }

    pub fn readOwn(self: *Status) void {
        self.readFrom(sys.at_fdcwd, "/proc/self/status");
    }

    noinline fn readFrom(self: *Status, dir: sys.fd_t, path: [*:0]const u8) void {
        self.len = if (sys.readStart(dir, path, &self.buf)) |lines| lines.len else |_| 0;
    }

    /// A number, if it has that field.
    pub noinline fn number(self: *const Status, name: []const u8) ?i32 {
        return quantity.number(i32, self.field(name) orelse return null);
    }

    /// A set of signals or capabilities, which is empty if it does not have that field.
    pub noinline fn set(self: *const Status, name: []const u8) u64 {
        return std.fmt.parseInt(u64, self.field(name) orelse return 0, 16) catch 0;
    }

    /// Whether it has ended, and its parent has not waited for it yet.
    pub fn isZombie(self: *const Status) bool {
        const state = self.field("State") orelse return false;
        return state.len > 0 and state[0] == 'Z';
    }

    /// Each begins a line: the first one is a name that the process has given itself.
    noinline fn field(self: *const Status, name: []const u8) ?[]const u8 {
        var lines = std.mem.tokenizeScalar(u8, self.buf[0..self.len], '\n');
        while (lines.next()) |line| {
            const rest = std.mem.cutPrefix(u8, line, name) orelse continue;
            return std.mem.cutPrefix(u8, rest, ":\t") orelse continue;
        }
        return null;
    }
};

test "fields of /proc/PID/status" {
    var status: Status = .{};
    const lines = "Name:\tPPid:\t1\nState:\tZ (zombie)\nTgid:\t7\nPPid:\t12\nGroups:\t1 2 \n" ++
        "SigIgn:\t0000000000000001\nSigCgt:\t0000000180004a02\n";
    @memcpy(status.buf[0..lines.len], lines);
    status.len = lines.len;
    try std.testing.expectEqual(12, status.number("PPid"));
    try std.testing.expectEqual(7, status.number("Tgid"));
    try std.testing.expectEqual(null, status.number("Pid"));
    try std.testing.expectEqual(1, status.set("SigIgn"));
    try std.testing.expectEqual(0x180004a02, status.set("SigCgt"));
    try std.testing.expectEqual(0, status.set("SigNone"));
    try std.testing.expect(status.isZombie());
}
