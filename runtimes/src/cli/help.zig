//! --dockerc-help: how this file reads its arguments, and the options.
const std = @import("std");
const base = @import("../base/text.zig");
const Rule = @import("options.zig").Rule;

const options = @embedFile("manual.txt");

const docker =
    \\Usage: {s} [OPTION...] [--] [ARGUMENT...]
    \\
    \\Runs the container image in this file. Options are those of docker run; they end at -- or at
    \\the first word that is not an option. Arguments replace the image's command.
    \\
    \\
;
const program =
    \\Usage: {s} [ARGUMENT...]
    \\       {s} OPTION... -- [ARGUMENT...]
    \\
    \\Runs the program in this file: every argument is the program's. To give options of docker
    \\run, put them first and -- after them, or set DOCKERC_ARGS. Options that begin with --dockerc-
    \\need no --; they stand before all other words.
    \\
    \\
;

/// `name` is how this file was called.
pub fn text(arena: std.mem.Allocator, name: []const u8, rule: Rule) ![]const u8 {
    return std.mem.concat(arena, u8, &.{
        switch (rule) {
            .docker => try base.alloc(arena, docker, .{name}),
            .program => try base.alloc(arena, program, .{ name, name }),
        },
        options,
    });
}
