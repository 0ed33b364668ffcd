//! The last step of a start, as a separate program that is embedded in the runtime: it executes the
//! app, and with --init stays as process 1. An app that executes /proc/self/exe or opens
//! /proc/1/exe finds this program, in a sealed memfd, and never the executable on the machine's
//! disk (CVE-2019-5736).
//!
//! Its arguments: how, the path of the program, and the program's arguments. How is three letters:
//! x, i (with init) or g (a guest, see `goIn`); the stream that is a guest's terminal; and a number
//! from 0 to 64, as a character above '0'. As many descriptors from 3 on are the app's. The next
//! leads to the runtime, which gets the error if the app cannot be executed; the one after it is
//! this file.
const std = @import("std");
const linux = std.os.linux;

pub const panic = std.debug.no_panic;

const first = 3;

/// The stack of a new program (System V ABI): the count of words, the words, null, the environment.
pub export fn _start() callconv(.naked) noreturn {
    switch (@import("builtin").cpu.arch) {
        .x86_64 => asm volatile (
            \\ xor %%ebp, %%ebp
            \\ mov %%rsp, %%rdi
            \\ and $-16, %%rsp
            \\ call %[main:P]
            :
            : [main] "X" (&enter),
        ),
        .aarch64 => asm volatile (
            \\ mov x29, #0
            \\ mov x30, #0
            \\ mov x0, sp
            \\ b %[main]
            :
            : [main] "X" (&enter),
        ),
        else => @compileError("no entry for this architecture"),
    }
}

fn enter(stack: [*]usize) callconv(.c) noreturn {
    const count = stack[0];
    const words: [*:null]?[*:0]const u8 = @ptrCast(stack + 1);
    const environment: [*:null]?[*:0]const u8 = @ptrCast(stack + 1 + count + 1);
    if (count > 2) {
        const how = words[0].?;
        const report: usize = first + (how[2] - '0');
        _ = linux.syscall1(.close, report + 1);
        const set_descriptor_flags = 2;
        const close_on_exec = 1;
        _ = linux.syscall3(.fcntl, report, set_descriptor_flags, close_on_exec);
        var result = switch (how[0]) {
            'i' => stayFirst(report),
            'g' => goIn(how[1], report),
            else => 0,
        };
        if (result == 0) result = linux.syscall3(
            .execve,
            @intFromPtr(words[1].?),
            @intFromPtr(words + 2),
            @intFromPtr(environment),
        );
        const message = [2]u8{ 'e', @truncate(0 -% result) };
        _ = linux.syscall3(.write, report, @intFromPtr(&message), message.len);
    }
    exit(127);
}

fn exit(status: usize) noreturn {
    _ = linux.syscall1(.exit_group, status);
    unreachable;
}

/// By a process that has entered everything but the PID namespace: only its child gets into that,
/// which is the runtime's child. Whoever lies in wait there sees a process that executes this file.
/// `terminal` is the standard stream that becomes the new session's terminal, or another letter.
fn goIn(terminal: u8, report: usize) usize {
    const clone_parent = 0x8000;
    const guest = linux.syscall5(.clone, sigchld | clone_parent, 0, 0, 0, 0);
    if (linux.errno(guest) != .SUCCESS) return guest;
    if (guest != 0) {
        const message: extern struct { kind: u8 = 'c', pid: [4]u8 } = .{
            .pid = @bitCast(@as(u32, @truncate(guest))),
        };
        _ = linux.syscall3(.write, report, @intFromPtr(&message), @sizeOf(@TypeOf(message)));
        exit(0);
    }
    const set_pdeathsig = 1;
    const sigkill = 9;
    _ = linux.syscall5(.prctl, set_pdeathsig, sigkill, 0, 0, 0);
    // The runtime may have ended before; then the lifeline hangs up.
    var poll: linux.pollfd = .{ .fd = @intCast(report), .events = 0, .revents = 0 };
    // The kernel writes the remaining time back.
    var at_once: linux.timespec = .{ .sec = 0, .nsec = 0 };
    _ = linux.syscall5(.ppoll, @intFromPtr(&poll), 1, @intFromPtr(&at_once), 0, 0);
    if (poll.revents != 0) exit(127);
    const session = linux.syscall0(.setsid);
    if (linux.errno(session) != .SUCCESS) return session;
    const tiocsctty = 0x540e;
    if (terminal >= '0' and terminal <= '2')
        return linux.syscall3(.ioctl, terminal - '0', tiocsctty, 0);
    return 0;
}

/// Returns 0 in the child that executes the app, or an error if fork failed. The init passes
/// signals on, reaps orphans, and ends when the app does.
fn stayFirst(report: usize) usize {
    const set_mask = 2;
    // Except those that report a fault of the process itself.
    const all: u64 = ~@as(u64, 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 30);
    var before: u64 = 0;
    _ = linux.syscall4(.rt_sigprocmask, set_mask, @intFromPtr(&all), @intFromPtr(&before), 8);
    const app = linux.syscall5(.clone, sigchld, 0, 0, 0, 0);
    if (app == 0 or linux.errno(app) != .SUCCESS) {
        _ = linux.syscall4(.rt_sigprocmask, set_mask, @intFromPtr(&before), 0, 8);
        return app;
    }
    // A process that holds the app's streams open keeps their readers from seeing the end.
    for (0..report + 1) |descriptor| _ = linux.syscall1(.close, descriptor);
    while (true) {
        var info: linux.siginfo_t = undefined;
        const signal = linux.syscall4(
            .rt_sigtimedwait,
            @intFromPtr(&all),
            @intFromPtr(&info),
            0,
            8,
        );
        if (linux.errno(signal) != .SUCCESS) continue;
        if (signal == sigchld) {
            reap(app);
        } else if (info.code <= 0) {
            // Signals of the terminal's keys have reached the app: the kernel sends them to its
            // process group.
            _ = linux.syscall2(.kill, app, signal);
        }
    }
}

const sigchld = 17;

fn reap(app: usize) void {
    const no_hang = 1;
    while (true) {
        var status: u32 = 0;
        const any: usize = @bitCast(@as(isize, -1));
        const ended = linux.syscall4(.wait4, any, @intFromPtr(&status), no_hang, 0);
        if (ended == 0 or linux.errno(ended) != .SUCCESS) return;
        if (ended != app) continue;
        const signal = status & 0x7f;
        exit(if (signal == 0) status >> 8 & 0xff else 128 + signal);
    }
}
