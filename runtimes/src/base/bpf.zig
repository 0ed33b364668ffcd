//! A classic BPF program for seccomp(2) (linux/filter.h), and its instructions.
const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;
const sys = @import("syscalls.zig");

/// One instruction (linux/filter.h).
pub const Instruction = extern struct { code: u16, jt: u8 = 0, jf: u8 = 0, k: u32 = 0 };

pub const load = 0x20;
pub const jump_equal = 0x15;
pub const jump_greater = 0x25;
pub const jump_at_least = 0x35;
pub const jump_any_bit = 0x45;
pub const jump = 0x05;
pub const mask = 0x54;
pub const ret = 0x06;

// linux/seccomp.h: return values, and offsets in struct seccomp_data.
pub const allow: u32 = 0x7fff_0000;
pub const kill: u32 = 0x8000_0000;
/// Whoever has the listener answers (seccomp_unotify(2)); without one the call fails with ENOSYS.
pub const ask: u32 = 0x7fc0_0000;
/// The thread stops for its tracer (ptrace(2)).
pub const trace: u32 = 0x7ff0_0000;
pub const at_number = 0;
pub const at_arch = 4;
pub const at_first_argument = 16;

/// The call is not made: 0 is returned.
pub const succeeds: u32 = 0x0005_0000;

pub fn fails(code: linux.E) u32 {
    return succeeds | @as(u32, @backingInt(code));
}

/// System call tables: of the machine, and of the 32-bit architecture that it also runs.
const Table = struct { arch: u32, SYS: type };
pub const tables = switch (builtin.cpu.arch) {
    .x86_64 => [_]Table{
        .{ .arch = 0xc000_003e, .SYS = linux.syscalls.X64 },
        .{ .arch = 0x4000_0003, .SYS = linux.syscalls.X86 },
    },
    .aarch64 => [_]Table{
        .{ .arch = 0xc000_00b7, .SYS = linux.syscalls.Arm64 },
        .{ .arch = 0x4000_0028, .SYS = linux.syscalls.Arm },
    },
    else => @compileError("no system call table for this architecture"),
};

/// The kernel limits the length of programs (BPF_MAXINSNS).
pub const Program = struct {
    code: []Instruction,
    len: u16 = 0,

    pub fn init(arena: std.mem.Allocator) !Program {
        return .{ .code = try arena.alloc(Instruction, 4096) };
    }

    /// For the calling process and its children.
    pub fn install(self: *const Program) sys.Error!void {
        // Without this flag, kernels before 5.16 turn on speculation mitigations that slow the app
        // down.
        _ = try self.set(spec_allow);
    }

    /// The same; returns the listener. `undisturbed`: a signal that does not kill waits until the
    /// answer, so that a call that was made already is not made again (Linux 5.19).
    pub fn listen(self: *const Program, undisturbed: bool) sys.Error!sys.fd_t {
        const new_listener = 8;
        const wait_killable: u32 = if (undisturbed) 32 else 0;
        return @intCast(try self.set(new_listener | spec_allow | wait_killable));
    }

    const spec_allow = 4;

    fn set(self: *const Program, flags: u32) sys.Error!usize {
        const set_mode_filter = 1;
        const sock: extern struct { len: u16, code: [*]const Instruction } = .{
            .len = self.len,
            .code = self.code.ptr,
        };
        return sys.call(.seccomp, .{ set_mode_filter, flags, &sock });
    }

    pub fn add(self: *Program, instruction: Instruction) void {
        self.code[self.len] = instruction;
        self.len += 1;
    }

    /// Instructions until `endArchitecture` apply to calls of this architecture only.
    pub fn beginArchitecture(self: *Program, arch: u32) u16 {
        self.add(.{ .code = load, .k = at_arch });
        // Conditional jumps reach 255 instructions; an unconditional one reaches further.
        self.add(.{ .code = jump_equal, .jt = 1, .k = arch });
        self.add(.{ .code = jump });
        return self.len;
    }

    pub fn endArchitecture(self: *Program, begin: u16) void {
        self.code[begin - 1].k = self.len - begin;
    }

    /// The number is in the accumulator, before and after. These ioctls put input into a terminal,
    /// which the caller's shell would read (CVE-2017-5226); docker's containers have a terminal of
    /// their own. The kernel uses only the low word of the command (CVE-2019-10063).
    pub fn refuseTyping(self: *Program, ioctl: u32) void {
        const tiocsti = 0x5412;
        const tioclinux = 0x541c;
        self.add(.{ .code = jump_equal, .jf = 5, .k = ioctl });
        self.add(.{ .code = load, .k = at_first_argument + 8 });
        self.add(.{ .code = jump_equal, .jt = 1, .k = tiocsti });
        self.add(.{ .code = jump_equal, .jf = 1, .k = tioclinux });
        self.add(.{ .code = ret, .k = fails(.PERM) });
        self.add(.{ .code = load, .k = at_number });
    }

    /// Expects the number in the accumulator, and keeps it there for other calls.
    pub fn onlyIf(self: *Program, number: u32, tests: []const Instruction, otherwise: u32) void {
        self.add(.{ .code = jump_equal, .jf = @intCast(tests.len + 3), .k = number });
        self.add(.{ .code = load, .k = at_first_argument });
        for (tests) |instruction| self.add(instruction);
        self.add(.{ .code = ret, .k = otherwise });
        self.add(.{ .code = ret, .k = allow });
    }
};

/// The program's result, as the kernel would compute it.
pub fn judge(program: *const Program, arch: u32, number: u32, arguments: []const u64) u32 {
    var accumulator: u32 = 0;
    var at: usize = 0;
    while (true) {
        const i = program.code[at];
        at += 1;
        const taken = switch (i.code) {
            load => {
                accumulator = switch (i.k) {
                    at_number => number,
                    at_arch => arch,
                    else => |offset| blk: {
                        const argument = arguments[(offset - at_first_argument) / 8];
                        break :blk @truncate(if (offset % 8 == 0) argument else argument >> 32);
                    },
                };
                continue;
            },
            mask => {
                accumulator &= i.k;
                continue;
            },
            ret => return i.k,
            jump => {
                at += i.k;
                continue;
            },
            jump_equal => accumulator == i.k,
            jump_greater => accumulator > i.k,
            jump_at_least => accumulator >= i.k,
            jump_any_bit => accumulator & i.k != 0,
            else => unreachable,
        };
        at += if (taken) i.jt else i.jf;
    }
}
