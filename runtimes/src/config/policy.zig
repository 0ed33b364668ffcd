//! A policy: whose signature the executables of which paths must have (docs/trust.md). It is TOML,
//! of which only lines `NAME = ["KEY", ...]`, empty ones and comments are taken: anything else is
//! an error, for a rule that is not understood would be one that does not hold. The builder's
//! reader is executable/policy.py; fixtures/contract/policies.json is for both.
const std = @import("std");
const Key = @import("../payload/signed_block.zig").Key;
const public_key = @import("../payload/public_key.zig");

pub const size_max = 64 << 10;
const rules_max = 256;
const keys_max = 32;

pub const Rule = struct { name: []const u8, keys: []const Key };

/// With error.Policy, `line` is the number of the wrong one.
pub fn parse(
    arena: std.mem.Allocator,
    text: []const u8,
    line: *usize,
) error{ OutOfMemory, Policy }![]const Rule {
    line.* = 0;
    if (text.len > size_max or !std.unicode.utf8ValidateSlice(text)) return error.Policy;
    var rules: std.ArrayList(Rule) = .empty;
    var lines = std.mem.splitScalar(u8, text, '\n');
    while (lines.next()) |whole| {
        line.* += 1;
        const plain = if (std.mem.endsWith(u8, whole, "\r")) whole[0 .. whole.len - 1] else whole;
        const content = std.mem.trim(u8, plain, blank);
        if (content.len == 0 or content[0] == '#') continue;
        const rule = try parseRule(arena, content);
        for (rules.items) |other| if (std.mem.eql(u8, other.name, rule.name)) return error.Policy;
        if (rules.items.len == rules_max) return error.Policy;
        try rules.append(arena, rule);
    }
    return rules.items;
}

const blank = " \t";

fn parseRule(arena: std.mem.Allocator, content: []const u8) error{ OutOfMemory, Policy }!Rule {
    var rest: []const u8 = content;
    const name = if (rest[0] == '"') try string(&rest) else bareName(&rest);
    if (name.len == 0) return error.Policy;
    skipBlank(&rest);
    try expect(&rest, '=');
    skipBlank(&rest);
    try expect(&rest, '[');
    var keys: std.ArrayList(Key) = .empty;
    while (true) {
        skipBlank(&rest);
        if (rest.len > 0 and rest[0] == ']') break;
        const key = public_key.parse(try string(&rest)) catch return error.Policy;
        if (keys.items.len == keys_max) return error.Policy;
        try keys.append(arena, key);
        skipBlank(&rest);
        if (rest.len > 0 and rest[0] == ',') rest = rest[1..] else break;
    }
    skipBlank(&rest);
    try expect(&rest, ']');
    if (rest.len > 0) return error.Policy;
    return .{ .name = name, .keys = keys.items };
}

noinline fn skipBlank(rest: *[]const u8) void {
    rest.* = std.mem.trimStart(u8, rest.*, blank);
}

noinline fn expect(rest: *[]const u8, byte: u8) error{Policy}!void {
    if (rest.len == 0 or rest.*[0] != byte) return error.Policy;
    rest.* = rest.*[1..];
}

fn bareName(rest: *[]const u8) []const u8 {
    const whole = rest.*;
    for (whole, 0..) |byte, i| switch (byte) {
        'A'...'Z', 'a'...'z', '0'...'9', '_', '-' => {},
        else => {
            rest.* = whole[i..];
            return whole[0..i];
        },
    };
    rest.* = "";
    return whole;
}

/// Without escapes.
noinline fn string(rest: *[]const u8) error{Policy}![]const u8 {
    try expect(rest, '"');
    const end = std.mem.findScalar(u8, rest.*, '"') orelse return error.Policy;
    const inside = rest.*[0..end];
    for (inside) |byte| if (byte < ' ' or byte == '\\' or byte == 0x7f) return error.Policy;
    rest.* = rest.*[end + 1 ..];
    return inside;
}

/// The keys of the rule that is closest to an absolute path: that of the path, of the nearest
/// directory above it (`DIR/*`), of the file's name, or of all files (`*`). Null if there is none.
pub fn keysFor(rules: []const Rule, path: []const u8) ?[]const Key {
    if (named(rules, path, "")) |keys| return keys;
    var directory = path;
    while (std.mem.findScalarLast(u8, directory, '/')) |at| {
        directory = directory[0..at];
        if (named(rules, directory, "/*")) |keys| return keys;
    }
    return named(rules, std.fs.path.basename(path), "") orelse named(rules, "*", "");
}

noinline fn named(rules: []const Rule, start: []const u8, end: []const u8) ?[]const Key {
    for (rules) |rule| {
        if (rule.name.len == start.len + end.len and
            std.mem.startsWith(u8, rule.name, start) and
            std.mem.endsWith(u8, rule.name, end)) return rule.keys;
    }
    return null;
}

test "policies, as the builder reads them" {
    const json = @import("json.zig");
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const vectors = try json.parse(arena, @import("build_options").policies);
    for (try vectors.list("cases")) |case| {
        const text = try case.get("text").?.text();
        var line: usize = 0;
        const found = parse(arena, text, &line);
        errdefer std.debug.print("{s}\n", .{text});
        if (case.get("error") != null) {
            try std.testing.expectError(error.Policy, found);
            continue;
        }
        const rules = try found;
        for (case.get("paths").?.object) |member| {
            const keys = keysFor(rules, member.name);
            if (member.value == .null) {
                try std.testing.expectEqual(null, keys);
                continue;
            }
            try std.testing.expectEqual(member.value.array.len, keys.?.len);
            for (member.value.array, keys.?) |expected, key| {
                const hex = std.fmt.bytesToHex(key, .lower);
                try std.testing.expectEqualStrings(try expected.text(), &hex);
            }
        }
    }
}
