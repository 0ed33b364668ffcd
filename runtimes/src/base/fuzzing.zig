//! How long and from where the tests that feed in random bytes go on: DOCKERC_FUZZ_ROUNDS and
//! DOCKERC_FUZZ_SEED in the environment ask for more than a test run's share.
const std = @import("std");
const sys = @import("syscalls.zig");

pub fn rounds(default: usize) usize {
    return number("DOCKERC_FUZZ_ROUNDS=") orelse default;
}

pub fn seed() u64 {
    return number("DOCKERC_FUZZ_SEED=") orelse 1;
}

fn number(name: []const u8) ?usize {
    var buf: [1 << 17]u8 = undefined;
    const environ = sys.readStart(sys.at_fdcwd, "/proc/self/environ", &buf) catch return null;
    var words = std.mem.splitScalar(u8, environ, 0);
    while (words.next()) |word| {
        if (std.mem.startsWith(u8, word, name))
            return std.fmt.parseInt(usize, word[name.len..], 10) catch null;
    }
    return null;
}
