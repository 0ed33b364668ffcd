//! What an execve(2) that is being made is to start.
const std = @import("std");
const sys = @import("../base/syscalls.zig");

/// Of scripts that are interpreters of scripts (execve(2)).
pub const scripts_max = 5;
pub const words_max = 3 * scripts_max;

pub const Plan = struct {
    /// Files that have no path on the machine; they are opened by a descriptor of ours, which stays
    /// open until the process executes another program.
    files: [2]?sys.fd_t = .{ null, null },
    /// Paths on the machine, the interpreter's perhaps empty.
    paths: [2][]const u8 = .{ "", "" },
    /// The program's file.
    exe: []const u8 = "",
    /// As execve(2) was called.
    name: []const u8 = "",
    /// What stands before the arguments, in place of their first word.
    words: [words_max][]const u8 = undefined,
    word_count: usize = 0,

    pub fn discard(self: *Plan, memory: std.mem.Allocator) void {
        for (self.files) |file| if (file) |fd| sys.close(fd);
        for (self.paths) |path| memory.free(path);
        memory.free(self.exe);
        memory.free(self.name);
        for (self.words[0..self.word_count]) |word| memory.free(word);
        memory.destroy(self);
    }
};
