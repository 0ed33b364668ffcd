//! config.json of the bundle: the part of the OCI runtime specification that is used, and the
//! annotations in which the builder stores what the specification lacks.
const std = @import("std");
const json = @import("json.zig");
const extents = @import("../squashfs/extents.zig");
const log = @import("../base/log.zig");
const path = @import("../squashfs/path.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const Reader = @import("../squashfs/reader.zig").Reader;
const Rule = @import("../cli/options.zig").Rule;

pub const size_max = 4 << 20;

pub const Spec = struct {
    process: Process = .{},
    root: Root = .{},
    hostname: ?[]const u8 = null,
    mounts: []const Mount = &.{},
    annotations: json.Value = .null,
    linux: Linux = .{},
    /// The run is that of `dockerc vm`, which has read what was given at build.
    in_machine: bool = false,

    pub fn annotation(self: *const Spec, name: []const u8) ?[]const u8 {
        return (self.annotations.get(name) orelse return null).text() catch null;
    }

    /// How the command line is read. Executables without the annotation are older than
    /// it, or the first dockerc's.
    pub fn argsRule(self: *const Spec) Rule {
        if (self.in_machine) return .docker;
        const name = self.annotation("dev.dockerc.args") orelse return .docker;
        return if (std.mem.eql(u8, name, "program")) .program else .docker;
    }

    /// Of the root file system in the payload. It becomes a part of overlayfs' options, and must
    /// not lead out of the payload.
    pub fn rootPath(self: *const Spec) []const u8 {
        const given = self.root.path;
        var parts = std.mem.splitScalar(u8, given, '/');
        var plain = given.len > 0 and std.mem.findAny(u8, given, ",:\\") == null;
        while (parts.next()) |name| if (name.len == 0 or std.mem.eql(u8, name, "..")) {
            plain = false;
        };
        if (!plain) log.die("the payload's root.path is not a directory in it: {s}", .{given});
        return given;
    }

    /// Whether it was built for the machine's root alone.
    pub fn isRootfull(self: *const Spec) bool {
        return std.mem.eql(u8, self.annotation("dev.dockerc.rootfull") orelse return false, "true");
    }
};

pub const Root = struct {
    path: []const u8 = "rootfs",
    readonly: bool = false,
};

pub const Process = struct {
    user: User = .{},
    args: ?[]const []const u8 = null,
    env: []const []const u8 = &.{},
    cwd: []const u8 = "/",
    capabilities: ?Capabilities = null,
    rlimits: []const Rlimit = &.{},
    noNewPrivileges: bool = false,
    oomScoreAdj: ?i32 = null,
};

pub const User = struct {
    uid: u32 = 0,
    gid: u32 = 0,
    umask: ?u32 = null,
    additionalGids: []const u32 = &.{},
};

pub const Capabilities = struct {
    bounding: []const []const u8 = &.{},
    effective: []const []const u8 = &.{},
    inheritable: []const []const u8 = &.{},
    permitted: []const []const u8 = &.{},
    ambient: []const []const u8 = &.{},
};

pub const Rlimit = struct { type: []const u8, soft: u64, hard: u64 };

pub const Mount = struct {
    destination: []const u8,
    type: []const u8 = "",
    source: []const u8 = "",
    options: []const []const u8 = &.{},
    /// By an option, and not by config.json.
    given: bool = false,
};

pub const Linux = struct {
    namespaces: []const Namespace = &.{},
    maskedPaths: []const []const u8 = &.{},
    readonlyPaths: []const []const u8 = &.{},
    seccomp: json.Value = .null,

    pub fn hasNamespace(self: *const Linux, kind: []const u8) bool {
        for (self.namespaces) |namespace| if (std.mem.eql(u8, namespace.type, kind)) return true;
        return false;
    }
};

pub const Namespace = struct { type: []const u8 };

/// The bundle's config.json, as text.
pub fn readText(arena: std.mem.Allocator, reader: *Reader) ![]const u8 {
    const decoder = try reader.newDecoder();
    return readConfig(arena, reader, decoder) catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        error.TooLarge => log.die(
            "the payload's config.json is larger than {d} bytes",
            .{size_max},
        ),
        else => log.die("the payload is damaged: config.json cannot be read", .{}),
    } orelse log.die("the payload holds no config.json", .{});
}

/// The bundle's config.json.
pub fn read(arena: std.mem.Allocator, reader: *Reader) !*Spec {
    const spec = try arena.create(Spec);
    spec.* = parse(arena, try readText(arena, reader)) catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        error.Json => log.die("the payload's config.json is not a valid configuration", .{}),
    };
    return spec;
}

fn readConfig(arena: std.mem.Allocator, reader: *Reader, decoder: Decoder) !?[]const u8 {
    const file = try path.lookup(reader, decoder, "config.json") orelse return null;
    return try extents.readAlloc(reader, decoder, arena, &file, size_max);
}

pub fn parse(arena: std.mem.Allocator, text: []const u8) json.Error!Spec {
    return (try json.parse(arena, text)).decode(Spec, arena);
}

/// The command. As in docker, arguments replace the image's Cmd. Annotations hold Entrypoint and
/// Cmd; a payload of dockerc 0.3 has none, and arguments are appended, as that did.
pub fn command(
    arena: std.mem.Allocator,
    spec: *const Spec,
    instead: ?[]const u8,
    given: []const []const u8,
) ![]const []const u8 {
    // As in docker, --entrypoint drops the image's Cmd.
    if (instead) |program| return std.mem.concat(arena, []const u8, &.{
        if (program.len > 0) &.{program} else &.{},
        given,
    });
    const entrypoint = try list(arena, spec, "dev.dockerc.entrypoint");
    const cmd = try list(arena, spec, "dev.dockerc.cmd");
    if (entrypoint == null and cmd == null) {
        const args = spec.process.args orelse &.{};
        return std.mem.concat(arena, []const u8, &.{ args, given });
    }
    const rest = if (given.len > 0) given else cmd orelse &.{};
    return std.mem.concat(arena, []const u8, &.{ entrypoint orelse &.{}, rest });
}

/// An annotation that holds a list of words.
pub fn list(
    arena: std.mem.Allocator,
    spec: *const Spec,
    name: []const u8,
) json.Error!?[]const []const u8 {
    if (spec.in_machine and std.mem.startsWith(u8, name, "dev.dockerc.run.")) return null;
    return try json.parseTexts(arena, spec.annotation(name) orelse return null);
}

test "arguments replace cmd, or are appended" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const ours = try parse(arena,
        \\{"ociVersion":"1.0.0","process":{"args":["/e","c"],
        \\ "user":{"uid":5,"gid":6,"additionalGids":[7]},"cwd":"/w"},
        \\ "annotations":{"dev.dockerc.entrypoint":"[\"/e\"]","dev.dockerc.cmd":"[\"c\"]"},
        \\ "linux":{"namespaces":[{"type":"pid"},{"type":"mount","path":""}],
        \\ "unknown":[1,{"x":null}]}}
    );
    try std.testing.expectEqual(5, ours.process.user.uid);
    try std.testing.expect(ours.linux.hasNamespace("pid") and !ours.linux.hasNamespace("network"));
    try std.testing.expectEqualDeep(
        @as([]const []const u8, &.{ "/e", "c" }),
        try command(arena, &ours, null, &.{}),
    );
    try std.testing.expectEqualDeep(
        @as([]const []const u8, &.{ "/e", "x" }),
        try command(arena, &ours, null, &.{"x"}),
    );

    try std.testing.expectEqualDeep(
        @as([]const []const u8, &.{ "/f", "x" }),
        try command(arena, &ours, "/f", &.{"x"}),
    );
    try std.testing.expectEqualDeep(@as([]const []const u8, &.{
        "x",
    }), try command(arena, &ours, "", &.{"x"}));

    const theirs = try parse(arena, "{\"process\":{\"args\":[\"sh\"]}}");
    try std.testing.expectEqualDeep(
        @as([]const []const u8, &.{ "sh", "-c" }),
        try command(arena, &theirs, null, &.{"-c"}),
    );
}

test "what is not a config" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    try std.testing.expect(std.meta.isError(parse(arena, "")));
    try std.testing.expect(std.meta.isError(parse(arena, "[]")));
    try std.testing.expect(std.meta.isError(parse(arena, "{\"mounts\":[{\"type\":\"proc\"}]}")));
}
