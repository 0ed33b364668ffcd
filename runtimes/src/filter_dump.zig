//! For tests: writes the system call filter that an app with these capabilities gets, as the kernel
//! is given it. Each argument is a set of capabilities in hexadecimal; a filter's length in
//! instructions, as 4 bytes, stands before it.
const std = @import("std");
const seccomp = @import("container/seccomp/filter.zig");
const sys = @import("base/syscalls.zig");

pub fn main(init: std.process.Init.Minimal) !void {
    var arena = std.heap.ArenaAllocator.init(std.heap.page_allocator);
    for (init.args.vector[1..]) |word| {
        const capabilities = try std.fmt.parseInt(u64, std.mem.span(word), 16);
        const program = try seccomp.prepare(arena.allocator(), .null, capabilities);
        const len: u32 = program.len;
        try sys.writeAll(1, std.mem.asBytes(&len));
        try sys.writeAll(1, std.mem.sliceAsBytes(program.code[0..len]));
    }
}
