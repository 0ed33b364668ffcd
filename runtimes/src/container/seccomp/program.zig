//! A program of the kernel's filter machine (seccomp(2), linux/filter.h): its instructions, and how
//! one is put together.
const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;

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

// linux/seccomp.h: verdicts, and where struct seccomp_data has its fields.
pub const allow: u32 = 0x7fff_0000;
pub const kill: u32 = 0x8000_0000;
pub const at_number = 0;
pub const at_arch = 4;
pub const at_first_argument = 16;

pub fn fails(code: linux.E) u32 {
    return 0x0005_0000 | @as(u32, @backingInt(code));
}

/// An architecture's calls: the machine's own, and the 32-bit one that it also runs.
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

/// Programs are bounded by the kernel (BPF_MAXINSNS).
pub const Program = struct {
    code: []Instruction,
    len: u16 = 0,

    pub fn init(arena: std.mem.Allocator) !Program {
        return .{ .code = try arena.alloc(Instruction, 4096) };
    }

    pub fn add(self: *Program, instruction: Instruction) void {
        self.code[self.len] = instruction;
        self.len += 1;
    }

    /// What is added until `endArchitecture` is for calls of this architecture only.
    pub fn beginArchitecture(self: *Program, arch: u32) u16 {
        self.add(.{ .code = load, .k = at_arch });
        // Jumps of conditions reach 255 instructions only; an unconditional one goes further.
        self.add(.{ .code = jump_equal, .jt = 1, .k = arch });
        self.add(.{ .code = jump });
        return self.len;
    }

    pub fn endArchitecture(self: *Program, begin: u16) void {
        self.code[begin - 1].k = self.len - begin;
    }

    /// The number is in the accumulator, before and after. What is typed into a terminal by these
    /// is read by the caller's shell (CVE-2017-5226); docker leaves that to a terminal of its own.
    /// The kernel looks at the low word of the command only (CVE-2019-10063).
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

    /// The number is in the accumulator, and stays there for calls of another.
    pub fn onlyIf(self: *Program, number: u32, tests: []const Instruction, otherwise: u32) void {
        self.add(.{ .code = jump_equal, .jf = @intCast(tests.len + 3), .k = number });
        self.add(.{ .code = load, .k = at_first_argument });
        for (tests) |instruction| self.add(instruction);
        self.add(.{ .code = ret, .k = otherwise });
        self.add(.{ .code = ret, .k = allow });
    }
};

/// What the kernel would do with the program.
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
