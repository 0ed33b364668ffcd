//! The runtime's own options. They stand before the first word that is not one of them (docker's
//! rule), so that everything after belongs to the app.
const std = @import("std");

pub const Volume = struct {
    source: []const u8,
    destination: []const u8,
    readonly: bool,
};

pub const Options = struct {
    env: []const []const u8,
    volumes: []const Volume,
    /// The app's own words.
    args: []const []const u8,
    action: Action = .run,
};

pub const Action = enum { run, version, help };

/// Why the words could not be understood; `word` is the one it is about.
pub const Problem = struct {
    word: []const u8 = "",
    kind: enum { none, unknown, value_missing, value_unwanted, volume, environment } = .none,
};

const Flag = enum { env, volume, version, help };

const long = [_]struct { name: []const u8, flag: Flag }{
    .{ .name = "--env", .flag = .env },
    .{ .name = "--volume", .flag = .volume },
    .{ .name = "--dockerc-version", .flag = .version },
    .{ .name = "--dockerc-help", .flag = .help },
};

/// `words` without the program's name.
pub fn parse(arena: std.mem.Allocator, words: []const []const u8, problem: *Problem) error{ Usage, OutOfMemory }!Options {
    var env: std.ArrayList([]const u8) = .empty;
    var volumes: std.ArrayList(Volume) = .empty;
    var action: Action = .run;
    var i: usize = 0;
    while (i < words.len) {
        const word = words[i];
        if (word.len < 2 or word[0] != '-') break;
        i += 1;
        if (std.mem.eql(u8, word, "--")) break;
        var value: ?[]const u8 = null;
        const flag = split(word, &value) orelse return fail(problem, word, .unknown);
        switch (flag) {
            .version, .help => {
                if (value != null) return fail(problem, word, .value_unwanted);
                action = if (flag == .version) .version else .help;
            },
            .env, .volume => {
                if (value == null) {
                    if (i == words.len) return fail(problem, word, .value_missing);
                    value = words[i];
                    i += 1;
                }
                if (flag == .env) {
                    if (value.?.len == 0 or value.?[0] == '=') return fail(problem, value.?, .environment);
                    try env.append(arena, value.?);
                } else {
                    try volumes.append(arena, parseVolume(value.?) orelse return fail(problem, value.?, .volume));
                }
            },
        }
    }
    return .{ .env = env.items, .volumes = volumes.items, .args = words[i..], .action = action };
}

fn fail(problem: *Problem, word: []const u8, kind: @FieldType(Problem, "kind")) error{Usage} {
    problem.* = .{ .word = word, .kind = kind };
    return error.Usage;
}

/// The flag that a word names, and the value joined to it, if any.
fn split(word: []const u8, value: *?[]const u8) ?Flag {
    if (word[1] != '-') {
        if (word.len > 2) value.* = if (word[2] == '=') word[3..] else word[2..];
        return switch (word[1]) {
            'e' => .env,
            'v' => .volume,
            else => null,
        };
    }
    const name = if (std.mem.cutScalar(u8, word, '=')) |parts| blk: {
        value.* = parts[1];
        break :blk parts[0];
    } else word;
    for (long) |l| if (std.mem.eql(u8, l.name, name)) return l.flag;
    return null;
}

fn parseVolume(text: []const u8) ?Volume {
    const source, const rest = std.mem.cutScalar(u8, text, ':') orelse return null;
    const destination, const mode = std.mem.cutScalar(u8, rest, ':') orelse .{ rest, "rw" };
    if (source.len == 0 or destination.len == 0 or destination[0] != '/') return null;
    var readonly = false;
    var modes = std.mem.splitScalar(u8, mode, ',');
    while (modes.next()) |m| {
        if (std.mem.eql(u8, m, "ro")) {
            readonly = true;
            // Labels of SELinux and propagation have no meaning here.
        } else if (!std.mem.eql(u8, m, "rw") and !std.mem.eql(u8, m, "z") and !std.mem.eql(u8, m, "Z")) return null;
    }
    return .{ .source = source, .destination = destination, .readonly = readonly };
}

test "options end at the first word" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    var problem: Problem = .{};
    const o = try parse(arena.allocator(), &.{ "-e", "A=1", "-eB", "--env=C=3", "--env", "D", "-v", "./x:/data:ro", "-v.:/y", "input", "-v", "error" }, &problem);
    try std.testing.expectEqualDeep(@as([]const []const u8, &.{ "A=1", "B", "C=3", "D" }), o.env);
    try std.testing.expectEqualDeep(@as([]const Volume, &.{
        .{ .source = "./x", .destination = "/data", .readonly = true },
        .{ .source = ".", .destination = "/y", .readonly = false },
    }), o.volumes);
    try std.testing.expectEqualDeep(@as([]const []const u8, &.{ "input", "-v", "error" }), o.args);
    const dashes = try parse(arena.allocator(), &.{ "--", "-x" }, &problem);
    try std.testing.expectEqualDeep(@as([]const []const u8, &.{"-x"}), dashes.args);
    const lone = try parse(arena.allocator(), &.{"-"}, &problem);
    try std.testing.expectEqualDeep(@as([]const []const u8, &.{"-"}), lone.args);
}

test "options that are wrong" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const cases = [_]struct { words: []const []const u8, kind: @FieldType(Problem, "kind") }{
        .{ .words = &.{"--frob"}, .kind = .unknown },
        .{ .words = &.{"-x"}, .kind = .unknown },
        .{ .words = &.{"-e"}, .kind = .value_missing },
        .{ .words = &.{ "-e", "=x" }, .kind = .environment },
        .{ .words = &.{ "-v", "/a" }, .kind = .volume },
        .{ .words = &.{ "-v", "/a:b" }, .kind = .volume },
        .{ .words = &.{ "-v", "/a:/b:rx" }, .kind = .volume },
        .{ .words = &.{"--dockerc-help=1"}, .kind = .value_unwanted },
    };
    for (cases) |case| {
        var problem: Problem = .{};
        try std.testing.expectError(error.Usage, parse(arena.allocator(), case.words, &problem));
        try std.testing.expectEqual(case.kind, problem.kind);
    }
}
