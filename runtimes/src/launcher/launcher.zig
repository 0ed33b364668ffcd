//! The last step of a start, as a program of its own that the runtime carries in itself: it
//! executes the app, and with --init stays as the first process. An image may have its program
//! executed by way of /proc/self/exe or look at /proc/1/exe: what it finds there is this, in memory
//! and sealed, and never the executable on the machine's disk (CVE-2019-5736).
//!
//! Its words: "x" or "i" (with a first process), the app's file, the app's own words. Descriptor 3
//! leads to the runtime, which is told the error where the app cannot be executed; 4 is this file.
const std = @import("std");
const linux = std.os.linux;

pub const panic = std.debug.no_panic;

const report = 3;
const own_file = 4;

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
    _ = linux.syscall1(.close, own_file);
    const set_descriptor_flags = 2;
    const close_on_exec = 1;
    _ = linux.syscall3(.fcntl, report, set_descriptor_flags, close_on_exec);
    if (count > 2) {
        var result = if (words[0].?[0] == 'i') stayFirst() else 0;
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

/// Returns 0 in the child that executes the app, or an error where there can be none. The first
/// process passes signals on, reaps what others leave behind, and ends when the app does.
fn stayFirst() usize {
    const set_mask = 2;
    // But for those that report a fault of the process itself.
    const all: u64 = ~@as(u64, 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 30);
    var before: u64 = 0;
    _ = linux.syscall4(.rt_sigprocmask, set_mask, @intFromPtr(&all), @intFromPtr(&before), 8);
    const app = linux.syscall5(.clone, sigchld, 0, 0, 0, 0);
    if (app == 0 or linux.errno(app) != .SUCCESS) {
        _ = linux.syscall4(.rt_sigprocmask, set_mask, @intFromPtr(&before), 0, 8);
        return app;
    }
    // What holds the app's streams open keeps their other ends from seeing it end.
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
            // What the kernel sent to the terminal's process group has reached the app.
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
