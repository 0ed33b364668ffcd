//! What `dockerc vm` wrote for this start: records "NAME VALUE", each ended by a zero byte, in a
//! file of the initramfs (docs/vm.md).
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const quantity = @import("../cli/quantity.zig");

pub const path = "/dockerc-vm";
/// The command line and the environment of a run, which execve(2) bounds to a few megabytes.
const bytes_max = 8 << 20;

pub const Share = struct { tag: [:0]const u8, read_only: bool };

pub const Settings = struct {
    /// What each port begins with: proof that the connection is this machine's.
    token: []const u8 = "",
    /// Bytes of the executable; the disk has whole sectors.
    size: u64 = 0,
    /// The caller's terminal, if the app is to have one.
    terminal: ?Terminal = null,
    processors: u32 = 1,
    network: bool = false,
    overlay: bool = false,
    /// Copies of files that -v names.
    files: bool = false,
    modules: std.ArrayList([:0]const u8) = .empty,
    shares: std.ArrayList(Share) = .empty,
    /// The runtime's command line and environment.
    arguments: std.ArrayList([*:0]const u8) = .empty,
    variables: std.ArrayList([:0]const u8) = .empty,

    pub const Terminal = struct { rows: u16, columns: u16, errors: bool };

    pub fn read(arena: std.mem.Allocator) !Settings {
        const all = sys.readLarge(sys.at_fdcwd, path, bytes_max) catch |err|
            log.die("cannot read {s}: {s}", .{ path, errno.text(err) });
        return parse(arena, all) catch |err| switch (err) {
            error.OutOfMemory => |e| return e,
            error.Malformed => log.die("{s} is malformed", .{path}),
        };
    }

    fn parse(arena: std.mem.Allocator, all: []const u8) error{ Malformed, OutOfMemory }!Settings {
        var self: Settings = .{};
        var rest = all;
        while (rest.len > 0) {
            const end = std.mem.findScalar(u8, rest, 0) orelse return error.Malformed;
            const space = std.mem.findScalar(u8, rest[0..end], ' ') orelse return error.Malformed;
            try self.put(arena, rest[0..space], rest[space + 1 .. end :0]);
            rest = rest[end + 1 ..];
        }
        return self;
    }

    fn put(
        self: *Settings,
        arena: std.mem.Allocator,
        name: []const u8,
        value: [:0]const u8,
    ) error{ Malformed, OutOfMemory }!void {
        if (is(name, "argument")) {
            try self.arguments.append(arena, value.ptr);
        } else if (is(name, "variable")) {
            try self.variables.append(arena, value);
        } else if (is(name, "module")) {
            try self.modules.append(arena, value);
        } else if (is(name, "share-ro") or is(name, "share-rw")) {
            try self.shares.append(arena, .{ .tag = value, .read_only = is(name, "share-ro") });
        } else if (is(name, "token")) {
            self.token = value;
        } else if (is(name, "size")) {
            self.size = quantity.number(u64, value) orelse return error.Malformed;
        } else if (is(name, "terminal")) {
            self.terminal = try terminalOf(value);
        } else if (is(name, "processors")) {
            self.processors = quantity.number(u32, value) orelse return error.Malformed;
        } else if (is(name, "network")) {
            self.network = true;
        } else if (is(name, "overlay")) {
            self.overlay = true;
        } else if (is(name, "files")) {
            self.files = true;
        } else return error.Malformed;
    }

    fn terminalOf(value: []const u8) error{Malformed}!Terminal {
        var words = std.mem.splitScalar(u8, value, ' ');
        return .{
            .rows = try number(words.next() orelse return error.Malformed),
            .columns = try number(words.next() orelse return error.Malformed),
            .errors = std.mem.eql(u8, words.next() orelse return error.Malformed, "1"),
        };
    }
};

fn is(given: []const u8, wanted: []const u8) bool {
    return std.mem.eql(u8, given, wanted);
}

fn number(value: []const u8) error{Malformed}!u16 {
    return quantity.number(u16, value) orelse error.Malformed;
}

test "records" {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const text = "token ab\x00size 700\x00terminal 24 80 1\x00share-ro a\x00argument a b\x00" ++
        "argument \x00variable A=\x00network 1\x00processors 4\x00";
    const found = try Settings.parse(arena.allocator(), text);
    try std.testing.expectEqualStrings("ab", found.token);
    try std.testing.expectEqual(700, found.size);
    try std.testing.expectEqual(80, found.terminal.?.columns);
    try std.testing.expect(found.shares.items[0].read_only and found.network);
    try std.testing.expectEqual(4, found.processors);
    try std.testing.expectEqual(2, found.arguments.items.len);
    try std.testing.expectEqualStrings("a b", std.mem.span(found.arguments.items[0]));
    try std.testing.expectEqualStrings("A=", found.variables.items[0]);
    for ([_][]const u8{
        "token",
        "token a",
        "other a\x00",
        "size x\x00",
        "terminal 1 2\x00",
    }) |each| try std.testing.expectError(
        error.Malformed,
        Settings.parse(arena.allocator(), each),
    );
}
