//! Compiles a given system call filter: config.json's linux.seccomp (runtime-spec, config-linux.md)
//! or a file of docker's format, whose rules may also depend on capabilities and architectures.
//! Rules are tried in their order, one after the other; the first whose conditions hold decides.
const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;
const capabilities = @import("../../base/capabilities.zig");
const json = @import("../../config/json.zig");
const bpf = @import("../../base/bpf.zig");
const Value = json.Value;

pub const Error = error{ Json, TooLong, OutOfMemory };

/// The names of an architecture's calls, each after its number, in one string.
fn Names(comptime SYS: type) type {
    return struct {
        const fields = @typeInfo(SYS).@"enum";
        /// 32-bit ARM has private calls with large numbers.
        const Number = if (@hasField(SYS, "set_tls")) u32 else u16;
        const text = blk: {
            @setEvalBranchQuota(100_000);
            var all: []const u8 = "";
            for (fields.field_names) |name| all = all ++ name ++ "\x00";
            break :blk all[0..all.len].*;
        };
        const numbers = blk: {
            @setEvalBranchQuota(100_000);
            var all: [fields.field_names.len]Number = undefined;
            for (&all, fields.field_names) |*number, name|
                number.* = @backingInt(@field(SYS, name));
            break :blk all;
        };

        fn find(name: []const u8) ?u32 {
            // Names that differ between Zig's table and the kernel.
            const wanted = if (std.mem.eql(u8, name, "_llseek"))
                "llseek"
            else if (std.mem.eql(u8, name, "_newselect")) "newselect" else name;
            var words = std.mem.splitScalar(u8, &text, 0);
            var i: usize = 0;
            while (words.next()) |word| : (i += 1) {
                if (i < numbers.len and std.mem.eql(u8, word, wanted)) return numbers[i];
            }
            return null;
        }
    };
}

const Compiler = struct {
    capabilities: u64,
    profile: Value,
    program: *bpf.Program,

    fn add(self: *Compiler, instruction: bpf.Instruction) Error!void {
        // Room for the start of the next architecture, and for the last instruction.
        if (self.program.len >= self.program.code.len - 16) return error.TooLong;
        self.program.add(instruction);
    }

    fn calls(self: *Compiler, comptime SYS: type) Error!void {
        const default = try self.verdict(
            self.profile.get("defaultAction"),
            self.profile.get("defaultErrnoRet"),
        );
        try self.add(.{ .code = bpf.load, .k = bpf.at_number });
        self.program.refuseTyping(@backingInt(SYS.ioctl));
        for (try self.profile.list("syscalls")) |rule| {
            if (!try self.applies(rule)) continue;
            const action = try self.verdict(rule.get("action"), rule.get("errnoRet"));
            if (action == default) continue;
            // Docker's older files have one call in a rule.
            if (rule.get("name")) |name| try self.one(SYS, rule, try name.text(), action);
            for (try rule.list("names")) |name| try self.one(SYS, rule, try name.text(), action);
        }
        try self.add(.{ .code = bpf.ret, .k = default });
    }

    fn one(
        self: *Compiler,
        comptime SYS: type,
        rule: Value,
        name: []const u8,
        action: u32,
    ) Error!void {
        const number = Names(SYS).find(name) orelse return;
        const args = try rule.list("args");
        const start = self.program.len;
        try self.add(.{ .code = bpf.jump_equal, .k = number });
        for (args) |arg| try self.condition(arg);
        try self.add(.{ .code = bpf.ret, .k = action });
        const end = self.program.len;
        if (args.len > 0) try self.add(.{ .code = bpf.load, .k = bpf.at_number });
        // A test that fails jumps to the end of the rule; for tests of arguments that is the reload
        // of the number.
        for (self.program.code[start..end], start..) |*instruction, at| {
            const here: u16 = @intCast(at);
            if (at == start) instruction.jf = std.math.cast(u8, self.program.len - here - 1) orelse
                return error.TooLong;
            if (instruction.jf == to_end) instruction.jf = std.math.cast(u8, end - here - 1) orelse
                return error.TooLong;
            if (instruction.jt == to_end) instruction.jt = std.math.cast(u8, end - here - 1) orelse
                return error.TooLong;
        }
    }

    /// A jump target that is not known yet.
    const to_end = 255;

    /// One comparison of a 64-bit argument: its high word, then its low one.
    fn condition(self: *Compiler, arg: Value) Error!void {
        const index = try (arg.get("index") orelse return error.Json).integer(u32);
        if (index > 5) return error.Json;
        const value = try (arg.get("value") orelse return error.Json).integer(u64);
        const second = if (arg.get("valueTwo")) |two| try two.integer(u64) else 0;
        const operator = try (arg.get("op") orelse return error.Json).text();
        const low = bpf.at_first_argument + 8 * index;
        const high_word: u32 = @intCast(value >> 32);
        const low_word: u32 = @truncate(value);
        try self.add(.{ .code = bpf.load, .k = low + 4 });
        if (is(operator, "SCMP_CMP_EQ")) {
            try self.add(.{ .code = bpf.jump_equal, .jf = to_end, .k = high_word });
            try self.add(.{ .code = bpf.load, .k = low });
            try self.add(.{ .code = bpf.jump_equal, .jf = to_end, .k = low_word });
        } else if (is(operator, "SCMP_CMP_NE")) {
            try self.add(.{ .code = bpf.jump_equal, .jf = 2, .k = high_word });
            try self.add(.{ .code = bpf.load, .k = low });
            try self.add(.{ .code = bpf.jump_equal, .jt = to_end, .k = low_word });
        } else if (is(operator, "SCMP_CMP_MASKED_EQ")) {
            try self.add(.{ .code = bpf.mask, .k = high_word });
            try self.add(.{ .code = bpf.jump_equal, .jf = to_end, .k = @intCast(second >> 32) });
            try self.add(.{ .code = bpf.load, .k = low });
            try self.add(.{ .code = bpf.mask, .k = low_word });
            try self.add(.{ .code = bpf.jump_equal, .jf = to_end, .k = @truncate(second) });
        } else {
            const greater = is(operator, "SCMP_CMP_GT") or is(operator, "SCMP_CMP_GE");
            const or_equal = is(operator, "SCMP_CMP_GE") or is(operator, "SCMP_CMP_LT");
            if (!greater and !is(operator, "SCMP_CMP_LT") and !is(operator, "SCMP_CMP_LE"))
                return error.Json;
            const last: u16 = if (or_equal) bpf.jump_at_least else bpf.jump_greater;
            // Greater: a larger high word decides; with equal ones the low word does.
            try self.add(
                .{ .code = bpf.jump_greater, .jt = if (greater) 3 else to_end, .k = high_word },
            );
            try self.add(
                .{ .code = bpf.jump_equal, .jf = if (greater) to_end else 2, .k = high_word },
            );
            try self.add(.{ .code = bpf.load, .k = low });
            try self.add(.{
                .code = last,
                .jt = if (greater) 0 else to_end,
                .jf = if (greater) to_end else 0,
                .k = low_word,
            });
        }
    }

    fn applies(self: *Compiler, rule: Value) Error!bool {
        if (rule.get("includes")) |conditions| if (!try self.holds(conditions, .all)) return false;
        if (rule.get("excludes")) |conditions| if (try self.holds(conditions, .any)) return false;
        return true;
    }

    fn holds(self: *Compiler, conditions: Value, how: enum { all, any }) Error!bool {
        const architecture = if (builtin.cpu.arch == .x86_64) "amd64" else "arm64";
        var all = true;
        var any = false;
        if (conditions.get("arches")) |list| {
            var found = false;
            for (try list.items()) |name| found = found or is(try name.text(), architecture);
            all = all and found;
            any = any or found;
        }
        if (conditions.get("caps")) |list| for (try list.items()) |name| {
            const has = self.capabilities & capabilities.setOf(&.{try name.text()}) != 0;
            all = all and has;
            any = any or has;
        };
        return if (how == .all) all else any;
    }

    fn verdict(self: *Compiler, action: ?Value, errno_ret: ?Value) Error!u32 {
        _ = self;
        const name = try (action orelse return error.Json).text();
        const number: u32 = if (errno_ret) |value|
            try value.integer(u16)
        else
            @backingInt(linux.E.PERM);
        const verdicts = [_]struct { name: []const u8, value: u32 }{
            .{ .name = "SCMP_ACT_ALLOW", .value = bpf.allow },
            .{ .name = "SCMP_ACT_LOG", .value = 0x7ffc_0000 },
            .{ .name = "SCMP_ACT_KILL", .value = 0 },
            .{ .name = "SCMP_ACT_KILL_THREAD", .value = 0 },
            .{ .name = "SCMP_ACT_KILL_PROCESS", .value = bpf.kill },
            .{ .name = "SCMP_ACT_TRAP", .value = 0x0003_0000 },
        };
        for (verdicts) |known| if (is(name, known.name)) return known.value;
        if (is(name, "SCMP_ACT_ERRNO")) return 0x0005_0000 | number;
        if (is(name, "SCMP_ACT_TRACE")) return 0x7ff0_0000 | number;
        return error.Json;
    }
};

fn is(word: []const u8, known: []const u8) bool {
    return std.mem.eql(u8, word, known);
}

pub fn compile(arena: std.mem.Allocator, profile: Value, held: u64) Error!bpf.Program {
    var program: bpf.Program = try .init(arena);
    var compiler: Compiler = .{ .capabilities = held, .profile = profile, .program = &program };
    inline for (bpf.tables) |table| {
        const begin = program.beginArchitecture(table.arch);
        try compiler.calls(table.SYS);
        program.endArchitecture(begin);
    }
    program.add(.{ .code = bpf.ret, .k = bpf.kill });
    return program;
}

test "rules decide in their order" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const profile = try json.parse(arena_state.allocator(),
        \\{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        \\ {"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        \\ {"names": ["kill"], "action": "SCMP_ACT_ERRNO", 
        \\  "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]},
        \\ {"names": ["tgkill"], "action": "SCMP_ACT_ERRNO", 
        \\  "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_GT"}]},
        \\ {"names": ["clone"], "action": "SCMP_ACT_ERRNO", 
        \\  "args": [{"index": 0, "value": 16, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}]},
        \\ {"names": ["dup"], "action": "SCMP_ACT_ERRNO", 
        \\  "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_LE"}]},
        \\ {"names": ["getpid"], "action": "SCMP_ACT_ERRNO", 
        \\  "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        \\ {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", 
        \\  "excludes": {"caps": ["CAP_CHOWN"]}}]}
    );
    const program = try compile(arena_state.allocator(), profile, 1);
    const S = linux.SYS;
    const arch = bpf.tables[0].arch;
    const Case = struct { call: S, arguments: [2]u64 = .{ 0, 0 }, refused: u32 };
    for ([_]Case{
        .{ .call = .mkdirat, .refused = 0 },
        .{ .call = .kill, .arguments = .{ 0, 9 }, .refused = 1 },
        .{ .call = .kill, .arguments = .{ 0, 1 << 32 | 9 }, .refused = 0 },
        .{ .call = .kill, .arguments = .{ 9, 15 }, .refused = 0 },
        .{ .call = .tgkill, .arguments = .{ 5, 0 }, .refused = 0 },
        .{ .call = .tgkill, .arguments = .{ 6, 0 }, .refused = 1 },
        .{ .call = .tgkill, .arguments = .{ 1 << 32, 0 }, .refused = 1 },
        .{ .call = .clone, .arguments = .{ 17, 0 }, .refused = 1 },
        .{ .call = .clone, .arguments = .{ 1, 0 }, .refused = 0 },
        .{ .call = .dup, .arguments = .{ 5, 0 }, .refused = 1 },
        .{ .call = .dup, .arguments = .{ 6, 0 }, .refused = 0 },
        .{ .call = .dup, .arguments = .{ 1 << 32, 0 }, .refused = 0 },
        .{ .call = .getpid, .refused = 0 },
        .{ .call = .getppid, .refused = 0 },
    }) |case| {
        const expected = if (case.refused == 0) bpf.allow else 0x0005_0000 | case.refused;
        try std.testing.expectEqual(
            expected,
            bpf.judge(&program, arch, @intCast(@backingInt(case.call)), &case.arguments),
        );
    }
}
