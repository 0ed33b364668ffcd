//! The runtime's own options. They end at the first word that is not an option (docker's rule);
//! everything after it belongs to the app. Values are parsed where they are used.
const std = @import("std");
const flags = @import("flags.zig");
pub const Flag = flags.Flag;

const Given = struct { flag: Flag, value: []const u8 };

pub const Options = struct {
    given: []const Given,
    /// The app's arguments.
    args: []const []const u8,

    /// The last value of an option.
    pub noinline fn last(self: *const Options, flag: Flag) ?[]const u8 {
        var i = self.given.len;
        while (i > 0) {
            i -= 1;
            if (self.given[i].flag == flag) return self.given[i].value;
        }
        return null;
    }

    pub fn has(self: *const Options, flag: Flag) bool {
        return std.mem.eql(u8, self.last(flag) orelse return false, "true");
    }

    pub noinline fn all(
        self: *const Options,
        arena: std.mem.Allocator,
        flag: Flag,
    ) error{OutOfMemory}![]const []const u8 {
        var out: std.ArrayList([]const u8) = .empty;
        for (self.given) |given| if (given.flag == flag) try out.append(arena, given.value);
        return out.items;
    }
};

/// Why parsing failed; `word` is the wrong argument.
pub const Problem = struct {
    word: []const u8 = "",
    kind: enum { none, unknown, value_missing, not_a_switch } = .none,
};

/// `words` is the command line without the program's name.
pub fn parse(
    arena: std.mem.Allocator,
    words: []const []const u8,
    problem: *Problem,
) error{ Usage, OutOfMemory }!Options {
    var parser: Parser = .{ .arena = arena, .words = words, .problem = problem };
    while (parser.at < words.len) {
        const word = words[parser.at];
        if (word.len < 2 or word[0] != '-') break;
        parser.at += 1;
        if (std.mem.eql(u8, word, "--")) break;
        try if (word[1] == '-') parser.long(word) else parser.short(word);
    }
    return .{ .given = parser.given.items, .args = words[parser.at..] };
}

const Parser = struct {
    arena: std.mem.Allocator,
    words: []const []const u8,
    problem: *Problem,
    at: usize = 0,
    given: std.ArrayList(Given) = .empty,

    fn long(self: *Parser, word: []const u8) !void {
        const name, const joined = if (std.mem.cutScalar(u8, word[2..], '=')) |parts|
            .{ parts[0], @as(?[]const u8, parts[1]) }
        else
            .{ word[2..], null };
        for (&flags.table) |*known| if (std.mem.eql(u8, known.name, name)) {
            if (known.value) return self.add(known, joined orelse try self.next(word));
            const state = joined orelse "true";
            if (!std.mem.eql(u8, state, "true") and !std.mem.eql(u8, state, "false"))
                return self.fail(word, .not_a_switch);
            return self.add(known, state);
        };
        return self.fail(word, .unknown);
    }

    /// Several letters joined, the last perhaps with its value: -it, -itv/a:/b, -e=A=1.
    fn short(self: *Parser, word: []const u8) !void {
        for (word[1..], 1..) |letter, i| {
            const known = for (&flags.table) |*known| {
                if (known.short == letter) break known;
            } else return self.fail(word, .unknown);
            if (known.value) {
                const rest = word[i + 1 ..];
                const joined = if (rest.len > 0 and rest[0] == '=') rest[1..] else rest;
                return self.add(known, if (rest.len > 0) joined else try self.next(word));
            }
            try self.add(known, "true");
        }
    }

    fn add(self: *Parser, known: *const flags.Known, value: []const u8) !void {
        return self.given.append(self.arena, .{ .flag = known.flag, .value = value });
    }

    fn next(self: *Parser, word: []const u8) ![]const u8 {
        if (self.at == self.words.len) return self.fail(word, .value_missing);
        self.at += 1;
        return self.words[self.at - 1];
    }

    fn fail(self: *Parser, word: []const u8, kind: @FieldType(Problem, "kind")) error{Usage} {
        self.problem.* = .{ .word = word, .kind = kind };
        return error.Usage;
    }
};

/// Splits a line as a shell does, with quotes and backslashes but without expansions.
pub fn split(
    arena: std.mem.Allocator,
    text: []const u8,
) error{ Quote, OutOfMemory }![]const []const u8 {
    var words: std.ArrayList([]const u8) = .empty;
    var word: std.ArrayList(u8) = .empty;
    var inside = false;
    var quote: u8 = 0;
    var i: usize = 0;
    while (i < text.len) : (i += 1) {
        const byte = text[i];
        if (byte == '\\' and quote != '\'' and i + 1 < text.len) {
            i += 1;
            inside = true;
            try word.append(arena, text[i]);
        } else if (quote != 0) {
            if (byte == quote) quote = 0 else try word.append(arena, byte);
        } else switch (byte) {
            '\'', '"' => {
                quote = byte;
                inside = true;
            },
            ' ', '\t', '\n' => if (inside) {
                try words.append(arena, word.items);
                word = .empty;
                inside = false;
            },
            else => {
                inside = true;
                try word.append(arena, byte);
            },
        }
    }
    if (quote != 0) return error.Quote;
    if (inside) try words.append(arena, word.items);
    return words.items;
}

test "options end at the first word" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    var problem: Problem = .{};
    const o = try parse(arena, &.{
        "-e",   "A=1",   "-eB", "--env=C=3", "--env", "D", "-itv", "./x:/data:ro", "-v=.:/y",
        "--rm", "input", "-v",  "error",
    }, &problem);
    try std.testing.expectEqualDeep(
        @as([]const []const u8, &.{ "A=1", "B", "C=3", "D" }),
        try o.all(arena, .env),
    );
    try std.testing.expectEqualDeep(
        @as([]const []const u8, &.{ "./x:/data:ro", ".:/y" }),
        try o.all(arena, .volume),
    );
    try std.testing.expectEqualDeep(@as([]const []const u8, &.{ "input", "-v", "error" }), o.args);
    const dashes = try parse(arena, &.{ "--", "-x" }, &problem);
    try std.testing.expectEqualDeep(@as([]const []const u8, &.{"-x"}), dashes.args);
    const lone = try parse(arena, &.{"-"}, &problem);
    try std.testing.expectEqualDeep(@as([]const []const u8, &.{"-"}), lone.args);
    const twice = try parse(arena, &.{ "--init", "-w", "/a", "--init=false", "-w/b" }, &problem);
    try std.testing.expectEqualStrings("/b", twice.last(.workdir).?);
    try std.testing.expect(!twice.has(.init));
}

test "options that are wrong" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const cases = [_]struct { words: []const []const u8, kind: @FieldType(Problem, "kind") }{
        .{ .words = &.{"--frob"}, .kind = .unknown },
        .{ .words = &.{"-x"}, .kind = .unknown },
        .{ .words = &.{"-ix"}, .kind = .unknown },
        .{ .words = &.{"-e"}, .kind = .value_missing },
        .{ .words = &.{"--dockerc-help=1"}, .kind = .not_a_switch },
    };
    for (cases) |case| {
        var problem: Problem = .{};
        try std.testing.expectError(error.Usage, parse(arena.allocator(), case.words, &problem));
        try std.testing.expectEqual(case.kind, problem.kind);
    }
}

test "words of a line" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const words = try split(arena.allocator(), " -e 'A=b c' \"d'\\\"e\"\\ f ''\n");
    try std.testing.expectEqualDeep(
        @as([]const []const u8, &.{ "-e", "A=b c", "d'\"e f", "" }),
        words,
    );
    try std.testing.expectError(error.Quote, split(arena.allocator(), "'a"));
}
