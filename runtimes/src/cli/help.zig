//! --dockerc-help: whose the words of this file's command line are, and the options.
const std = @import("std");
const base = @import("../base/text.zig");
const Rule = @import("options.zig").Rule;

const options = @embedFile("manual.txt");

const docker =
    \\Usage: {s} [OPTION...] [--] [ARGUMENT...]
    \\
    \\Runs the container image in this file. Options are those of docker run; they end at the first
    \\word that is not one of them. Arguments replace the image's default command.
    \\
    \\
;
const program =
    \\Usage: {s} [ARGUMENT...]
    \\       {s} OPTION... -- [ARGUMENT...]
    \\
    \\Runs the program in this file: every argument is the program's. Options are those of docker
    \\run; they are taken where -- ends them and every word before it is an option, and from
    \\DOCKERC_ARGS. Of --dockerc-… those in front of all other words are taken.
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
