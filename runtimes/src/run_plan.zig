//! What a run is to run, without any system call that changes something.
const std = @import("std");
const log = @import("base/log.zig");
const apply_options = @import("config/apply_options.zig");
const config = @import("config/spec.zig");
const exec = @import("container/exec.zig");
const programs = @import("config/program.zig");
const Environment = @import("cli/environment.zig").Environment;
const Options = @import("cli/options.zig").Options;
const Pair = @import("namespaces/userns.zig").Pair;
const Service = @import("config/service.zig").Service;
const Reader = @import("squashfs/reader.zig").Reader;

/// What to run: config.json with the caller's options.
pub const Plan = struct {
    spec: *config.Spec,
    /// Of the root file system in the payload.
    root: []const u8,
    host_access: apply_options.HostAccess,
    args: []const []const u8,
    env: Environment,

    pub fn make(
        arena: std.mem.Allocator,
        reader: *Reader,
        spec: *config.Spec,
        options: *const Options,
        callers: *const Environment,
        service: Service,
    ) !Plan {
        const root = spec.rootPath();
        const host_access = try apply_options.apply(arena, spec, options, callers, .{
            .arena = arena,
            .reader = reader,
            .root = root,
        });
        const args = config.command(
            arena,
            spec,
            options.last(.entrypoint),
            options.args,
        ) catch |err| switch (err) {
            error.OutOfMemory => |e| return e,
            error.Json => log.die("the payload's dev.dockerc.entrypoint or dev.dockerc.cmd is " ++
                "not a list of words", .{}),
        };
        if (args.len == 0) log.die("the image has no command: give one", .{});
        var env = try exec.environment(arena, spec, options, callers);
        try service.extend(arena, &env, callers, options.has(.init));
        if (options.taken) |word| if (options.args.len > 0 and
            !(programs.isLikely(arena, reader, root, env.path(), options.args[0]) catch true))
            log.note("{s} was taken for docker run's option (to pass it to the program, " ++
                "put -- before it)", .{word});
        return .{
            .spec = spec,
            .root = root,
            .host_access = host_access,
            .args = args,
            .env = env,
        };
    }
};

/// What --overlay keeps has the same owners whoever the app's user is: there the caller is root.
pub fn mappedIds(spec: *const config.Spec, options: *const Options) Pair {
    if (options.last(.overlay) != null) return .{ .uid = 0, .gid = 0 };
    return .{ .uid = spec.process.user.uid, .gid = spec.process.user.gid };
}
