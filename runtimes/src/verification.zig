//! Whether the payload is what was signed or recorded, where that is asked for: by the caller, by a
//! policy of the machine or of the caller, or by a key that is pinned in this runtime. It refuses
//! the start, or gives the payload's reader a hash tree, without which nothing is decoded. A
//! runtime cannot vouch for itself (docs/trust.md).
const std = @import("std");
const sys = @import("base/syscalls.zig");
const errno = @import("base/errno.zig");
const log = @import("base/log.zig");
const policy = @import("config/policy.zig");
const pinned_key = @import("payload/pinned_key.zig");
const signed_block = @import("payload/signed_block.zig");
const text = @import("base/text.zig");
const Environment = @import("cli/environment.zig").Environment;
const HashTree = @import("squashfs/hash_tree.zig").HashTree;
const Image = @import("squashfs/image.zig").Image;
const Key = signed_block.Key;
const Payload = @import("payload/footer.zig").Payload;
const Sha256 = @import("base/sha256.zig").Sha256;
const Shape = @import("squashfs/hash_tree.zig").Shape;
const SignedBlock = signed_block.SignedBlock;
const Superblock = @import("squashfs/superblock.zig").Superblock;

const machine_policy = "/etc/dockerc/policy.toml";
/// Between the signed block and the file's end: the digest record and the footer.
const after_block = 48 + 16;

/// What is asked for, and by whom.
pub const Demand = struct {
    /// That the payload is whole, and every signature right.
    whole: bool,
    /// A signature of one of the keys of each.
    of: []const Signers,

    const Signers = struct { keys: []const Key, by: []const u8 };

    /// Null where nothing is. `file` is the executable, `wanted` whether there is the option.
    pub fn find(
        arena: std.mem.Allocator,
        callers: *const Environment,
        file: sys.fd_t,
        wanted: bool,
    ) !?Demand {
        const variable = callers.get("DOCKERC_VERIFY") orelse "";
        const whole = wanted or (variable.len > 0 and !std.mem.eql(u8, variable, "0"));
        var found: std.ArrayList(Signers) = .empty;
        if (pinned_key.get()) |key| {
            const keys = try arena.dupe(Key, &.{key});
            try found.append(arena, .{ .keys = keys, .by = "the key pinned in its runtime" });
        }
        for ([_]?[:0]const u8{ machine_policy, try ofCaller(arena, callers) }) |each| {
            const path = each orelse continue;
            const rules = try rulesOf(arena, path) orelse continue;
            const keys = policy.keysFor(rules, try pathOf(arena, file)) orelse continue;
            const by = try text.alloc(arena, "a key of {s}", .{path});
            try found.append(arena, .{ .keys = keys, .by = by });
        }
        if (!whole and found.items.len == 0) return null;
        return .{ .whole = whole, .of = found.items };
    }

    /// Dies where the executable is not what is asked for.
    pub fn enforce(
        self: *const Demand,
        arena: std.mem.Allocator,
        file: sys.fd_t,
        payload: *Payload,
    ) !Checked {
        const data = try arena.create([signed_block.length]u8);
        const block = readBlock(file, payload, data) catch |err| switch (err) {
            error.Absent => log.die("this file has no hash tree and no signature: an older " ++
                "version of dockerc made it, or they were taken away", .{}),
            error.Unknown => log.die("this file has a signed block of a version that this " ++
                "runtime does not know", .{}),
            error.Corrupt => log.die("this file's signed block was changed, or is of another " ++
                "file", .{}),
            else => log.die("cannot read my own file: {s}", .{errno.text(err)}),
        };
        self.checkSignatures(&block);
        const tree = try arena.create(HashTree);
        tree.* = try .init(file, payload.offset, block.bytes_used, block.salt, block.root);
        const image: Image = .{
            .fd = file,
            .start = payload.offset,
            .len = block.bytes_used,
            .tree = tree,
        };
        // What was read of it so far may have been something else.
        var bytes: [Superblock.length]u8 = undefined;
        const got = image.read(&bytes, 0) catch sys.exit(log.failed);
        payload.superblock = if (got.len == bytes.len) try .parse(&bytes) else return error.IO;
        if (payload.superblock.bytes_used != block.bytes_used) return error.IO;
        // What is found later is said while the app runs.
        log.late = true;
        return .{ .tree = tree, .config = block.config };
    }

    /// To check one takes a tenth of a millisecond.
    fn checkSignatures(self: *const Demand, block: *const SignedBlock) void {
        if (self.whole) for (block.all(), 1..) |*signature, number|
            if (!signature.isValid()) log.die("signature {d} of this file is wrong", .{number});
        for (self.of) |signers| {
            const has = for (block.all()) |*signature| {
                if (isIn(signature.key, signers.keys) and (self.whole or signature.isValid()))
                    break true;
            } else false;
            if (!has) log.die("this file is not signed by {s}", .{signers.by});
        }
    }
};

/// What a payload's reader needs to be sure of every byte.
pub const Checked = struct {
    tree: *HashTree,
    /// The digest of config.json.
    config: [32]u8,

    /// The tree vouches for it already: this is the block's own word.
    pub fn checkConfig(self: *const Checked, json: []const u8) void {
        var hash: Sha256 = .{};
        hash.update(json);
        if (!std.mem.eql(u8, &hash.final(), &self.config))
            log.die("this file's signed block was changed: its config.json is another", .{});
    }
};

fn readBlock(
    file: sys.fd_t,
    payload: *const Payload,
    data: *[signed_block.length]u8,
) !SignedBlock {
    const shape: Shape = .of(payload.superblock.bytes_used);
    const at = payload.offset + shape.padded() + shape.size();
    if (try sys.preadAll(file, data, at) != data.len) return error.Absent;
    const block = try SignedBlock.parse(data);
    if (block.bytes_used != payload.superblock.bytes_used or
        block.stub_len != payload.offset or
        block.flags != @intFromBool(payload.require_mapped_uids) or
        payload.file_size != at + data.len + after_block) return error.Corrupt;
    return block;
}

fn isIn(key: *const Key, keys: []const Key) bool {
    for (keys) |*each| if (std.mem.eql(u8, each, key)) return true;
    return false;
}

fn ofCaller(arena: std.mem.Allocator, callers: *const Environment) !?[:0]const u8 {
    if (callers.get("XDG_CONFIG_HOME")) |dir| if (dir.len > 0)
        return reachable(try text.alloc(arena, "{s}/dockerc/policy.toml", .{dir}));
    const home = callers.get("HOME") orelse return null;
    return reachable(try text.alloc(arena, "{s}/.config/dockerc/policy.toml", .{home}));
}

/// Null for a path in a directory that the caller may not enter, which is another's home then.
fn reachable(path: [:0]const u8) ?[:0]const u8 {
    _ = sys.stat(sys.at_fdcwd, path) catch |err| if (err == error.ACCES) return null;
    return path;
}

/// Null if there is no such file; dies if it cannot be read or has a line that is no rule.
fn rulesOf(arena: std.mem.Allocator, path: [:0]const u8) !?[]const policy.Rule {
    var probe: [1]u8 = undefined;
    _ = sys.readStart(sys.at_fdcwd, path, &probe) catch |err| switch (err) {
        error.NOENT, error.NOTDIR => return null,
        else => log.die("cannot read {s}: {s}", .{ path, errno.text(err) }),
    };
    const buf = try arena.alloc(u8, policy.size_max + 1);
    const content = sys.readFile(sys.at_fdcwd, path, buf) catch |err|
        log.die("cannot read {s}: {s}", .{ path, errno.text(err) });
    var line: usize = 0;
    return policy.parse(arena, content, &line) catch |err| switch (err) {
        error.OutOfMemory => |e| return e,
        error.Policy => log.die("{s}: line {d}: write NAME = [\"KEY\", \"KEY\"], on one line, " ++
            "and every NAME once", .{ path, line }),
    };
}

/// Absolute and without links, as rules name it.
fn pathOf(arena: std.mem.Allocator, file: sys.fd_t) ![]const u8 {
    var link: [32:0]u8 = undefined;
    const buf = try arena.alloc(u8, std.posix.PATH_MAX);
    const len = try sys.call(.readlinkat, .{
        sys.at_fdcwd,
        sys.fdPath(&link, file),
        buf.ptr,
        buf.len,
    });
    return buf[0..len];
}
