//! The payload as ordinary files: for machines without FUSE, and for --dockerc-extract. One walk
//! makes directories and lists the rest, several threads then write files, and directories get
//! their modes and times last, when nothing changes in them any more.
const std = @import("std");
const sys = @import("sys.zig");
const log = @import("log.zig");
const Decoder = @import("zstd.zig").Decoder;
const blocks = @import("squashfs/blocks.zig");
const data = @import("squashfs/data.zig");
const directory = @import("squashfs/directory.zig");
const inode = @import("squashfs/inode.zig");
const xattr = @import("squashfs/xattr.zig");
const Reader = @import("squashfs/reader.zig").Reader;

const at_symlink_nofollow = 0x100;
const at_empty_path = 0x1000;

const Item = struct { path: [:0]const u8, reference: inode.Reference };

pub const Unpacking = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    /// Where to: an empty directory.
    into: sys.fd_t,
    /// Whether owners are kept, for which privilege is needed.
    owners: bool,
    directories: std.ArrayList(Item) = .empty,
    others: std.ArrayList(Item) = .empty,
    /// The first path of an inode that has several.
    links: std.AutoHashMapUnmanaged(inode.Reference, [:0]const u8) = .empty,
    later_links: std.ArrayList(struct { path: [:0]const u8, first: [:0]const u8 }) = .empty,
    next: std.atomic.Value(u32) = .init(0),
    failure: std.atomic.Value(u16) = .init(0),

    /// The directory of that name in the payload's root with all that is in it, or all for "".
    pub fn run(self: *Unpacking, name: []const u8) !void {
        const decoder = try self.reader.newDecoder();
        const root = self.reader.superblock.root_inode;
        try self.walk(decoder, root, "", name);
        try self.write();
        for (self.later_links.items) |link|
            try sys.do(.linkat, .{ self.into, link.first.ptr, self.into, link.path.ptr, 0 });
        var i = self.directories.items.len;
        while (i > 0) {
            i -= 1;
            const item = self.directories.items[i];
            try self.dress(decoder, item, &try inode.read(self.reader, decoder, item.reference));
        }
    }

    /// `only` is the one name to take, or empty. What a directory holds has distinct plain names:
    /// a hostile image must not lead a later path through a symbolic link made before.
    fn walk(self: *Unpacking, decoder: Decoder, reference: inode.Reference, path: []const u8, only: []const u8) !void {
        const dir = try inode.read(self.reader, decoder, reference);
        var it = try directory.Iterator.init(self.reader, &dir);
        var name: [directory.name_max]u8 = undefined;
        while (try it.next(self.reader, decoder, &name)) |entry| {
            if (only.len > 0 and !std.mem.eql(u8, only, entry.name)) continue;
            const here = try std.mem.concatWithSentinel(self.arena, u8, &.{ path, if (path.len > 0) "/" else "", entry.name }, 0);
            if (here.len >= std.posix.PATH_MAX) return error.NAMETOOLONG;
            const found = try inode.read(self.reader, decoder, entry.reference);
            const item: Item = .{ .path = here, .reference = entry.reference };
            if (found.kind == .directory) {
                // A directory that holds itself would never end.
                if (self.directories.items.len >= self.reader.superblock.inode_count) return error.Corrupt;
                try sys.do(.mkdirat, .{ self.into, here.ptr, 0o700 });
                try self.directories.append(self.arena, item);
                try self.walk(decoder, entry.reference, here, "");
                continue;
            }
            if (found.nlink > 1) {
                const first = try self.links.getOrPut(self.arena, entry.reference);
                if (first.found_existing) {
                    try self.later_links.append(self.arena, .{ .path = here, .first = first.value_ptr.* });
                    continue;
                }
                first.value_ptr.* = here;
            }
            try self.others.append(self.arena, item);
        }
    }

    fn write(self: *Unpacking) !void {
        var threads: [blocks.threads_max]std.Thread = undefined;
        const count = @min(sys.processors(), threads.len);
        for (threads[0..count]) |*thread| thread.* = try std.Thread.spawn(.{ .stack_size = 256 * 1024 }, work, .{self});
        for (threads[0..count]) |thread| thread.join();
        const failed = self.failure.load(.acquire);
        if (failed != 0) return @errorFromInt(failed);
    }

    fn work(self: *Unpacking) void {
        const decoder = self.reader.newDecoder() catch |err| return self.fail(err);
        while (self.failure.load(.monotonic) == 0) {
            const i = self.next.fetchAdd(1, .monotonic);
            if (i >= self.others.items.len) return;
            self.writeOne(decoder, self.others.items[i]) catch |err| return self.fail(err);
        }
    }

    fn fail(self: *Unpacking, err: anyerror) void {
        self.failure.store(@intFromError(err), .release);
    }

    fn writeOne(self: *Unpacking, decoder: Decoder, item: Item) !void {
        const file = try inode.read(self.reader, decoder, item.reference);
        switch (file.kind) {
            .file => {
                const fd = try sys.openat(self.into, item.path, .{ .ACCMODE = .WRONLY, .CREAT = true, .EXCL = true, .NOFOLLOW = true, .CLOEXEC = true }, 0o600);
                defer sys.close(fd);
                try self.copy(decoder, item.reference, &file, fd);
            },
            .symlink => {
                var buf: [std.posix.PATH_MAX:0]u8 = undefined;
                const target = try self.reader.readlink(decoder, &file, buf[0 .. buf.len - 1]);
                buf[target.len] = 0;
                try sys.do(.symlinkat, .{ &buf, self.into, item.path.ptr });
            },
            // Whoever may not make device nodes could not open them either.
            else => sys.do(.mknodat, .{ self.into, item.path.ptr, file.mode(), file.rdev }) catch |err| {
                log.debug("no {s}: {s}", .{ item.path, sys.text(err) });
                return;
            },
        }
        try self.dress(decoder, item, &file);
    }

    fn copy(self: *Unpacking, decoder: Decoder, reference: inode.Reference, file: *const inode.Inode, fd: sys.fd_t) !void {
        // Holes stay holes.
        try sys.do(.ftruncate, .{ fd, file.size });
        var position: data.Position = .{};
        var at: u64 = 0;
        while (at < file.size) {
            const extent = try data.extent(self.reader, decoder, reference, file, at >> self.reader.superblock.block_log, &position);
            if (extent.stored) |stored| {
                const slot = try self.reader.blocks.get(decoder, stored);
                defer self.reader.blocks.release(slot);
                if (slot.len < extent.start + extent.len) return error.Corrupt;
                var rest = slot.data()[extent.start..][0..extent.len];
                while (rest.len > 0) rest = rest[try sys.call(.pwrite64, .{ fd, rest.ptr, rest.len, at + extent.len - rest.len })..];
            }
            at += extent.len;
        }
    }

    /// Owner, mode, attributes and time, in this order: a change of owner takes set-id bits and
    /// capabilities away.
    fn dress(self: *Unpacking, decoder: Decoder, item: Item, file: *const inode.Inode) !void {
        if (self.owners) try sys.do(.fchownat, .{ self.into, item.path.ptr, file.uid, file.gid, at_symlink_nofollow });
        if (file.kind != .symlink) {
            try sys.do(.fchmodat, .{ self.into, item.path.ptr, file.permissions });
            if (file.xattr != inode.none) try self.attributes(decoder, item, file);
        }
        const time: std.os.linux.timespec = .{ .sec = file.mtime, .nsec = 0 };
        try sys.do(.utimensat, .{ self.into, item.path.ptr, &[2]std.os.linux.timespec{ time, time }, at_symlink_nofollow });
    }

    /// As far as we may set them, and the file system keeps them.
    fn attributes(self: *Unpacking, decoder: Decoder, item: Item, file: *const inode.Inode) !void {
        const fd = sys.openat(self.into, item.path, .{ .NOFOLLOW = true, .NONBLOCK = true, .CLOEXEC = true }, 0) catch return;
        defer sys.close(fd);
        var buf: [xattr.value_max]u8 = undefined;
        var it = try xattr.Iterator.init(self.reader, decoder, file.xattr);
        while (try it.next(self.reader, decoder)) |attribute| {
            const len = try it.value(self.reader, decoder, attribute, &buf);
            var name: [xattr.name_max + 17]u8 = undefined;
            @memcpy(name[0..attribute.name.len], attribute.name);
            name[attribute.name.len] = 0;
            sys.do(.fsetxattr, .{ fd, &name, &buf, len, 0 }) catch |err|
                log.debug("{s} of {s}: {s}", .{ attribute.name, item.path, sys.text(err) });
        }
    }
};
