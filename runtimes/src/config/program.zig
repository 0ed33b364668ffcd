//! Whether a word may be a program of the image, before there is a container to look in.
const std = @import("std");
const paths = @import("../squashfs/path.zig");
const Reader = @import("../squashfs/reader.zig").Reader;

/// `search` is PATH. A word with a slash may lead into a volume, and counts as a program.
pub fn isLikely(
    arena: std.mem.Allocator,
    reader: *Reader,
    root: []const u8,
    search: []const u8,
    word: []const u8,
) !bool {
    if (std.mem.findScalar(u8, word, '/') != null) return true;
    const decoder = try reader.newDecoder();
    const top = try paths.find(reader, decoder, reader.superblock.root_inode, root) orelse
        return false;
    var directories = std.mem.tokenizeScalar(u8, search, ':');
    while (directories.next()) |directory| {
        const path = try std.mem.concat(arena, u8, &.{ directory, "/", word });
        const found = try paths.find(reader, decoder, top.inode.reference, path) orelse continue;
        if (found.inode.kind == .file) return true;
    }
    return false;
}
