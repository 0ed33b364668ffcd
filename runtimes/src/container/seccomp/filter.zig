//! The system calls that the app may make: docker's default profile as a classic BPF program, and a
//! little less (docs/filter.md says what). Calls that are not listed fail with EPERM. Numbers come
//! from the standard library's tables at compile time; what depends on the app's capabilities is
//! added at a start.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../../base/syscalls.zig");
const errno = @import("../../base/errno.zig");
const log = @import("../../base/log.zig");
const compile = @import("profile.zig").compile;
const bpf = @import("../../base/bpf.zig");
const lists = @import("calls.zig");
const sys_admin = @import("../../base/capabilities.zig").sys_admin;
const Value = @import("../../config/json.zig").Value;

/// Calls beyond this number are 32-bit ARM's private ones, and x32's, none of which is allowed.
const number_max = 1024;
const Numbers = std.StaticBitSet(number_max);

fn numbers(comptime SYS: type, comptime names: []const u8) Numbers {
    @setEvalBranchQuota(2_000_000);
    var set = Numbers.empty;
    var words = std.mem.tokenizeAny(u8, names, " \n");
    while (words.next()) |name| {
        if (!@hasField(SYS, name)) continue;
        const number = @backingInt(@field(SYS, name));
        if (number < number_max) set.set(number);
    }
    return set;
}

fn build(arena: std.mem.Allocator, capabilities: u64) !bpf.Program {
    var program: bpf.Program = try .init(arena);
    inline for (bpf.tables) |table| {
        const begin = program.beginArchitecture(table.arch);
        calls(table.SYS, &program, capabilities);
        program.endArchitecture(begin);
    }
    program.add(.{ .code = bpf.ret, .k = bpf.kill });
    return program;
}

fn calls(comptime SYS: type, program: *bpf.Program, capabilities: u64) void {
    const eperm = bpf.fails(.PERM);
    program.add(.{ .code = bpf.load, .k = bpf.at_number });

    program.refuseTyping(@backingInt(SYS.ioctl));
    // Neither the kernel's ciphers nor a hypervisor's sockets.
    const af_alg = 38;
    const af_vsock = 40;
    program.onlyIf(@backingInt(SYS.socket), &.{
        .{ .code = bpf.jump_equal, .jt = 1, .k = af_alg },
        .{ .code = bpf.jump_equal, .jf = 1, .k = af_vsock },
    }, eperm);
    if (@hasField(SYS, "socketcall")) {
        // The kind of socket is behind a pointer, and only that it asks for one can be seen: the
        // answer is that of a kernel without the call. socket(2) is there since Linux 4.3.
        const sys_socket = 1;
        const asks = [_]bpf.Instruction{.{ .code = bpf.jump_equal, .jf = 1, .k = sys_socket }};
        program.onlyIf(@backingInt(SYS.socketcall), &asks, bpf.fails(.NOSYS));
    }
    // 32-bit ARM's private calls, without which no program with threads starts.
    inline for (.{ "breakpoint", "cacheflush", "set_tls" }) |name| if (@hasField(SYS, name)) {
        program.add(.{ .code = bpf.jump_equal, .jf = 1, .k = @backingInt(@field(SYS, name)) });
        program.add(.{ .code = bpf.ret, .k = bpf.allow });
    };
    // The default, Linux 32, uname 2.6, both, and the question.
    program.onlyIf(@backingInt(SYS.personality), &.{
        .{ .code = bpf.jump_equal, .jt = 5, .k = 0 },
        .{ .code = bpf.jump_equal, .jt = 4, .k = 0x8 },
        .{ .code = bpf.jump_equal, .jt = 3, .k = 0x20000 },
        .{ .code = bpf.jump_equal, .jt = 2, .k = 0x20008 },
        .{ .code = bpf.jump_equal, .jt = 1, .k = 0xffff_ffff },
    }, eperm);
    if (capabilities & @as(u64, 1) << sys_admin == 0) {
        // No new namespaces; clone3's flags cannot be seen, and ENOSYS makes libc use clone.
        const namespaces = 0x7e02_0000;
        program.onlyIf(
            @backingInt(SYS.clone),
            &.{.{ .code = bpf.jump_any_bit, .jt = 0, .jf = 1, .k = namespaces }},
            eperm,
        );
        program.add(.{ .code = bpf.jump_equal, .jf = 1, .k = @backingInt(SYS.clone3) });
        program.add(.{ .code = bpf.ret, .k = bpf.fails(.NOSYS) });
    }

    var allowed = comptime numbers(SYS, lists.always);
    inline for (lists.conditional) |group| {
        if (capabilities & @as(u64, 1) << group.capability != 0)
            allowed.setUnion(comptime numbers(SYS, group.calls));
    }
    var bounds: [number_max]u16 = undefined;
    const tree: Tree = .{
        .bounds = bounds[0..boundaries(&allowed, &bounds)],
        .start = program.len,
    };
    tree.add(program, 0, tree.bounds.len);
    program.add(.{ .code = bpf.ret, .k = eperm });
    program.add(.{ .code = bpf.ret, .k = bpf.allow });
}

/// The numbers at which allowed and refused calls alternate.
fn boundaries(allowed: *const Numbers, out: *[number_max]u16) usize {
    var count: usize = 0;
    for (0..number_max) |number| {
        if (allowed.isSet(number) == (count % 2 == 1)) continue;
        out[count] = @intCast(number);
        count += 1;
    }
    return count;
}

/// A search among boundaries, as one instruction for each: the kernel runs the program for every
/// call there is when it is installed, and for some whenever they are made.
const Tree = struct {
    bounds: []const u16,
    /// Where in the program it starts.
    start: u16,

    /// For the boundaries from `first` to before `last`, of which there is one at least.
    fn add(self: Tree, program: *bpf.Program, first: usize, last: usize) void {
        const middle = first + (last - first) / 2;
        const here = program.len;
        program.add(.{ .code = bpf.jump_at_least, .k = self.bounds[middle] });
        if (first < middle) self.add(program, first, middle);
        const right = program.len;
        if (middle + 1 < last) self.add(program, middle + 1, last);
        program.code[here].jf = if (first < middle) 0 else self.verdict(here, middle);
        program.code[here].jt = if (middle + 1 < last)
            @intCast(right - here - 1)
        else
            self.verdict(here, middle + 1);
    }

    /// The way to the verdict on calls between boundaries: `passed` are at most the number.
    fn verdict(self: Tree, here: u16, passed: usize) u8 {
        return @intCast(self.start + self.bounds.len + passed % 2 - here - 1);
    }
};

/// `capabilities` are those that the app may have, `profile` is null for docker's default.
pub fn prepare(arena: std.mem.Allocator, profile: Value, capabilities: u64) !bpf.Program {
    if (profile == .null) return build(arena, capabilities);
    return compile(arena, profile, capabilities) catch |err|
        log.die("the given system call filter is not valid: {s}", .{
            if (err == error.TooLong) "it has too many rules" else "see the runtime " ++
                "specification, linux.seccomp",
        });
}

/// For the calling process and its children. An error ends the start.
pub fn install(program: *const bpf.Program) void {
    program.install() catch |err|
        log.die("cannot limit the app's system calls: seccomp(2): {s}; " ++
            "--security-opt seccomp=unconfined starts it without limits", .{errno.text(err)});
}

test "the filter allows and refuses as docker's does" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const plain = try build(arena.allocator(), 0);
    const admin = try build(arena.allocator(), @as(u64, 1) << sys_admin);
    inline for (bpf.tables) |table| {
        const S = table.SYS;
        const a = table.arch;
        const eperm = bpf.fails(.PERM);
        for ([_]u32{
            @backingInt(S.read),
            @backingInt(S.execve),
            @backingInt(S.openat),
            @backingInt(S.futex),
            @backingInt(S.rseq),
        }) |number|
            try std.testing.expectEqual(bpf.allow, bpf.judge(&plain, a, number, &.{0}));
        for ([_]u32{
            @backingInt(S.mount),
            @backingInt(S.unshare),
            @backingInt(S.keyctl),
            @backingInt(S.io_uring_setup),
            5000,
            0x4000_0000,
        }) |number|
            try std.testing.expectEqual(eperm, bpf.judge(&plain, a, number, &.{0}));
        try std.testing.expectEqual(bpf.allow, bpf.judge(&admin, a, @backingInt(S.mount), &.{0}));
        try std.testing.expectEqual(eperm, bpf.judge(&admin, a, @backingInt(S.reboot), &.{0}));
        try std.testing.expectEqual(bpf.allow, bpf.judge(&plain, a, @backingInt(S.socket), &.{2}));
        for ([_]u64{ 38, 40 }) |family|
            try std.testing.expectEqual(eperm, bpf.judge(&plain, a, @backingInt(S.socket), &.{
                family,
            }));
        try std.testing.expectEqual(bpf.allow, bpf.judge(&plain, a, @backingInt(S.personality), &.{
            0xffff_ffff,
        }));
        try std.testing.expectEqual(eperm, bpf.judge(&plain, a, @backingInt(S.personality), &.{
            0x40000,
        }));
        try std.testing.expectEqual(bpf.allow, bpf.judge(&plain, a, @backingInt(S.clone), &.{
            0x11,
        }));
        try std.testing.expectEqual(eperm, bpf.judge(&plain, a, @backingInt(S.clone), &.{
            0x1000_0000,
        }));
        try std.testing.expectEqual(
            bpf.fails(.NOSYS),
            bpf.judge(&plain, a, @backingInt(S.clone3), &.{0}),
        );
        try std.testing.expectEqual(bpf.allow, bpf.judge(&admin, a, @backingInt(S.clone3), &.{0}));
    }
    try std.testing.expectEqual(bpf.kill, bpf.judge(&plain, 0x1234, 0, &.{0}));
}

test "every call that is on the list, and no other, is allowed" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const program = try build(arena.allocator(), 0);
    inline for (bpf.tables) |table| {
        const listed = comptime numbers(table.SYS, lists.always);
        const conditional_too = [_]table.SYS{ .socket, .personality, .clone, .clone3, .ioctl } ++
            if (@hasField(table.SYS, "socketcall")) [_]table.SYS{.socketcall} else [_]table.SYS{};
        for (0..number_max + 100) |number| {
            for (conditional_too) |call| {
                if (@backingInt(call) == number) break;
            } else {
                const expected = if (number < number_max and listed.isSet(number))
                    bpf.allow
                else
                    bpf.fails(.PERM);
                try std.testing.expectEqual(
                    expected,
                    bpf.judge(&program, table.arch, @intCast(number), &.{0}),
                );
            }
        }
    }
}
