//! Callers for which a start is refused.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");

/// Refuses a start that would give the caller rights of somebody else.
pub fn check() void {
    if (isPrivileged()) log.die("this file has a set-id bit or capabilities (chmod u-s,g-s; " ++
        "setcap -r): it would give its rights to every user who starts it", .{});
    checkLimit();
    if (isInside()) log.die("this is the first process of a dockerc container: the image's " ++
        "program is a dockerc executable; run that one instead", .{});
}

/// A few files more than a start opens: later the lack of them would be told as something else.
fn checkLimit() void {
    const files = 7;
    const files_min = 24;
    var limit: [2]u64 = undefined;
    sys.do(.prlimit64, .{ 0, files, 0, &limit }) catch return;
    if (limit[0] < files_min) log.die(
        "at most {d} files may be open here (ulimit -n); a start needs {d}",
        .{ limit[0], @as(u64, files_min) },
    );
}

/// linux/auxvec.h
const at_secure = 23;

/// By the file's mode or its capabilities (execve(2)). A security module may set AT_SECURE, too,
/// when a service is started; that alone gives no rights.
fn isPrivileged() bool {
    const uid = sys.raw(.getuid, .{});
    const euid = sys.raw(.geteuid, .{});
    if (uid != euid or sys.raw(.getgid, .{}) != sys.raw(.getegid, .{})) return true;
    if (linux.getauxval(at_secure) == 0 or euid == 0) return false;
    return @import("../base/capabilities.zig").any();
}

/// An image can contain a dockerc executable as its program. Our container's root is an overlay of
/// ours, or a directory that a run has unpacked.
fn isInside() bool {
    return sys.raw(.getpid, .{}) == 1 and hasRootOfOurs(sys.at_fdcwd, "/proc/self/mountinfo");
}

/// Whether the root of a process, whose mountinfo this is, is that of a container of ours.
pub fn hasRootOfOurs(dir: sys.fd_t, mountinfo: [*:0]const u8) bool {
    var buf: [16384]u8 = undefined;
    const table = sys.readStart(dir, mountinfo, &buf) catch return false;
    var lines = std.mem.tokenizeScalar(u8, table, '\n');
    while (lines.next()) |line| if (isRootOfOurs(line)) return true;
    return false;
}

/// proc_pid_mountinfo(5): id, parent, device, root, mount point, options, optional fields, "-",
/// type, source.
fn isRootOfOurs(line: []const u8) bool {
    var fields = std.mem.tokenizeScalar(u8, line, ' ');
    for (0..3) |_| _ = fields.next();
    const root = fields.next() orelse return false;
    if (!std.mem.eql(u8, fields.next() orelse return false, "/")) return false;
    if (std.mem.find(u8, root, "/dockerc/run/run-") != null) return true;
    const at = std.mem.find(u8, line, " - ") orelse return false;
    return std.mem.startsWith(u8, line[at + 3 ..], "overlay dockerc ");
}

test "roots of ours" {
    try std.testing.expect(isRootOfOurs("70 1 0:41 / / rw,nodev,relatime - overlay dockerc " ++
        "rw,lowerdir=lower"));
    try std.testing.expect(isRootOfOurs("70 1 8:1 /home/a/.cache/dockerc/run/run-12/rootfs / " ++
        "rw,nodev - ext4 /dev/sda1 rw"));
    try std.testing.expect(!isRootOfOurs("70 1 0:41 / / rw,relatime - overlay overlay " ++
        "rw,lowerdir=lower"));
    try std.testing.expect(!isRootOfOurs("71 70 0:41 / /data rw - overlay dockerc rw"));
}
