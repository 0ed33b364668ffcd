//! A process of the machine by its directory in /proc (proc(5)). The open directory stays that
//! process's: when it has ended, reading in it fails, even if its number is used again.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const quantity = @import("../cli/quantity.zig");
const text = @import("../base/text.zig");

/// More than the kernel lets a command line or an environment have (execve(2)).
const words_max = 8 << 20;

pub const ProcessDir = struct {
    pid: i32,
    fd: sys.fd_t,

    /// `proc` is the machine's /proc.
    pub fn open(proc: sys.fd_t, pid: i32) sys.Error!ProcessDir {
        var name: [16:0]u8 = undefined;
        const digits = text.print(&name, "{d}", .{pid});
        name[digits.len] = 0;
        const flags: sys.O = .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };
        return .{ .pid = pid, .fd = try sys.openat(proc, &name, flags, 0) };
    }

    pub fn close(self: ProcessDir) void {
        sys.close(self.fd);
    }

    /// The file that it executes. Only who may trace the process is told (ptrace(2)).
    pub fn executable(self: ProcessDir) sys.Error!Identity {
        return .of(self.fd, "exe");
    }

    /// One of its namespaces, for setns(2).
    pub fn namespace(self: ProcessDir, name: [*:0]const u8) sys.Error!sys.fd_t {
        var path: [32:0]u8 = undefined;
        const whole = text.print(&path, "ns/{s}", .{name});
        path[whole.len] = 0;
        return sys.openat(self.fd, &path, .{ .CLOEXEC = true }, 0);
    }

    /// A descriptor for signals and for its end: of this process, for the directory still is its.
    pub fn handle(self: ProcessDir) sys.Error!sys.fd_t {
        const fd: sys.fd_t = @intCast(try sys.call(.pidfd_open, .{ self.pid, 0 }));
        errdefer sys.close(fd);
        _ = try self.status();
        return fd;
    }

    /// Words that end with a zero byte each, as in cmdline and environ.
    pub fn words(
        self: ProcessDir,
        arena: std.mem.Allocator,
        file: [*:0]const u8,
    ) ![]const [:0]const u8 {
        const memory = try sys.anonymous(words_max);
        defer sys.release(memory);
        var rest: []const u8 = try arena.dupe(u8, try sys.readFile(self.fd, file, memory));
        var list: std.ArrayList([:0]const u8) = .empty;
        while (std.mem.findScalar(u8, rest, 0)) |end| {
            try list.append(arena, rest[0..end :0]);
            rest = rest[end + 1 ..];
        }
        return list.items;
    }

    pub const Status = struct {
        parent: i32,
        /// In ticks of a hundredth of a second since the machine was started.
        started: u64,
    };

    pub fn status(self: ProcessDir) sys.Error!Status {
        var buf: [2048]u8 = undefined;
        return parse(try sys.readStart(self.fd, "stat", &buf)) orelse error.SRCH;
    }

    /// The real user id, as our user namespace has it.
    pub fn owner(self: ProcessDir) sys.Error!u32 {
        var buf: [4096]u8 = undefined;
        const lines = try sys.readStart(self.fd, "status", &buf);
        const at = std.mem.find(u8, lines, "\nUid:\t") orelse return error.SRCH;
        const rest = lines[at + "\nUid:\t".len ..];
        const end = std.mem.findNone(u8, rest, "0123456789") orelse rest.len;
        return quantity.number(u32, rest[0..end]) orelse error.SRCH;
    }
};

/// A file, as long as somebody has it open or executes it.
pub const Identity = struct {
    major: u32,
    minor: u32,
    inode: u64,

    pub fn of(dir: sys.fd_t, path: [*:0]const u8) sys.Error!Identity {
        const st = try sys.statCached(dir, path);
        return .{ .major = st.dev_major, .minor = st.dev_minor, .inode = st.ino };
    }

    pub fn is(self: Identity, other: Identity) bool {
        return std.meta.eql(self, other);
    }
};

/// proc_pid_stat(5). The second field is a name in parentheses, which may hold any letter.
fn parse(line: []const u8) ?ProcessDir.Status {
    const name_end = std.mem.findScalarLast(u8, line, ')') orelse return null;
    var fields = std.mem.tokenizeScalar(u8, line[name_end + 1 ..], ' ');
    var status: ProcessDir.Status = undefined;
    var number: usize = 3;
    while (fields.next()) |field| : (number += 1) switch (number) {
        4 => status.parent = quantity.number(i32, field) orelse return null,
        22 => {
            status.started = quantity.number(u64, field) orelse return null;
            return status;
        },
        else => {},
    };
    return null;
}

test "fields of /proc/PID/stat" {
    const rest = " 100 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1000 200";
    for ([_][]const u8{ "42 (sh) S", "42 (a b) R 9) S" }) |begin| {
        var buf: [256]u8 = undefined;
        const found = parse(text.print(&buf, "{s}{s}", .{ begin, @as([]const u8, rest) })).?;
        try std.testing.expectEqual(100, found.parent);
        try std.testing.expectEqual(12345, found.started);
    }
    for ([_][]const u8{ "", "42 (sh", "42 (sh) S", "42 (sh) S 1 2 3", "42 (sh) S x" }) |wrong|
        try std.testing.expect(parse(wrong) == null);
}
