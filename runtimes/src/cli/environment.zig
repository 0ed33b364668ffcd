//! An environment: NAME=VALUE words, and the programs that its PATH leads to.
const std = @import("std");
const sys = @import("../base/syscalls.zig");

const default_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub const Environment = struct {
    words: std.ArrayList([:0]const u8) = .empty,

    pub fn get(self: *const Environment, name: []const u8) ?[]const u8 {
        const i = self.indexOf(name) orelse return null;
        return self.words.items[i][name.len + 1 ..];
    }

    fn indexOf(self: *const Environment, name: []const u8) ?usize {
        for (self.words.items, 0..) |word, i| {
            if (word.len > name.len and
                word[name.len] == '=' and std.mem.startsWith(u8, word, name)) return i;
        }
        return null;
    }

    /// A later word of the same name takes the place of an earlier one.
    pub fn put(self: *Environment, arena: std.mem.Allocator, word: []const u8) !void {
        const name = word[0 .. std.mem.findScalar(u8, word, '=') orelse return];
        const copy = try arena.dupeSentinel(u8, word, 0);
        if (self.indexOf(name)) |i| {
            self.words.items[i] = copy;
        } else try self.words.append(arena, copy);
    }

    pub fn set(
        self: *Environment,
        arena: std.mem.Allocator,
        name: []const u8,
        value: []const u8,
    ) !void {
        try self.put(arena, try std.mem.concat(arena, u8, &.{ name, "=", value }));
    }

    pub fn block(self: *const Environment, arena: std.mem.Allocator) ![:null]?[*:0]const u8 {
        const out = try arena.allocSentinel(?[*:0]const u8, self.words.items.len, null);
        for (out, self.words.items) |*o, word| o.* = word.ptr;
        return out;
    }

    pub fn path(self: *const Environment) []const u8 {
        return self.get("PATH") orelse default_path;
    }

    /// The first executable of that name on PATH, seen from where we are.
    pub fn findProgram(
        self: *const Environment,
        arena: std.mem.Allocator,
        name: []const u8,
    ) ?[:0]const u8 {
        var dirs = std.mem.splitScalar(u8, self.path(), ':');
        while (dirs.next()) |dir| {
            const candidate = std.fs.path.joinZ(
                arena,
                &.{ if (dir.len == 0) "." else dir, name },
            ) catch return null;
            const executable = 1;
            sys.do(.faccessat, .{ sys.at_fdcwd, candidate.ptr, executable }) catch continue;
            const st = sys.stat(sys.at_fdcwd, candidate) catch continue;
            if (!sys.isDirectory(st.mode)) return candidate;
        }
        return null;
    }
};

test "words of one name replace each other" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    var env: Environment = .{};
    for ([_][]const u8{ "A=1", "AB=2", "A=3", "junk" }) |w| try env.put(arena.allocator(), w);
    try std.testing.expectEqualStrings("3", env.get("A").?);
    try std.testing.expectEqual(2, env.words.items.len);
    try std.testing.expect(env.get("B") == null);
}
