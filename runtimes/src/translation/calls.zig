//! The system calls that are translated, and what does so; all others are the kernel's.
const std = @import("std");
const builtin = @import("builtin");
const sys = @import("../base/syscalls.zig");
const attribute = @import("attribute_calls.zig");
const call = @import("call.zig");
const cwd = @import("cwd_calls.zig");
const identity = @import("identity_calls.zig");
const name = @import("name_calls.zig");
const open = @import("open_calls.zig");
const program = @import("program.zig");
const signal = @import("signal_calls.zig");
const socket = @import("socket_calls.zig");
const stat = @import("stat_calls.zig");

/// How the arguments of the call become those of its newest form.
const Form = enum {
    same,
    /// Without a directory: it is the working directory.
    plain,
    /// Two paths without directories.
    two,
    /// A text, and a path without a directory.
    text,
    creat,
};

pub const Rule = struct {
    number: u32,
    handle: *const fn (*call.Call) anyerror!call.Outcome,
    form: Form = .same,
    /// The flags that the call implies.
    flags: ?struct { at: u3, value: u64 } = null,
    /// It has to stop the thread: the kernel makes it with other arguments.
    stops: bool = false,
    /// The argument with the flags of open(2): what is opened for its path alone cannot be given
    /// by a notification (seccomp_unotify(2)), and stops the thread.
    open_flags: ?u3 = null,
    /// Translated only if an argument has one of these values, or is not 0.
    only: ?Only = null,

    pub const Only = struct { at: u3, values: []const u32 };

    /// The arguments of the newest form.
    pub fn arguments(self: *const Rule, given: [6]u64) [6]u64 {
        const here: u64 = @bitCast(@as(i64, sys.at_fdcwd));
        const g = &given;
        var out: [6]u64 = switch (self.form) {
            .same => given,
            .plain => .{ here, g[0], g[1], g[2], g[3], g[4] },
            .two => .{ here, g[0], here, g[1], 0, 0 },
            .text => .{ g[0], here, g[1], 0, 0, 0 },
            .creat => .{ here, g[0], creating, g[1], 0, 0 },
        };
        if (self.flags) |flags| out[flags.at] = flags.value;
        return out;
    }

    const creating: u32 = @bitCast(sys.O{ .ACCMODE = .WRONLY, .CREAT = true, .TRUNC = true });
};

const Name = @EnumLiteral();

fn rule(comptime number: Name, handle: *const fn (*call.Call) anyerror!call.Outcome) Rule {
    return .{ .number = @backingInt(@as(sys.SYS, number)), .handle = handle };
}

fn plain(comptime number: Name, handle: anytype, flags: ?u64, at: u3) Rule {
    var made = rule(number, handle);
    made.form = .plain;
    if (flags) |value| made.flags = .{ .at = at, .value = value };
    return made;
}

fn formed(comptime number: Name, handle: anytype, form: Form) Rule {
    var made = rule(number, handle);
    made.form = form;
    return made;
}

fn without(comptime number: Name, handle: anytype, at: u3) Rule {
    var made = rule(number, handle);
    made.flags = .{ .at = at, .value = 0 };
    return made;
}

fn stopping(comptime number: Name, handle: anytype) Rule {
    var made = rule(number, handle);
    made.stops = true;
    return made;
}

fn opening(comptime number: Name, handle: anytype, form: Form, at: u3) Rule {
    var made = rule(number, handle);
    made.form = form;
    made.open_flags = at;
    return made;
}

fn limited(comptime number: Name, handle: anytype, only: Rule.Only) Rule {
    var made = rule(number, handle);
    made.only = only;
    return made;
}

const nofollow = call.at_symlink_nofollow;

/// Those that only x86-64 has: arm64 began with the newest forms.
const old = if (builtin.cpu.arch == .x86_64) [_]Rule{
    opening(.open, &open.openat, .plain, 1),
    formed(.creat, &open.openat, .creat),
    plain(.stat, &stat.newfstatat, 0, 3),
    plain(.lstat, &stat.newfstatat, nofollow, 3),
    plain(.access, &stat.faccessat, 0, 3),
    plain(.readlink, &stat.readlinkat, null, 0),
    plain(.mkdir, &name.mkdirat, null, 0),
    plain(.mknod, &name.mknodat, null, 0),
    plain(.rmdir, &name.unlinkat, 0x200, 2),
    plain(.unlink, &name.unlinkat, 0, 2),
    formed(.rename, &name.renameat2, .two),
    without(.renameat, &name.renameat2, 4),
    formed(.link, &name.linkat, .two),
    formed(.symlink, &name.symlinkat, .text),
    plain(.chmod, &attribute.fchmodat, 0, 3),
    plain(.chown, &attribute.fchownat, 0, 4),
    plain(.lchown, &attribute.fchownat, nofollow, 4),
    plain(.utime, &attribute.utime, null, 0),
    plain(.utimes, &attribute.futimesat, null, 0),
    rule(.futimesat, &attribute.futimesat),
} else [_]Rule{without(.renameat, &name.renameat2, 4)};

const all = [_]Rule{
    opening(.openat, &open.openat, .same, 2),
    rule(.openat2, &open.openat2),
    rule(.newfstatat, &stat.newfstatat),
    rule(.fstat, &stat.fstat),
    rule(.statx, &stat.statx),
    without(.faccessat, &stat.faccessat, 3),
    rule(.faccessat2, &stat.faccessat),
    rule(.readlinkat, &stat.readlinkat),
    rule(.statfs, &stat.statfs),
    rule(.getcwd, &stat.getcwd),
    rule(.uname, &stat.uname),
    rule(.mkdirat, &name.mkdirat),
    rule(.mknodat, &name.mknodat),
    rule(.unlinkat, &name.unlinkat),
    rule(.renameat2, &name.renameat2),
    rule(.linkat, &name.linkat),
    rule(.symlinkat, &name.symlinkat),
    without(.fchmodat, &attribute.fchmodat, 3),
    rule(.fchmodat2, &attribute.fchmodat),
    rule(.fchmod, &attribute.fchmod),
    rule(.fchownat, &attribute.fchownat),
    rule(.fchown, &attribute.fchown),
    rule(.utimensat, &attribute.utimensat),
    rule(.truncate, &attribute.truncate),
    rule(.setxattr, &attribute.setxattr),
    rule(.lsetxattr, &attribute.lsetxattr),
    rule(.fsetxattr, &attribute.fsetxattr),
    rule(.getxattr, &attribute.getxattr),
    rule(.lgetxattr, &attribute.lgetxattr),
    rule(.listxattr, &attribute.listxattr),
    rule(.llistxattr, &attribute.llistxattr),
    rule(.removexattr, &attribute.removexattr),
    rule(.lremovexattr, &attribute.lremovexattr),
    rule(.fremovexattr, &attribute.fremovexattr),
    rule(.getuid, &identity.getuid),
    rule(.geteuid, &identity.geteuid),
    rule(.getgid, &identity.getgid),
    rule(.getegid, &identity.getegid),
    rule(.getresuid, &identity.getresuid),
    rule(.getresgid, &identity.getresgid),
    rule(.setuid, &identity.setuid),
    rule(.setgid, &identity.setgid),
    rule(.setreuid, &identity.setreuid),
    rule(.setregid, &identity.setregid),
    rule(.setresuid, &identity.setresuid),
    rule(.setresgid, &identity.setresgid),
    rule(.setfsuid, &identity.setfsuid),
    rule(.setfsgid, &identity.setfsgid),
    rule(.getgroups, &identity.getgroups),
    rule(.setgroups, &identity.setgroups),
    rule(.capset, &identity.capset),
    rule(.umask, &identity.umask),
    rule(.chroot, &identity.chroot),
    rule(.ptrace, &identity.ptrace),
    rule(.name_to_handle_at, &identity.noHandles),
    rule(.open_by_handle_at, &identity.noHandles),
    rule(.chdir, &cwd.chdir),
    rule(.fchdir, &cwd.fchdir),
    limited(.unshare, &cwd.unshare, .{ .at = 0, .values = &.{
        cwd.clone_fs,
        cwd.clone_fs | cwd.clone_files,
    } }),
    rule(.inotify_add_watch, &cwd.inotifyAddWatch),
    rule(.bind, &socket.bind),
    rule(.connect, &socket.connect),
    limited(.sendto, &socket.sendto, .{ .at = 4, .values = &.{} }),
    rule(.getsockname, &socket.getsockname),
    rule(.getpeername, &socket.getpeername),
    limited(.prctl, &program.prctl, .{ .at = 0, .values = &.{
        program.set_dumpable,
        program.keep_rights,
    } }),
    rule(.kill, &signal.kill),
    rule(.tkill, &signal.one),
    rule(.tgkill, &signal.one),
    rule(.rt_sigqueueinfo, &signal.one),
    rule(.rt_tgsigqueueinfo, &signal.one),
    rule(.pidfd_open, &signal.one),
    rule(.pidfd_send_signal, &signal.byDescriptor),
    stopping(.execve, &program.execve),
    stopping(.execveat, &program.execveat),
};

pub const rules = old ++ all;

pub fn find(number: u32) ?*const Rule {
    for (&rules) |*each| if (each.number == number) return each;
    return null;
}

test "older forms have the arguments of newer ones" {
    const here: u64 = @bitCast(@as(i64, -100));
    const exec = find(@backingInt(sys.SYS.execve)).?;
    try std.testing.expect(exec.stops);
    if (builtin.cpu.arch != .x86_64) return;
    const lstat = find(@backingInt(sys.SYS.lstat)).?;
    const given = [6]u64{ 1, 2, 3, 4, 5, 6 };
    try std.testing.expectEqual([6]u64{ here, 1, 2, 0x100, 4, 5 }, lstat.arguments(given));
    const link = find(@backingInt(sys.SYS.link)).?;
    try std.testing.expectEqual([6]u64{ here, 1, here, 2, 0, 0 }, link.arguments(given));
}
