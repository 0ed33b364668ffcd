//! What is asked about the runs of this file: --dockerc-ps, --dockerc-exec and --dockerc-stop. They
//! stand before all other words.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const config = @import("../config/spec.zig");
const exec = @import("exec.zig");
const instance = @import("instance.zig");
const ps = @import("ps.zig");
const stop = @import("stop.zig");
const Environment = @import("../cli/environment.zig").Environment;
const Reader = @import("../squashfs/reader.zig").Reader;

pub const Reading = instance.Reading;

pub const Verb = enum {
    exec,
    ps,
    stop,

    /// Null if the command line is that of a run.
    pub fn of(line: []const []const u8) ?Verb {
        if (line.len == 0) return null;
        for ([_]Verb{ .exec, .ps, .stop }, [_][]const u8{
            "--dockerc-exec",
            "--dockerc-ps",
            "--dockerc-stop",
        }) |verb, name| if (std.mem.eql(u8, line[0], name)) return verb;
        return null;
    }
};

/// What the file and the caller bring along.
pub const Question = struct {
    verb: Verb,
    /// The words after it.
    words: []const []const u8,
    reader: *Reader,
    spec: *config.Spec,
    callers: *const Environment,
    reading: Reading,
};

/// Returns the exit status.
pub fn answer(arena: std.mem.Allocator, question: *const Question) !u8 {
    const flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
    const proc = sys.openat(sys.at_fdcwd, "/proc", flags, 0) catch |err|
        log.die("/proc cannot be used: {s}", .{errno.text(err)});
    const found = try instance.all(arena, proc, question.reading);
    switch (question.verb) {
        .ps => try sys.writeAll(1, try ps.table(arena, question.spec, found)),
        .stop => try stop.run(arena, proc, question.spec, found, question.words),
        .exec => {
            var entry: exec.Entry = .{
                .arena = arena,
                .proc = proc,
                .reader = question.reader,
                .spec = question.spec,
                .callers = question.callers,
            };
            return entry.run(found, question.words);
        },
    }
    return 0;
}
