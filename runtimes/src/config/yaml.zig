//! YAML (1.2.2) as tools write it: blocks of mappings and sequences, scalars on one line, flow
//! collections that are JSON. No anchors, tags, or scalars over several lines. The values are
//! JSON's.
const std = @import("std");
const json = @import("json.zig");
const Value = json.Value;

pub const Error = json.Error;

/// The parser's stack is finite.
const depth_max = 64;

pub fn parse(arena: std.mem.Allocator, text: []const u8) Error!Value {
    var lines: std.ArrayList(Line) = .empty;
    var rest = std.mem.splitScalar(u8, text, '\n');
    while (rest.next()) |whole| {
        const line = std.mem.trimEnd(u8, whole, " \r");
        const content = std.mem.trimStart(u8, line, " ");
        if (content.len == 0 or content[0] == '#') continue;
        if (std.mem.eql(u8, line, "---") and lines.items.len == 0) continue;
        if (std.mem.eql(u8, line, "...")) break;
        try lines.append(arena, .{ .indent = line.len - content.len, .content = content });
    }
    var parser: Parser = .{ .arena = arena, .lines = lines.items };
    const value = try parser.block(0, 0);
    return if (parser.at == lines.items.len) value else error.Json;
}

const Line = struct {
    indent: usize,
    content: []const u8,

    fn isEntry(self: Line) bool {
        return self.content[0] == '-' and (self.content.len == 1 or self.content[1] == ' ');
    }
};

const Parser = struct {
    arena: std.mem.Allocator,
    lines: []Line,
    at: usize = 0,

    fn next(self: *const Parser) ?Line {
        return if (self.at < self.lines.len) self.lines[self.at] else null;
    }

    /// What stands at this indent or further in; null where nothing does.
    fn block(self: *Parser, indent: usize, depth: usize) Error!Value {
        if (depth > depth_max) return error.Json;
        const line = self.next() orelse return .null;
        if (line.indent < indent) return .null;
        if (line.isEntry()) return self.sequence(line.indent, depth);
        if (try keyEnd(line.content) != null) return self.mapping(line.indent, depth);
        self.at += 1;
        return self.scalar(line.content);
    }

    fn sequence(self: *Parser, indent: usize, depth: usize) Error!Value {
        var items: std.ArrayList(Value) = .empty;
        while (self.next()) |line| {
            if (line.indent != indent or !line.isEntry()) break;
            const content = std.mem.trimStart(u8, line.content[1..], " ");
            var inner = indent + 1;
            if (content.len == 0) {
                self.at += 1;
            } else {
                // A block may begin behind the dash; it goes on at the same column.
                inner = indent + line.content.len - content.len;
                self.lines[self.at] = .{ .indent = inner, .content = content };
            }
            try items.append(self.arena, try self.block(inner, depth + 1));
        }
        return .{ .array = items.items };
    }

    fn mapping(self: *Parser, indent: usize, depth: usize) Error!Value {
        var members: std.ArrayList(Value.Member) = .empty;
        while (self.next()) |line| {
            if (line.indent != indent) break;
            const end = try keyEnd(line.content) orelse break;
            const key = line.content[0..end];
            const name = if (isQuoted(key)) try (try self.scalar(key)).text() else key;
            const content = std.mem.trimStart(u8, line.content[end + 1 ..], " ");
            self.at += 1;
            const value = if (content.len > 0 and content[0] != '#')
                try self.scalar(content)
            else if (self.next() != null and
                self.next().?.indent == indent and self.next().?.isEntry())
                // A sequence may stand as far out as its key.
                try self.sequence(indent, depth + 1)
            else
                try self.block(indent + 1, depth + 1);
            try members.append(self.arena, .{ .name = name, .value = value });
        }
        return .{ .object = members.items };
    }

    fn scalar(self: *Parser, content: []const u8) Error!Value {
        if (content[0] == '[' or content[0] == '{') return json.parse(self.arena, content);
        if (isQuoted(content)) {
            const end = try quotedEnd(content);
            const behind = std.mem.trimStart(u8, content[end..], " ");
            if (behind.len > 0 and behind[0] != '#') return error.Json;
            if (content[0] == '"') return json.parse(self.arena, content[0..end]);
            return .{ .string = try std.mem.replaceOwned(
                u8,
                self.arena,
                content[1 .. end - 1],
                "''",
                "'",
            ) };
        }
        const word = std.mem.trimEnd(
            u8,
            content[0 .. std.mem.find(u8, content, " #") orelse content.len],
            " ",
        );
        if (std.mem.findScalar(u8, "&*!|>%@`", word[0]) != null) return error.Json;
        if (std.mem.eql(u8, word, "~")) return .null;
        // A version is no number; there are none with fractions in what is read here.
        if (std.mem.findScalar(u8, word, '.') != null) return .{ .string = word };
        return json.parse(self.arena, word) catch |err|
            if (err == error.Json) .{ .string = word } else err;
    }
};

fn isQuoted(content: []const u8) bool {
    return content.len > 0 and (content[0] == '"' or content[0] == '\'');
}

/// Behind the closing quote.
fn quotedEnd(content: []const u8) error{Json}!usize {
    const quote = content[0];
    var at: usize = 1;
    while (at < content.len) : (at += 1) {
        if (quote == '"' and content[at] == '\\') {
            at += 1;
        } else if (content[at] == quote) {
            if (quote == '"' or at + 1 == content.len or content[at + 1] != quote) return at + 1;
            at += 1;
        }
    }
    return error.Json;
}

/// Where the colon behind a key stands; null where there is no key.
fn keyEnd(content: []const u8) error{Json}!?usize {
    const from = if (isQuoted(content)) try quotedEnd(content) else 0;
    if (content[0] == '[' or content[0] == '{') return null;
    if (std.mem.findPos(u8, content, from, ": ")) |at| return at;
    return if (content[content.len - 1] == ':') content.len - 1 else null;
}

test "blocks and scalars" {
    var state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer state.deinit();
    const value = try parse(state.allocator(),
        \\---
        \\# made by a tool
        \\cdiVersion: 0.5.0
        \\kind: "vendor.com/gpu"  # of two
        \\containerEdits:
        \\  env:
        \\  - A=b:c
        \\  - 'it''s'   
        \\  mounts:
        \\    - hostPath: /a
        \\      options: ["ro", "nosuid"]
        \\    -
        \\      hostPath: /b # the second
        \\devices:
        \\- containerEdits:
        \\    deviceNodes:
        \\    - {"path": "/dev/x"}
        \\  name: "0"
        \\  count: 7
        \\  none: ~
        \\- name: all
        \\empty:
        \\
    );
    const edits = value.get("containerEdits").?;
    try std.testing.expectEqualStrings("0.5.0", try value.get("cdiVersion").?.text());
    try std.testing.expectEqualStrings("vendor.com/gpu", try value.get("kind").?.text());
    try std.testing.expectEqualStrings("A=b:c", try (try edits.list("env"))[0].text());
    try std.testing.expectEqualStrings("it's", try (try edits.list("env"))[1].text());
    const mounts = try edits.list("mounts");
    try std.testing.expectEqualStrings("nosuid", try (try mounts[0].list("options"))[1].text());
    try std.testing.expectEqualStrings("/b", try mounts[1].get("hostPath").?.text());
    const devices = try value.list("devices");
    try std.testing.expectEqual(2, devices.len);
    try std.testing.expectEqualStrings("0", try devices[0].get("name").?.text());
    try std.testing.expectEqual(7, try devices[0].get("count").?.integer(u8));
    try std.testing.expectEqual(null, devices[0].get("none"));
    const nodes = try devices[0].get("containerEdits").?.list("deviceNodes");
    try std.testing.expectEqualStrings("/dev/x", try nodes[0].get("path").?.text());
    try std.testing.expectEqual(null, value.get("empty"));
}

test "what is not understood is refused" {
    var state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer state.deinit();
    for ([_][]const u8{
        "a: *b",   "a: &b c",   "a: |\n  text",    "a: !!str b", "a: 'b", "a: b\n  c",
        "a: b\nc", "- a\nb: c", "a: b\n---\nc: d",
    }) |text|
        try std.testing.expectError(error.Json, parse(state.allocator(), text));
}
