//! Paths in the image, with symbolic links resolved relative to a root directory, as the app will
//! see them.
const std = @import("std");
const Decoder = @import("../base/zstd.zig").Decoder;
const Reader = @import("reader.zig").Reader;
const directory = @import("directory.zig");
const inode = @import("inode.zig");

const depth_max = 64;
/// The kernel's limit.
const links_max = 40;

pub const Found = struct {
    inode: inode.Inode,
    /// The directory that it was found in.
    directory: inode.Reference,
};

/// What is at `path` under the directory `root`; null when there is nothing.
pub fn find(
    reader: *const Reader,
    decoder: Decoder,
    root: inode.Reference,
    path: []const u8,
) !?Found {
    return findFrom(reader, decoder, root, root, path);
}

/// The same, seen from the directory `from`.
pub fn findFrom(
    reader: *const Reader,
    decoder: Decoder,
    root: inode.Reference,
    from: inode.Reference,
    path: []const u8,
) !?Found {
    // The rest of the path; a link's target is put before it, in one of two buffers in turn.
    var texts: [2][std.posix.PATH_MAX]u8 = undefined;
    var turn: usize = 0;
    var rest = path;
    var stack: [depth_max]inode.Reference = undefined;
    stack[0] = root;
    stack[1] = from;
    var depth: usize = if (path.len > 0 and path[0] == '/') 1 else 2;
    var links: usize = 0;
    while (rest.len > 0) {
        const name, rest = std.mem.cutScalar(u8, rest, '/') orelse .{ rest, "" };
        if (name.len == 0 or std.mem.eql(u8, name, ".")) continue;
        if (std.mem.eql(u8, name, "..")) {
            depth = @max(depth - 1, 1);
            continue;
        }
        const here = try inode.read(reader, decoder, stack[depth - 1]);
        if (here.kind != .directory) return null;
        const entry = try directory.lookup(reader, decoder, &here, name) orelse return null;
        const node = try inode.read(reader, decoder, entry.reference);
        switch (node.kind) {
            .directory => {
                if (depth == depth_max) return null;
                stack[depth] = entry.reference;
                depth += 1;
            },
            .symlink => {
                links += 1;
                const text = &texts[turn];
                if (links > links_max or node.size + 1 + rest.len > text.len) return null;
                const target = try inode.readlink(reader, decoder, &node, text);
                if (target.len > 0 and target[0] == '/') depth = 1;
                text[target.len] = '/';
                @memcpy(text[target.len + 1 ..][0..rest.len], rest);
                rest = text[0 .. target.len + 1 + rest.len];
                turn = 1 - turn;
            },
            else => return if (rest.len == 0)
                .{ .inode = node, .directory = stack[depth - 1] }
            else
                null,
        }
    }
    const here = stack[depth - 1];
    return .{
        .inode = try inode.read(reader, decoder, here),
        .directory = here,
    };
}

/// What is at a path from the root of the image, through no symbolic link; null when there is
/// nothing.
pub noinline fn lookup(reader: *const Reader, decoder: Decoder, path: []const u8) !?inode.Inode {
    var here = try inode.read(reader, decoder, reader.superblock.root_inode);
    if (here.kind != .directory) return error.Corrupt;
    var names = std.mem.tokenizeScalar(u8, path, '/');
    while (names.next()) |name| {
        if (std.mem.eql(u8, name, ".")) continue;
        if (here.kind != .directory) return null;
        const entry = try directory.lookup(reader, decoder, &here, name) orelse return null;
        here = try inode.read(reader, decoder, entry.reference);
    }
    return here;
}
