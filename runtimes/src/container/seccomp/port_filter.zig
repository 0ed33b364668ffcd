//! The filter of -p: for bind(2) and connect(2) the kernel asks the runtime (process/ports/). It is
//! beside the filter of allowed calls: what that refuses is refused.
const std = @import("std");
const sys = @import("../../base/syscalls.zig");
const errno = @import("../../base/errno.zig");
const log = @import("../../base/log.zig");
const bpf = @import("../../base/bpf.zig");
const calls = @import("../../process/ports/calls.zig");
const socket = @import("../../base/socket.zig");

/// A message to the runtime, with the listener; the same comes back when it is served.
pub const listening = 'l';

fn build(arena: std.mem.Allocator) !bpf.Program {
    var program: bpf.Program = try .init(arena);
    for (calls.all) |known| {
        program.add(.{ .code = bpf.load, .k = bpf.at_arch });
        program.add(.{ .code = bpf.jump_equal, .jf = 4, .k = known.arch });
        program.add(.{ .code = bpf.load, .k = bpf.at_number });
        program.add(.{ .code = bpf.jump_equal, .jt = 1, .k = known.bind });
        program.add(.{ .code = bpf.jump_equal, .jf = 1, .k = known.connect });
        program.add(.{ .code = bpf.ret, .k = bpf.ask });
    }
    program.add(.{ .code = bpf.ret, .k = bpf.allow });
    return program;
}

/// For the calling process and its children; waits until the runtime serves it. An error ends the
/// start.
pub fn install(arena: std.mem.Allocator, lifeline: sys.fd_t) !void {
    const program = try build(arena);
    const listener = listen(&program) catch |err| switch (err) {
        error.BUSY => log.die("--publish: around this run another program answers system calls " ++
            "already, and the kernel allows one (seccomp(2), EBUSY): use --network private", .{}),
        error.INVAL, error.NOSYS => log.die("--publish: the kernel does not offer " ++
            "SECCOMP_FILTER_FLAG_NEW_LISTENER (seccomp(2), Linux 5.6)", .{}),
        else => log.die("--publish: seccomp(2): {s}", .{errno.text(err)}),
    };
    try socket.send(lifeline, &.{listening}, &.{listener});
    // Nobody but the runtime may have it: when that ends, the calls fail, and do not wait.
    sys.close(listener);
    var answer: [1]u8 = undefined;
    const got = try socket.receive(lifeline, &answer, true);
    // The runtime has said why.
    if (got.bytes.len != 1) sys.exit(log.failed);
}

fn listen(program: *const bpf.Program) sys.Error!sys.fd_t {
    return program.listen(true) catch |err|
        if (err == error.INVAL) program.listen(false) else err;
}

test "bind and connect are asked about, and nothing else" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const program = try build(arena.allocator());
    for (calls.all) |known| {
        for ([_]u32{ known.bind, known.connect }) |number|
            try std.testing.expectEqual(bpf.ask, bpf.judge(&program, known.arch, number, &.{0}));
        for ([_]u32{ known.bind + 2000, 0, 0x4000_0000 | known.bind }) |number|
            try std.testing.expectEqual(bpf.allow, bpf.judge(&program, known.arch, number, &.{0}));
    }
    try std.testing.expectEqual(bpf.allow, bpf.judge(&program, 1, calls.all[0].bind, &.{0}));
}
