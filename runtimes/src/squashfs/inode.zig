//! Inodes: a 16-byte head (type, mode, owner, time, number) and a body by type; types 8-14 are the
//! extended forms of 1-7, with link counts, extended attributes and 64-bit sizes.
const std = @import("std");
const bytes = @import("../base/bytes.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const metadata = @import("metadata.zig");
const Reader = @import("reader.zig").Reader;

pub const Kind = enum(u3) { directory = 1, file, symlink, block_device, char_device, fifo, socket };

/// In the inode table.
pub const Reference = metadata.Reference;

pub const none: u32 = 0xffff_ffff;

pub const Inode = struct {
    reference: Reference,
    kind: Kind,
    permissions: u16,
    uid: u32,
    gid: u32,
    mtime: u32,
    number: u32,
    nlink: u32 = 1,
    size: u64 = 0,
    xattr: u32 = none,
    rdev: u32 = 0,
    body: union {
        none: void,
        directory: struct {
            block: u32,
            offset: u16,
            parent: u32,
            index_count: u16,
            index: metadata.Cursor,
        },
        file: struct { start: u64, fragment: u32, fragment_offset: u32, sizes: metadata.Cursor },
        symlink: metadata.Cursor,
    } = .{ .none = {} },

    pub fn mode(self: *const Inode) u32 {
        const kinds = [_]u32{
            0,        0o040000, 0o100000, 0o120000, 0o060000, 0o020000, 0o010000,
            0o140000,
        };
        return kinds[@backingInt(self.kind)] | self.permissions;
    }
};

pub fn read(reader: *const Reader, decoder: Decoder, reference: Reference) metadata.Error!Inode {
    const sb = &reader.superblock;
    const block = sb.inode_table + (reference >> 16);
    if (block >= sb.directory_table) return error.Corrupt;
    var cursor: metadata.Cursor = .{ .block = block, .offset = @intCast(reference & 0xffff) };
    var buf: [40]u8 = undefined;

    const head = buf[0..16];
    try reader.metadata.read(decoder, &cursor, head);
    const form = bytes.u16At(head, 0);
    if (form < 1 or form > 14) return error.Corrupt;
    const extended = form > 7;
    var self: Inode = .{
        .reference = reference,
        .kind = @fromBackingInt(@intCast(if (extended) form - 7 else form)),
        .permissions = bytes.u16At(head, 2) & 0o7777,
        .uid = try reader.id(decoder, bytes.u16At(head, 4)),
        .gid = try reader.id(decoder, bytes.u16At(head, 6)),
        .mtime = bytes.u32At(head, 8),
        .number = bytes.u32At(head, 12),
    };
    const body_lengths = [_]u8{ 0, 16, 16, 8, 8, 8, 4, 4, 24, 40, 8, 12, 12, 8, 8 };
    const body = buf[0..body_lengths[form]];
    try reader.metadata.read(decoder, &cursor, body);

    switch (self.kind) {
        .directory => readDirectory(&self, body, extended, cursor),
        .file => try readFile(&self, body, extended, cursor),
        .symlink => {
            try readSymlink(&self, body, cursor);
            if (extended) self.xattr = try xattrBehind(reader, decoder, &self);
        },
        .block_device, .char_device => {
            self.nlink = bytes.u32At(body, 0);
            self.rdev = bytes.u32At(body, 4);
            if (extended) self.xattr = bytes.u32At(body, 8);
        },
        .fifo, .socket => {
            self.nlink = bytes.u32At(body, 0);
            if (extended) self.xattr = bytes.u32At(body, 4);
        },
    }
    return self;
}

fn readDirectory(self: *Inode, body: []const u8, extended: bool, index: metadata.Cursor) void {
    // A directory's size counts three bytes that do not exist (for "." and "..").
    const at: struct { nlink: u8, block: u8, parent: u8, offset: u8 } = if (extended)
        .{ .nlink = 0, .block = 8, .parent = 12, .offset = 18 }
    else
        .{ .nlink = 4, .block = 0, .parent = 12, .offset = 10 };
    self.nlink = bytes.u32At(body, at.nlink);
    self.size = if (extended) bytes.u32At(body, 4) else bytes.u16At(body, 8);
    if (extended) self.xattr = bytes.u32At(body, 20);
    self.body = .{ .directory = .{
        .block = bytes.u32At(body, at.block),
        .offset = bytes.u16At(body, at.offset),
        .parent = bytes.u32At(body, at.parent),
        .index_count = if (extended) bytes.u16At(body, 16) else 0,
        .index = index,
    } };
}

fn readFile(
    self: *Inode,
    body: []const u8,
    extended: bool,
    sizes: metadata.Cursor,
) error{Corrupt}!void {
    const at: struct { fragment: u8, fragment_offset: u8 } = if (extended)
        .{ .fragment = 28, .fragment_offset = 32 }
    else
        .{ .fragment = 4, .fragment_offset = 8 };
    if (extended) {
        self.size = bytes.u64At(body, 8);
        self.nlink = bytes.u32At(body, 24);
        self.xattr = bytes.u32At(body, 36);
    } else self.size = bytes.u32At(body, 12);
    // No valid file is larger than what its block list can describe.
    if (self.size >= 1 << 56) return error.Corrupt;
    self.body = .{ .file = .{
        .start = if (extended) bytes.u64At(body, 0) else bytes.u32At(body, 0),
        .fragment = bytes.u32At(body, at.fragment),
        .fragment_offset = bytes.u32At(body, at.fragment_offset),
        .sizes = sizes,
    } };
}

fn readSymlink(self: *Inode, body: []const u8, target: metadata.Cursor) error{Corrupt}!void {
    self.nlink = bytes.u32At(body, 0);
    self.size = bytes.u32At(body, 4);
    if (self.size > std.posix.PATH_MAX) return error.Corrupt;
    self.body = .{ .symlink = target };
}

/// An extended link has it behind its target.
fn xattrBehind(reader: *const Reader, decoder: Decoder, link: *const Inode) metadata.Error!u32 {
    var cursor = link.body.symlink;
    try reader.metadata.skip(decoder, &cursor, link.size);
    var xattr: [4]u8 = undefined;
    try reader.metadata.read(decoder, &cursor, &xattr);
    return bytes.u32At(&xattr, 0);
}

pub fn readlink(
    reader: *const Reader,
    decoder: Decoder,
    link: *const Inode,
    buf: []u8,
) metadata.Error![]u8 {
    if (link.kind != .symlink or link.size > buf.len) return error.Corrupt;
    var cursor = link.body.symlink;
    const target = buf[0..@intCast(link.size)];
    try reader.metadata.read(decoder, &cursor, target);
    return target;
}

/// The reference of the inode after a file's, a link's or a directory's; null if unknown. Those of
/// a directory's files follow each other in the order of their names.
pub fn behind(
    reader: *const Reader,
    decoder: Decoder,
    self: *const Inode,
) metadata.Error!?Reference {
    const sb = &reader.superblock;
    var cursor: metadata.Cursor = undefined;
    var rest: u64 = undefined;
    switch (self.kind) {
        .file => {
            const body = self.body.file;
            const tail = self.size & (sb.blockSize() - 1) != 0 and body.fragment == none;
            cursor = body.sizes;
            rest = ((self.size >> sb.block_log) + @intFromBool(tail)) * 4;
        },
        .symlink => {
            cursor = self.body.symlink;
            rest = self.size + @as(u64, if (self.xattr == none) 0 else 4);
        },
        .directory => {
            cursor = self.body.directory.index;
            for (0..self.body.directory.index_count) |_| {
                var head: [12]u8 = undefined;
                try reader.metadata.read(decoder, &cursor, &head);
                const name_len = @as(u64, bytes.u32At(&head, 8)) + 1;
                if (name_len > 256) return error.Corrupt;
                try reader.metadata.skip(decoder, &cursor, name_len);
            }
            rest = 0;
        },
        else => return null,
    }
    // A list of sizes is a part of the table.
    if (rest > sb.bytes_used) return error.Corrupt;
    try reader.metadata.skip(decoder, &cursor, rest);
    if (cursor.block < sb.inode_table or cursor.block >= sb.directory_table) return null;
    return (cursor.block - sb.inode_table) << 16 | cursor.offset;
}
