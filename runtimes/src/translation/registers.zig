//! The registers of a stopped thread, as its system calls use them (ptrace(2), syscall(2)).
const std = @import("std");
const builtin = @import("builtin");
const sys = @import("../base/syscalls.zig");

const getregset = 0x4204;
const setregset = 0x4205;
/// Sets of elf(5) notes: the general ones, and the number of the system call on arm64.
const prstatus = 1;
const arm_system_call = 0x404;

/// struct user_regs_struct (x86-64), struct user_pt_regs (arm64).
const Stored = switch (builtin.cpu.arch) {
    .x86_64 => extern struct {
        r15: u64,
        r14: u64,
        r13: u64,
        r12: u64,
        rbp: u64,
        rbx: u64,
        r11: u64,
        r10: u64,
        r9: u64,
        r8: u64,
        rax: u64,
        rcx: u64,
        rdx: u64,
        rsi: u64,
        rdi: u64,
        orig_rax: u64,
        rip: u64,
        rest: [10]u64,
    },
    .aarch64 => extern struct { general: [31]u64, sp: u64, pc: u64, pstate: u64 },
    else => @compileError("no registers for this architecture"),
};

pub const Registers = struct {
    stored: Stored,
    call: u32,

    pub fn read(tid: i32) sys.Error!Registers {
        var self: Registers = undefined;
        try transfer(getregset, tid, prstatus, std.mem.asBytes(&self.stored));
        switch (builtin.cpu.arch) {
            .x86_64 => self.call = @truncate(self.stored.orig_rax),
            else => self.call = @truncate(self.stored.general[8]),
        }
        return self;
    }

    pub fn write(self: *const Registers, tid: i32) sys.Error!void {
        return transfer(setregset, tid, prstatus, @constCast(std.mem.asBytes(&self.stored)));
    }

    fn transfer(request: usize, tid: i32, set: usize, bytes: []u8) sys.Error!void {
        const part: std.posix.iovec = .{ .base = bytes.ptr, .len = bytes.len };
        return sys.do(.ptrace, .{ request, tid, set, &part });
    }

    pub fn arguments(self: *const Registers) [6]u64 {
        const stored = &self.stored;
        return switch (builtin.cpu.arch) {
            .x86_64 => .{ stored.rdi, stored.rsi, stored.rdx, stored.r10, stored.r8, stored.r9 },
            else => stored.general[0..6].*,
        };
    }

    pub fn setArguments(self: *Registers, given: [6]u64) void {
        const stored = &self.stored;
        switch (builtin.cpu.arch) {
            .x86_64 => {
                stored.rdi = given[0];
                stored.rsi = given[1];
                stored.rdx = given[2];
                stored.r10 = given[3];
                stored.r8 = given[4];
                stored.r9 = given[5];
            },
            else => stored.general[0..6].* = given,
        }
    }

    /// The next instruction.
    pub fn instruction(self: *const Registers) u64 {
        return switch (builtin.cpu.arch) {
            .x86_64 => self.stored.rip,
            else => self.stored.pc,
        };
    }

    pub fn result(self: *const Registers) u64 {
        return switch (builtin.cpu.arch) {
            .x86_64 => self.stored.rax,
            else => self.stored.general[0],
        };
    }

    pub fn setResult(self: *Registers, value: u64) void {
        switch (builtin.cpu.arch) {
            .x86_64 => self.stored.rax = value,
            else => self.stored.general[0] = value,
        }
    }

    /// Another call, or none at all (-1), in place of the one that the thread is about to make.
    pub fn setCall(self: *Registers, tid: i32, number: i32) sys.Error!void {
        switch (builtin.cpu.arch) {
            .x86_64 => self.stored.orig_rax = @bitCast(@as(i64, number)),
            else => {
                var word = number;
                return transfer(setregset, tid, arm_system_call, std.mem.asBytes(&word));
            },
        }
    }
};
