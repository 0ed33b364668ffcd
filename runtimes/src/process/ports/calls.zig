//! The numbers of bind(2) and connect(2), on the machine's architecture and on the 32-bit one that
//! it also runs (linux/audit.h).
const builtin = @import("builtin");
const linux = @import("std").os.linux;

pub const Calls = struct {
    arch: u32,
    bind: u32,
    connect: u32,

    fn of(arch: u32, comptime SYS: type) Calls {
        return .{
            .arch = arch,
            .bind = @intCast(@backingInt(SYS.bind)),
            .connect = @intCast(@backingInt(SYS.connect)),
        };
    }
};

pub const all = switch (builtin.cpu.arch) {
    .x86_64 => [_]Calls{
        .of(0xc000_003e, linux.syscalls.X64),
        .of(0x4000_0003, linux.syscalls.X86),
    },
    .aarch64 => [_]Calls{
        .of(0xc000_00b7, linux.syscalls.Arm64),
        .of(0x4000_0028, linux.syscalls.Arm),
    },
    else => @compileError("no system call table for this architecture"),
};

/// Of the two calls that are asked about.
pub fn isBind(arch: u32, number: i32) bool {
    for (all) |calls| if (calls.arch == arch) return calls.bind == number;
    return false;
}
