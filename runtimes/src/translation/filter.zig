//! The system call filter (seccomp(2)) that makes calls of the table wait for the tracer.
const std = @import("std");
const bpf = @import("../base/bpf.zig");
const sys = @import("../base/syscalls.zig");
const calls = @import("calls.zig");

/// Calls with 32-bit pointers on x86-64 (x32).
const x32 = 0x4000_0000;

/// Instructions, at most.
pub const length_max = 512;

const refuse = bpf.fails(.NOSYS);

/// Calls with paths that the kernel would look up on the machine. Programs have others in their
/// place.
const past_the_table = [_]sys.SYS{
    .io_uring_setup, .io_uring_enter, .io_uring_register, .setxattrat,   .getxattrat,
    .listxattrat,    .removexattrat,  .file_getattr,      .file_setattr, .open_tree,
    .open_tree_attr,
};

/// Made of `code`. `notifies`: whether calls wait by user notification; else all stop the
/// thread.
pub fn make(code: []bpf.Instruction, notifies: bool, password: [2]u64) bpf.Program {
    var program: bpf.Program = .{ .code = code };
    program.add(.{ .code = bpf.load, .k = bpf.at_arch });
    program.add(.{ .code = bpf.jump_equal, .jt = 1, .k = bpf.tables[0].arch });
    program.add(.{ .code = bpf.ret, .k = refuse });
    program.add(.{ .code = bpf.load, .k = bpf.at_number });
    program.add(.{ .code = bpf.jump_at_least, .jf = 1, .k = x32 });
    program.add(.{ .code = bpf.ret, .k = refuse });
    allowLoader(&program, password);
    for (past_the_table) |number| {
        program.add(.{ .code = bpf.jump_equal, .jf = 1, .k = @intCast(@backingInt(number)) });
        program.add(.{ .code = bpf.ret, .k = refuse });
    }
    for (&calls.rules) |*rule| {
        const verdict: u32 = if (notifies and !rule.stops) bpf.ask else bpf.trace;
        if (rule.open_flags) |at| if (notifies) {
            const path: u32 = @bitCast(sys.O{ .PATH = true });
            const low = bpf.at_first_argument + 8 * @as(u32, at);
            program.add(.{ .code = bpf.jump_equal, .jf = 4, .k = rule.number });
            program.add(.{ .code = bpf.load, .k = low });
            program.add(.{ .code = bpf.jump_any_bit, .jf = 1, .k = path });
            program.add(.{ .code = bpf.ret, .k = bpf.trace });
            program.add(.{ .code = bpf.ret, .k = bpf.ask });
            continue;
        };
        const only = rule.only orelse {
            program.add(.{ .code = bpf.jump_equal, .jf = 1, .k = rule.number });
            program.add(.{ .code = bpf.ret, .k = verdict });
            continue;
        };
        addLimited(&program, rule.number, only, verdict);
    }
    program.add(.{ .code = bpf.ret, .k = bpf.allow });
    return program;
}

/// openat(2) of the machine's paths, by its two arguments that the kernel does not read.
fn allowLoader(program: *bpf.Program, password: [2]u64) void {
    const halves: [4]u32 = @bitCast(password);
    const openat: u32 = @intCast(@backingInt(sys.SYS.openat));
    program.add(.{ .code = bpf.jump_equal, .jf = 2 * halves.len + 1, .k = openat });
    for (halves, 0..) |half, i| {
        const rest: u8 = @intCast(2 * (halves.len - 1 - i) + 1);
        const word: u32 = @intCast(2 * 4 + i);
        program.add(.{ .code = bpf.load, .k = bpf.at_first_argument + 4 * word });
        program.add(.{ .code = bpf.jump_equal, .jf = rest, .k = half });
    }
    program.add(.{ .code = bpf.ret, .k = bpf.allow });
    program.add(.{ .code = bpf.load, .k = bpf.at_number });
}

fn addLimited(program: *bpf.Program, number: u32, only: calls.Rule.Only, verdict: u32) void {
    const low = bpf.at_first_argument + 8 * @as(u32, only.at);
    if (only.values.len == 0) {
        program.add(.{ .code = bpf.jump_equal, .jf = 6, .k = number });
        program.add(.{ .code = bpf.load, .k = low });
        program.add(.{ .code = bpf.jump_equal, .jf = 3, .k = 0 });
        program.add(.{ .code = bpf.load, .k = low + 4 });
        program.add(.{ .code = bpf.jump_equal, .jf = 1, .k = 0 });
        program.add(.{ .code = bpf.ret, .k = bpf.allow });
        program.add(.{ .code = bpf.ret, .k = verdict });
        return;
    }
    const count: u8 = @intCast(2 * only.values.len);
    program.add(.{ .code = bpf.jump_equal, .jf = count + 2, .k = number });
    program.add(.{ .code = bpf.load, .k = low });
    for (only.values) |value| {
        program.add(.{ .code = bpf.jump_equal, .jf = 1, .k = value });
        program.add(.{ .code = bpf.ret, .k = verdict });
    }
    program.add(.{ .code = bpf.ret, .k = bpf.allow });
}
