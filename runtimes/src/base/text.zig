//! Formats text from strings and numbers. The standard library compiles a function for every format
//! and list of types; this is one function, for the stub is a part of every executable.
const std = @import("std");

pub const Word = union(enum) {
    text: []const u8,
    number: u64,
    signed: i64,

    fn of(value: anytype) Word {
        return switch (@typeInfo(@TypeOf(value))) {
            .int => |int| if (int.signedness == .signed) .{ .signed = value } else .{
                .number = value,
            },
            .comptime_int => .{ .number = value },
            .pointer => |pointer| .{
                .text = if (pointer.size == .many) std.mem.span(value) else value,
            },
            else => @compileError("neither text nor a number: " ++ @typeName(@TypeOf(value))),
        };
    }
};

/// As much of the text as `buf` holds. In `format`, {s} and {d} are the next of `args`.
pub fn print(buf: []u8, comptime format: []const u8, args: anytype) []u8 {
    return printWords(buf, format, &words(format, args));
}

pub fn alloc(
    arena: std.mem.Allocator,
    comptime format: []const u8,
    args: anytype,
) error{OutOfMemory}![:0]u8 {
    return allocWords(arena, format, &words(format, args));
}

pub inline fn words(comptime format: []const u8, args: anytype) [args.len]Word {
    comptime {
        @setEvalBranchQuota(10_000 + 20 * format.len);
        std.debug.assert(std.mem.count(u8, format, "{") == args.len);
    }
    var out: [args.len]Word = undefined;
    inline for (args, &out) |arg, *word| word.* = Word.of(arg);
    return out;
}

pub noinline fn printWords(buf: []u8, format: []const u8, args: []const Word) []u8 {
    return buf[0..@min(buf.len, fill(buf, format, args))];
}

noinline fn allocWords(
    arena: std.mem.Allocator,
    format: []const u8,
    args: []const Word,
) error{OutOfMemory}![:0]u8 {
    const out = try arena.allocSentinel(u8, fill(&.{}, format, args), 0);
    _ = fill(out, format, args);
    return out;
}

/// The length that the whole has.
noinline fn fill(buf: []u8, format: []const u8, args: []const Word) usize {
    var len: usize = 0;
    var next: usize = 0;
    var rest = format;
    while (std.mem.findScalar(u8, rest, '{')) |at| {
        put(buf, &len, rest[0..at]);
        rest = rest[at + 3 ..];
        switch (args[next]) {
            .text => |text| put(buf, &len, text),
            .number => |number| putNumber(buf, &len, number),
            .signed => |number| {
                if (number < 0) put(buf, &len, "-");
                putNumber(buf, &len, @abs(number));
            },
        }
        next += 1;
    }
    put(buf, &len, rest);
    return len;
}

fn put(buf: []u8, len: *usize, text: []const u8) void {
    const n = @min(text.len, buf.len -| len.*);
    if (n > 0) @memcpy(buf[len.*..][0..n], text[0..n]);
    len.* += text.len;
}

fn putNumber(buf: []u8, len: *usize, number: u64) void {
    var digits: [20]u8 = undefined;
    var left = number;
    var at = digits.len;
    while (true) {
        at -= 1;
        digits[at] = '0' + @as(u8, @intCast(left % 10));
        left /= 10;
        if (left == 0) break;
    }
    put(buf, len, digits[at..]);
}

pub noinline fn isOneOf(word: []const u8, list: []const []const u8) bool {
    for (list) |known| if (std.mem.eql(u8, word, known)) return true;
    return false;
}

test "words and numbers" {
    var buf: [64]u8 = undefined;
    const name: [:0]const u8 = "x";
    try std.testing.expectEqualStrings(
        "a x, -12 and 18446744073709551615",
        print(&buf, "a {s}, {d} and {d}", .{ name, @as(i32, -12), @as(u64, std.math.maxInt(u64)) }),
    );
    try std.testing.expectEqualStrings("cut o", print(buf[0..5], "cut off {d}", .{1}));
    const long = try alloc(std.testing.allocator, "{s}{d}", .{ "long", 7 });
    defer std.testing.allocator.free(long);
    try std.testing.expectEqualStrings("long7", long);
}
