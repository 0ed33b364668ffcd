//! Threads, made in one place: the standard library makes a new function for every kind of them.
const std = @import("std");

/// `arguments` are kept in the arena, for as long as the thread may want them.
pub fn spawn(arena: std.mem.Allocator, comptime function: anytype, arguments: anytype) !std.Thread {
    const Context = struct {
        arguments: @TypeOf(arguments),

        fn run(context: *anyopaque) void {
            const self: *@This() = @ptrCast(@alignCast(context));
            @call(.auto, function, self.arguments);
        }
    };
    const context = try arena.create(Context);
    context.* = .{ .arguments = arguments };
    return start(Context.run, context);
}

noinline fn start(run: *const fn (*anyopaque) void, context: *anyopaque) !std.Thread {
    return std.Thread.spawn(.{ .stack_size = 256 * 1024 }, call, .{ run, context });
}

fn call(run: *const fn (*anyopaque) void, context: *anyopaque) void {
    run(context);
}
