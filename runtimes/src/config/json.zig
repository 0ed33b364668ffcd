//! JSON (RFC 8259) into a tree of values, and from there into structs. What is asked of it is
//! config.json and its like: no floating point, no streams, and so a tenth of the standard
//! library's.
const std = @import("std");
const quantity = @import("../cli/quantity.zig");

pub const Error = error{ Json, OutOfMemory };

/// A document nested deeper is not one of ours; the parser's stack is finite.
const depth_max = 64;

pub const Value = union(enum) {
    null,
    boolean: bool,
    /// As written.
    number: []const u8,
    string: []const u8,
    array: []const Value,
    object: []const Member,

    pub const Member = struct { name: []const u8, value: Value };

    /// A member of an object; null where it is absent, is null itself, or this is no object. Of
    /// two with the same name the last.
    pub fn get(self: Value, name: []const u8) ?Value {
        if (self != .object) return null;
        var i = self.object.len;
        while (i > 0) {
            i -= 1;
            const member = &self.object[i];
            if (std.mem.eql(u8, member.name, name))
                return if (member.value == .null) null else member.value;
        }
        return null;
    }

    pub fn text(self: Value) error{Json}![]const u8 {
        return if (self == .string) self.string else error.Json;
    }

    /// Null is an empty list, as Go programs write it.
    pub fn items(self: Value) error{Json}![]const Value {
        return switch (self) {
            .array => |values| values,
            .null => &.{},
            else => error.Json,
        };
    }

    /// A member that is a list; empty where it is absent.
    pub fn list(self: Value, name: []const u8) error{Json}![]const Value {
        return (self.get(name) orelse return &.{}).items();
    }

    pub fn integer(self: Value, comptime T: type) error{Json}!T {
        if (self != .number) return error.Json;
        const signed = @typeInfo(T).int.signedness == .signed;
        const negative = signed and std.mem.startsWith(u8, self.number, "-");
        const digits = self.number[@intFromBool(negative)..];
        if (digits.len > 1 and digits[0] == '0') return error.Json;
        const value = quantity.number(T, digits) orelse return error.Json;
        return if (negative) -value else value;
    }

    /// Fields that T has no place for are left out; a missing one (or null) has its default.
    pub fn decode(self: Value, comptime T: type, arena: std.mem.Allocator) Error!T {
        if (T == Value) return self;
        if (T == []const u8) return self.text();
        switch (@typeInfo(T)) {
            .bool => return if (self == .boolean) self.boolean else error.Json,
            .int => return self.integer(T),
            .optional => |optional| return if (self == .null)
                null
            else
                try self.decode(optional.child, arena),
            .pointer => |pointer| {
                const from = try self.items();
                const out = try arena.alloc(pointer.child, from.len);
                for (out, from) |*o, item| o.* = try item.decode(pointer.child, arena);
                return out;
            },
            .@"struct" => |info| {
                if (self != .object) return error.Json;
                var out: T = undefined;
                const fields = .{ info.field_names, info.field_types, info.field_attrs };
                inline for (fields[0], fields[1], fields[2]) |name, Field, attributes| {
                    if (self.get(name)) |member| {
                        @field(out, name) = try member.decode(Field, arena);
                    } else if (attributes.defaultValue(Field)) |default| {
                        @field(out, name) = default;
                    } else return error.Json;
                }
                return out;
            },
            else => comptime unreachable,
        }
    }
};

pub fn parse(arena: std.mem.Allocator, text: []const u8) Error!Value {
    var parser: Parser = .{ .arena = arena, .text = text };
    const value = try parser.value(0);
    parser.space();
    if (parser.at != text.len) return error.Json;
    return value;
}

/// A list of words, as annotations hold them.
pub fn parseTexts(arena: std.mem.Allocator, text: []const u8) Error![]const []const u8 {
    return (try parse(arena, text)).decode([]const []const u8, arena);
}

const Parser = struct {
    arena: std.mem.Allocator,
    text: []const u8,
    at: usize = 0,

    fn space(self: *Parser) void {
        while (self.at < self.text.len and
            std.mem.findScalar(u8, " \t\r\n", self.text[self.at]) != null) self.at += 1;
    }

    fn take(self: *Parser) error{Json}!u8 {
        if (self.at == self.text.len) return error.Json;
        self.at += 1;
        return self.text[self.at - 1];
    }

    fn takeIf(self: *Parser, byte: u8) bool {
        self.space();
        if (self.at == self.text.len or self.text[self.at] != byte) return false;
        self.at += 1;
        return true;
    }

    fn value(self: *Parser, depth: usize) Error!Value {
        if (depth > depth_max) return error.Json;
        self.space();
        switch (try self.take()) {
            '{' => {
                var members: std.ArrayList(Value.Member) = .empty;
                if (self.takeIf('}')) return .{ .object = members.items };
                while (true) {
                    if (!self.takeIf('"')) return error.Json;
                    const name = try self.string();
                    if (!self.takeIf(':')) return error.Json;
                    try members.append(
                        self.arena,
                        .{ .name = name, .value = try self.value(depth + 1) },
                    );
                    if (self.takeIf(',')) continue;
                    return if (self.takeIf('}')) .{ .object = members.items } else error.Json;
                }
            },
            '[' => {
                var list: std.ArrayList(Value) = .empty;
                if (self.takeIf(']')) return .{ .array = list.items };
                while (true) {
                    try list.append(self.arena, try self.value(depth + 1));
                    if (self.takeIf(',')) continue;
                    return if (self.takeIf(']')) .{ .array = list.items } else error.Json;
                }
            },
            '"' => return .{ .string = try self.string() },
            else => {
                const start = self.at - 1;
                while (self.at < self.text.len and
                    std.mem.findScalar(u8, " \t\r\n,]}", self.text[self.at]) == null) self.at += 1;
                const word = self.text[start..self.at];
                if (std.mem.eql(u8, word, "null")) return .null;
                if (std.mem.eql(u8, word, "true")) return .{ .boolean = true };
                if (std.mem.eql(u8, word, "false")) return .{ .boolean = false };
                for (word) |byte|
                    if (std.mem.findScalar(u8, "0123456789+-.eE", byte) == null) return error.Json;
                return .{ .number = word };
            },
        }
    }

    /// Behind the opening quote.
    fn string(self: *Parser) Error![]const u8 {
        const start = self.at;
        while (true) switch (try self.take()) {
            '"' => return self.text[start .. self.at - 1],
            '\\' => break,
            0...0x1f => return error.Json,
            else => {},
        };
        var out: std.ArrayList(u8) = .empty;
        try out.appendSlice(self.arena, self.text[start .. self.at - 1]);
        self.at -= 1;
        while (true) switch (try self.take()) {
            '"' => return out.items,
            '\\' => try self.escape(&out),
            0...0x1f => return error.Json,
            else => |byte| try out.append(self.arena, byte),
        };
    }

    fn escape(self: *Parser, out: *std.ArrayList(u8)) Error!void {
        const byte = try self.take();
        if (byte != 'u') {
            const at = std.mem.findScalar(u8, "\"\\/bfnrt", byte) orelse return error.Json;
            return out.append(self.arena, "\"\\/\x08\x0c\n\r\t"[at]);
        }
        var rune: u21 = try self.unit();
        if (rune >= 0xd800 and rune < 0xe000) {
            // A pair of surrogates is one character; half a pair is none.
            if (rune >= 0xdc00 or try self.take() != '\\' or try self.take() != 'u')
                return error.Json;
            const low = try self.unit();
            if (low < 0xdc00 or low >= 0xe000) return error.Json;
            rune = 0x10000 + ((rune - 0xd800) << 10) + (low - 0xdc00);
        }
        var utf8: [4]u8 = undefined;
        const len = std.unicode.utf8Encode(rune, &utf8) catch return error.Json;
        try out.appendSlice(self.arena, utf8[0..len]);
    }

    fn unit(self: *Parser) error{Json}!u16 {
        if (self.text.len - self.at < 4) return error.Json;
        for (self.text[self.at..][0..4]) |digit| if (!std.ascii.isHex(digit)) return error.Json;
        self.at += 4;
        return std.fmt.parseInt(u16, self.text[self.at - 4 .. self.at], 16) catch error.Json;
    }
};

test "values" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const root = try parse(arena,
        \\ {"a": [1, -2, 18446744073709551615, true, null, "x\n\u00e9\ud83d\ude00\/"],
        \\ "b": {}, "a2": 1.5, "b": {"c": "d"}}
    );
    const list = try root.get("a").?.items();
    try std.testing.expectEqual(-2, try list[1].integer(i32));
    try std.testing.expectEqual(std.math.maxInt(u64), try list[2].integer(u64));
    try std.testing.expectError(error.Json, list[1].integer(u32));
    try std.testing.expectEqualStrings("x\n\u{e9}\u{1f600}/", try list[5].text());
    try std.testing.expectEqualStrings("d", try root.get("b").?.get("c").?.text());
    try std.testing.expectError(error.Json, root.get("a2").?.integer(u8));
    try std.testing.expect(root.get("c") == null);
}

test "structs" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const T = struct { name: []const u8, list: []const u32 = &.{}, deep: ?struct {
        on: bool = true,
    } = null };
    const got = try (try parse(
        arena,
        "{\"name\":\"n\",\"list\":[3],\"deep\":{},\"more\":1}",
    )).decode(T, arena);
    try std.testing.expectEqualDeep(T{ .name = "n", .list = &.{3}, .deep = .{} }, got);
    const nulls = try (try parse(arena, "{\"name\":\"n\",\"list\":null,\"deep\":null}")).decode(
        T,
        arena,
    );
    try std.testing.expectEqualDeep(T{ .name = "n" }, nulls);
    for ([_][]const u8{ "{}", "[]", "{\"name\":1}", "{\"name\":\"\",\"list\":{}}" }) |text|
        try std.testing.expectError(error.Json, (try parse(arena, text)).decode(T, arena));
}

test "what is not JSON" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const cases = [_][]const u8{
        "",
        "{",
        "[1",
        "[1,]",
        "{\"a\"}",
        "{\"a\":1,}",
        "\"",
        "\"\\",
        "\"\\u12",
        "\"\\ud800\"",
        "\"\n\"",
        "nul",
        "1 2",
        &@as([100]u8, @splat('[')),
    };
    for (cases) |text|
        try std.testing.expectError(error.Json, parse(arena_state.allocator(), text));
}
