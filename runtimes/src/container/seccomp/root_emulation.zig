//! Root with one id: calls that need ids which its user namespace does not have succeed and do
//! nothing, so that programs made for root go on (package managers, tar). A filter can answer so,
//! and that is all: what was not done is not remembered, getuid(2) and stat(2) tell the truth.
const std = @import("std");
const bpf = @import("../../base/bpf.zig");
const filter = @import("filter.zig");
const Ids = @import("../../namespaces/userns.zig").Ids;

/// Calls with ids, and which of their arguments those are.
const with_ids = .{
    .{ "chown", &.{ 1, 2 } },
    .{ "chown32", &.{ 1, 2 } },
    .{ "lchown", &.{ 1, 2 } },
    .{ "lchown32", &.{ 1, 2 } },
    .{ "fchown", &.{ 1, 2 } },
    .{ "fchown32", &.{ 1, 2 } },
    .{ "fchownat", &.{ 2, 3 } },
    .{ "setuid", &.{0} },
    .{ "setuid32", &.{0} },
    .{ "setgid", &.{0} },
    .{ "setgid32", &.{0} },
    .{ "setreuid", &.{ 0, 1 } },
    .{ "setreuid32", &.{ 0, 1 } },
    .{ "setregid", &.{ 0, 1 } },
    .{ "setregid32", &.{ 0, 1 } },
    .{ "setresuid", &.{ 0, 1, 2 } },
    .{ "setresuid32", &.{ 0, 1, 2 } },
    .{ "setresgid", &.{ 0, 1, 2 } },
    .{ "setresgid32", &.{ 0, 1, 2 } },
};
/// Calls that make a file, and which argument is its mode.
const with_mode = .{ .{ "mknod", 1 }, .{ "mknodat", 2 } };

/// Of the app: only root with one id is emulated, if it is `wanted`.
pub const Identity = struct { ids: Ids, uid: u32, wanted: bool };

/// Before the app's own filter, which may allow no further one.
pub fn install(arena: std.mem.Allocator, whose: Identity) !void {
    if (whose.wanted and whose.ids == .single and whose.uid == 0)
        filter.install(&try prepare(arena));
}

fn prepare(arena: std.mem.Allocator) !bpf.Program {
    var program: bpf.Program = try .init(arena);
    inline for (bpf.tables) |table| {
        const begin = program.beginArchitecture(table.arch);
        calls(table.SYS, &program);
        program.add(.{ .code = bpf.ret, .k = bpf.allow });
        program.endArchitecture(begin);
    }
    program.add(.{ .code = bpf.ret, .k = bpf.allow });
    return program;
}

fn calls(comptime SYS: type, program: *bpf.Program) void {
    program.add(.{ .code = bpf.load, .k = bpf.at_number });
    // setgroups(2) is denied for good where one id is mapped without a helper.
    inline for (.{ "setgroups", "setgroups32" }) |name| if (@hasField(SYS, name)) {
        program.add(.{ .code = bpf.jump_equal, .jf = 1, .k = @backingInt(@field(SYS, name)) });
        program.add(.{ .code = bpf.ret, .k = bpf.succeeds });
    };
    inline for (with_ids) |call| if (@hasField(SYS, call[0]))
        exceptRoot(program, @backingInt(@field(SYS, call[0])), call[1]);
    inline for (with_mode) |call| if (@hasField(SYS, call[0]))
        unlessDevice(program, @backingInt(@field(SYS, call[0])), call[1]);
}

/// Ids are 0 and -1, "as it is"; with any other nothing is done.
fn exceptRoot(program: *bpf.Program, number: u32, arguments: []const u8) void {
    const each = 3;
    const all: u8 = @intCast(arguments.len * each);
    program.add(.{ .code = bpf.jump_equal, .jf = all + 2, .k = number });
    for (arguments, 1..) |argument, n| {
        const left: u8 = @intCast(all - n * each);
        program.add(.{ .code = bpf.load, .k = bpf.at_first_argument + 8 * @as(u32, argument) });
        program.add(.{ .code = bpf.jump_equal, .jt = 1, .k = 0 });
        program.add(.{ .code = bpf.jump_equal, .jf = left + 1, .k = std.math.maxInt(u32) });
    }
    program.add(.{ .code = bpf.ret, .k = bpf.allow });
    program.add(.{ .code = bpf.ret, .k = bpf.succeeds });
}

fn unlessDevice(program: *bpf.Program, number: u32, argument: u8) void {
    const kind = 0o170000;
    const character = 0o020000;
    const block = 0o060000;
    program.add(.{ .code = bpf.jump_equal, .jf = 6, .k = number });
    program.add(.{ .code = bpf.load, .k = bpf.at_first_argument + 8 * @as(u32, argument) });
    program.add(.{ .code = bpf.mask, .k = kind });
    program.add(.{ .code = bpf.jump_equal, .jt = 2, .k = character });
    program.add(.{ .code = bpf.jump_equal, .jt = 1, .k = block });
    program.add(.{ .code = bpf.ret, .k = bpf.allow });
    program.add(.{ .code = bpf.ret, .k = bpf.succeeds });
}

test "ids that are not there succeed, all else is the kernel's" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const program = try prepare(arena.allocator());
    const none: u64 = std.math.maxInt(u32);
    inline for (bpf.tables) |table| {
        const S = table.SYS;
        const judge = struct {
            fn of(from: *const bpf.Program, call: S, arguments: []const u64) u32 {
                const number: u32 = @intCast(@backingInt(call));
                return bpf.judge(from, table.arch, number, arguments);
            }
        }.of;
        for ([_]u64{ 0, none, 0xffff_ffff_0000_0000 }) |id|
            try std.testing.expectEqual(bpf.allow, judge(&program, .fchown, &.{ 3, id, none }));
        for ([_][2]u64{ .{ 33, 0 }, .{ 0, 33 }, .{ none, 1 }, .{ 1, none } }) |ids| {
            try std.testing.expectEqual(
                bpf.succeeds,
                judge(&program, .fchown, &.{ 3, ids[0], ids[1] }),
            );
            try std.testing.expectEqual(
                bpf.succeeds,
                judge(&program, .fchownat, &.{ 3, 0, ids[0], ids[1], 0 }),
            );
            try std.testing.expectEqual(
                bpf.succeeds,
                judge(&program, .setresuid, &.{ 0, ids[0], ids[1] }),
            );
        }
        try std.testing.expectEqual(bpf.allow, judge(&program, .setresuid, &.{ 0, none, 0 }));
        try std.testing.expectEqual(bpf.succeeds, judge(&program, .setuid, &.{33}));
        try std.testing.expectEqual(bpf.succeeds, judge(&program, .setgroups, &.{ 1, 0 }));
        for ([_]u64{ 0o020666, 0o060600 }) |mode|
            try std.testing.expectEqual(
                bpf.succeeds,
                judge(&program, .mknodat, &.{ 3, 0, mode, 0 }),
            );
        for ([_]u64{ 0o100644, 0o010600, 0o140600, 0o644 }) |mode|
            try std.testing.expectEqual(bpf.allow, judge(&program, .mknodat, &.{ 3, 0, mode, 0 }));
        try std.testing.expectEqual(bpf.allow, judge(&program, .openat, &.{ 3, 0, 33, 33 }));
    }
}
