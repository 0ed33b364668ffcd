//! The ranges of ids that a user may map in a user namespace: of /etc/subuid and /etc/subgid
//! (subuid(5)), or of the service that nsswitch.conf names for them (sssd, for example), which
//! getsubids(1) asks.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const passwd = @import("../config/passwd.zig");
const quantity = @import("../cli/quantity.zig");
const Environment = @import("../cli/environment.zig").Environment;

pub const Range = struct { start: u32, count: u32 };
pub const Ranges = struct { uids: ?Range = null, gids: ?Range = null };

/// The largest that the user has.
pub fn find(arena: std.mem.Allocator, environment: *const Environment, uid: u32) Ranges {
    // Of a user that a service knows the environment has the name; newuidmap(1) checks it.
    const user = userName(uid) orelse environment.get("LOGNAME") orelse environment.get("USER");
    if (!inService()) return .{
        .uids = inFile("/etc/subuid", user, uid),
        .gids = inFile("/etc/subgid", user, uid),
    };
    const name = user orelse return .{};
    const program = environment.findProgram(arena, "getsubids") orelse return .{};
    const name_z = arena.dupeSentinel(u8, name, 0) catch return .{};
    return .{
        .uids = asked(&.{ program, name_z }, name),
        .gids = asked(&.{ program, "-g", name_z }, name),
    };
}

fn inFile(path: [*:0]const u8, user: ?[]const u8, uid: u32) ?Range {
    return largest(sys.readLarge(sys.at_fdcwd, path, 16 << 20) catch return null, user, uid);
}

fn asked(words: [*:null]const ?[*:0]const u8, user: []const u8) ?Range {
    var buf: [4096]u8 = undefined;
    return largestOf(output(words, &buf) catch return null, user);
}

/// Whether another than the files is asked (nsswitch.conf's `subid`, of which there is one).
fn inService() bool {
    var buf: [16384]u8 = undefined;
    return serviceOf(sys.readFile(sys.at_fdcwd, "/etc/nsswitch.conf", &buf) catch return false);
}

fn serviceOf(lines_of_file: []const u8) bool {
    var lines = std.mem.tokenizeScalar(u8, lines_of_file, '\n');
    while (lines.next()) |line| {
        var words = std.mem.tokenizeAny(u8, line, " \t");
        if (!std.mem.eql(u8, words.next() orelse continue, "subid:")) continue;
        return !std.mem.eql(u8, words.next() orelse "files", "files");
    }
    return false;
}

/// What a program writes to its standard output, as far as `buf` goes.
fn output(words: [*:null]const ?[*:0]const u8, buf: []u8) sys.Error![]const u8 {
    const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
    var pipe: [2]sys.fd_t = undefined;
    try sys.do(.pipe2, .{ &pipe, cloexec });
    defer sys.close(pipe[0]);
    const child = try sys.fork();
    if (child == 0) {
        sys.closeStandard();
        sys.do(.dup3, .{ pipe[1], 1, 0 }) catch sys.exit(127);
        const none = [_:null]?[*:0]const u8{};
        _ = sys.raw(.execve, .{ words[0].?, words, &none });
        sys.exit(127);
    }
    sys.close(pipe[1]);
    var len: usize = 0;
    while (len < buf.len) {
        const n = sys.call(.read, .{ pipe[0], buf[len..].ptr, buf.len - len }) catch |err|
            if (err == error.INTR) continue else 0;
        if (n == 0) break;
        len += n;
    }
    const end = try sys.wait(child, 0);
    return if (end.status == 0) buf[0..len] else error.IO;
}

/// Of getsubids(1): its own number, the user, the first id, how many.
fn largestOf(answer: []const u8, user: []const u8) ?Range {
    var best: ?Range = null;
    var lines = std.mem.tokenizeScalar(u8, answer, '\n');
    while (lines.next()) |line| {
        var words = std.mem.tokenizeScalar(u8, line, ' ');
        _ = words.next();
        if (!std.mem.eql(u8, words.next() orelse continue, user)) continue;
        keepLarger(&best, words.next(), words.next());
    }
    return best;
}

fn largest(table: []const u8, user: ?[]const u8, uid: u32) ?Range {
    var best: ?Range = null;
    var lines = std.mem.tokenizeScalar(u8, table, '\n');
    while (lines.next()) |line| {
        var fields = std.mem.splitScalar(u8, line, ':');
        const owner = fields.first();
        const by_number = quantity.number(u32, owner) == uid;
        const by_name = if (user) |name| std.mem.eql(u8, owner, name) else false;
        if (by_name or by_number) keepLarger(&best, fields.next(), fields.next());
    }
    return best;
}

fn keepLarger(best: *?Range, first: ?[]const u8, number: ?[]const u8) void {
    const start = quantity.number(u32, first orelse return) orelse return;
    const count = quantity.number(u32, number orelse return) orelse return;
    if (count > std.math.maxInt(u32) - start) return;
    if (best.* == null or count > best.*.?.count) best.* = .{ .start = start, .count = count };
}

fn userName(uid: u32) ?[]const u8 {
    const table = sys.readLarge(sys.at_fdcwd, "/etc/passwd", 16 << 20) catch return null;
    return (passwd.find(table, .{ .id = uid }) orelse return null).name;
}

test "the largest range of the user" {
    const table = "root:1:2\nbench:100000:65536\n1001:300000:70000\nbench:x:3\nbench:5\n";
    try std.testing.expectEqual(
        Range{ .start = 300000, .count = 70000 },
        largest(table, "bench", 1001).?,
    );
    try std.testing.expectEqual(
        Range{ .start = 100000, .count = 65536 },
        largest(table, "bench", 7).?,
    );
    try std.testing.expect(largest(table, null, 7) == null);
}

test "what getsubids says" {
    const answer = "0: bench 100000 65536\n1: bench 300000 70000\n2: other 5 4000000000\n3: bench";
    try std.testing.expectEqual(
        Range{ .start = 300000, .count = 70000 },
        largestOf(answer, "bench").?,
    );
    try std.testing.expect(largestOf("Error fetching ranges\n", "bench") == null);
}

test "who is asked" {
    try std.testing.expect(serviceOf("passwd: files sss\nsubid:\tsss\n"));
    try std.testing.expect(!serviceOf("subid: files\n"));
    try std.testing.expect(!serviceOf("#subid: sss\npasswd: sss\n"));
}
