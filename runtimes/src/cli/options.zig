//! The runtime's own options, and where they end: by docker's rule at the first word that is not an
//! option, or, in the executable of a program, before every word (see Rule). What comes after
//! them belongs to the app. Values are parsed where they are used.
const std = @import("std");
const flags = @import("flags.zig");
pub const Flag = flags.Flag;
pub const isOfFile = flags.isAboutFile;

pub const Given = struct {
    flag: Flag,
    value: []const u8,
    /// Written by its letter.
    short: bool = false,
};

pub const Options = struct {
    given: []const Given,
    /// The app's arguments.
    args: []const []const u8,
    /// An option without effect on the app, directly before them with no `--` between: it may have
    /// been meant for the app.
    taken: ?[]const u8 = null,

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

    /// Whether the run has a network of its own that is connected with the machine's.
    pub fn isPrivate(self: *const Options) bool {
        return std.mem.eql(u8, self.last(.network) orelse return false, "private");
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
    kind: enum { none, unknown, substituted, value_missing, not_a_switch } = .none,
    /// What to do in its stead.
    instead: []const u8 = "",
};

/// How the command line is read: the annotation dev.dockerc.args.
pub const Rule = enum {
    /// As after `docker run IMAGE`'s place: options of ours, and then the app's words.
    docker,
    /// The executable is a tool: every word is the app's, except --dockerc-… in front of all. Ours
    /// are taken where a `--` ends them and every word before it is one of ours.
    program,
};

/// `words` is the command line without the program's name; `before` are the words of DOCKERC_ARGS,
/// options of ours under both rules.
pub fn parse(
    arena: std.mem.Allocator,
    rule: Rule,
    before: []const []const u8,
    words: []const []const u8,
    problem: *Problem,
) error{ Usage, OutOfMemory }!Options {
    var parser: Parser = .{ .arena = arena, .problem = problem };
    if (rule == .docker) parser.words = try std.mem.concat(arena, []const u8, &.{ before, words });
    if (rule == .program) parser.words = before;
    try parser.untilOtherWord();
    const first = parser.left();
    if (rule == .docker)
        return .{ .given = parser.given.items, .args = first, .taken = parser.taken };

    parser.words = words;
    parser.at = 0;
    while (parser.at < words.len and isAboutFile(words[parser.at])) try parser.option();
    var all: Parser = parser;
    all.given = try parser.given.clone(arena);
    if (try all.areOurs()) parser = all;
    return .{
        .given = parser.given.items,
        .args = try std.mem.concat(arena, []const u8, &.{ first, parser.left() }),
    };
}

/// Whether it is one of the options about the file itself, which no program has.
pub fn isAboutFile(word: []const u8) bool {
    return std.mem.startsWith(u8, word, "--" ++ flags.about_file);
}

/// Whether it names the log, a file that is written.
pub fn isLog(word: []const u8) bool {
    return std.mem.eql(u8, word, "--log") or std.mem.startsWith(u8, word, "--log=");
}

const Parser = struct {
    arena: std.mem.Allocator,
    words: []const []const u8 = &.{},
    problem: *Problem,
    at: usize = 0,
    given: std.ArrayList(Given) = .empty,
    /// The last option, if it has no effect on the app.
    taken: ?[]const u8 = null,

    fn left(self: *const Parser) []const []const u8 {
        return self.words[self.at..];
    }

    /// Up to a word that is no option, or a `--`, which is left out.
    fn untilOtherWord(self: *Parser) !void {
        while (self.at < self.words.len) {
            const word = self.words[self.at];
            if (word.len < 2 or word[0] != '-') return;
            if (std.mem.eql(u8, word, "--")) {
                self.at += 1;
                self.taken = null;
                return;
            }
            try self.option();
        }
    }

    fn option(self: *Parser) !void {
        const word = self.words[self.at];
        self.at += 1;
        self.taken = null;
        try if (word[1] == '-') self.long(word) else self.short(word);
        const last = self.given.items[self.given.items.len - 1];
        if (last.flag == .nothing or last.flag == .name) self.taken = word;
    }

    /// Whether a `--` comes, and before it only what can be meant for us: `-v .:/w -- …`, but not
    /// `-- …`, `-v -- …`, `-i -- …` or `-e text -- …`, which many programs take themselves
    /// (`--env NAME -- …` is for us).
    fn areOurs(self: *Parser) !bool {
        const already = self.given.items.len;
        self.untilOtherWord() catch |err| switch (err) {
            error.OutOfMemory => |e| return e,
            error.Usage => return false,
        };
        if (self.at == 0 or !std.mem.eql(u8, self.words[self.at - 1], "--")) return false;
        const found = self.given.items[already..];
        var meant = false;
        for (found) |each| {
            const value = each.value;
            const mark: u8 = switch (each.flag) {
                .env => '=',
                .volume => ':',
                else => 0,
            };
            if (each.flag == .nothing or each.flag == .name) continue;
            if (each.flag == .detach and each.short) continue;
            if (std.mem.startsWith(u8, value, "-")) return false;
            if (each.short and mark != 0 and std.mem.findScalar(u8, value, mark) == null)
                return false;
            meant = true;
        }
        return meant;
    }

    fn long(self: *Parser, word: []const u8) !void {
        const name, const joined = if (std.mem.cutScalar(u8, word[2..], '=')) |parts|
            .{ parts[0], @as(?[]const u8, parts[1]) }
        else
            .{ word[2..], null };
        for (&flags.table) |*known| if (std.mem.eql(u8, known.name, name)) {
            if (known.value) return self.add(.{
                .flag = known.flag,
                .value = joined orelse try self.next(word),
            });
            const state = joined orelse "true";
            if (!std.mem.eql(u8, state, "true") and !std.mem.eql(u8, state, "false"))
                return self.fail(word, .not_a_switch);
            return self.add(.{ .flag = known.flag, .value = state });
        };
        if (flags.substituteOf(name)) |instead| {
            self.problem.instead = instead;
            return self.fail(word, .substituted);
        }
        return self.fail(word, .unknown);
    }

    /// Several letters joined, the last perhaps with its value: -it, -itv/a:/b, -e=A=1.
    fn short(self: *Parser, word: []const u8) !void {
        for (word[1..], 1..) |letter, i| {
            const known = for (&flags.table) |*known| {
                if (known.short == letter) break known;
            } else {
                return self.fail(word, .unknown);
            };
            if (known.value) {
                const rest = word[i + 1 ..];
                const joined = if (rest.len > 0 and rest[0] == '=') rest[1..] else rest;
                const value = if (rest.len > 0) joined else try self.next(word);
                return self.add(.{ .flag = known.flag, .value = value, .short = true });
            }
            try self.add(.{ .flag = known.flag, .value = "true", .short = true });
        }
    }

    fn add(self: *Parser, given: Given) !void {
        return self.given.append(self.arena, given);
    }

    fn next(self: *Parser, word: []const u8) ![]const u8 {
        if (self.at == self.words.len) return self.fail(word, .value_missing);
        self.at += 1;
        return self.words[self.at - 1];
    }

    fn fail(self: *Parser, word: []const u8, kind: @FieldType(Problem, "kind")) error{Usage} {
        self.problem.word = word;
        self.problem.kind = kind;
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
    const o = try parse(arena, .docker, &.{}, &.{
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
    const dashes = try parse(arena, .docker, &.{}, &.{ "--", "-x" }, &problem);
    try std.testing.expectEqualDeep(@as([]const []const u8, &.{"-x"}), dashes.args);
    const lone = try parse(arena, .docker, &.{}, &.{"-"}, &problem);
    try std.testing.expectEqualDeep(@as([]const []const u8, &.{"-"}), lone.args);
    const twice = try parse(
        arena,
        .docker,
        &.{ "--init", "-w", "/a" },
        &.{ "--init=false", "-w/b" },
        &problem,
    );
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
        const parsed = parse(arena.allocator(), .docker, &.{}, case.words, &problem);
        try std.testing.expectError(error.Usage, parsed);
        try std.testing.expectEqual(case.kind, problem.kind);
    }
}

test "every word is the program's" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    // How many words in front are ours.
    const cases = [_]struct { ours: usize, words: []const []const u8 }{
        .{ .ours = 0, .words = &.{ "-i", "in.mp4", "out.gif" } },
        .{ .ours = 0, .words = &.{"--version"} },
        .{ .ours = 0, .words = &.{ "-e", "A=1", "x", "--", "y" } },
        .{ .ours = 0, .words = &.{ "-x", "--", "y" } },
        .{ .ours = 0, .words = &.{ "-i", "--", "y" } },
        .{ .ours = 0, .words = &.{ "-e", "y", "--", "z" } },
        .{ .ours = 0, .words = &.{ "-v", "--", "y", "z" } },
        .{ .ours = 0, .words = &.{ "-v", "-i", "--", "y" } },
        .{ .ours = 0, .words = &.{ "-v", "a:/b" } },
        .{ .ours = 0, .words = &.{ "--", "-e", "A=1", "--", "y" } },
        .{ .ours = 3, .words = &.{ "-v", ".:/w", "--", "-i", "in.mp4" } },
        .{ .ours = 4, .words = &.{ "-it", "--env=A", "-eB=2", "--" } },
        .{ .ours = 5, .words = &.{ "--name", "a", "-u", "1", "--", "y" } },
        .{ .ours = 1, .words = &.{ "--dockerc-version", "--dockerc", "--", "x" } },
        .{ .ours = 4, .words = &.{ "--dockerc-version", "-w", "/x", "--", "y" } },
    };
    for (cases) |case| {
        var problem: Problem = .{};
        const before = [_][]const u8{ "-w", "/w" };
        const o = try parse(arena, .program, &before, case.words, &problem);
        try std.testing.expectEqualDeep(case.words[case.ours..], o.args);
        try std.testing.expect(o.last(.workdir) != null);
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
