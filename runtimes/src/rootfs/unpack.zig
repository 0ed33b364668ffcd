//! The payload as ordinary files: for machines without FUSE, and for --dockerc-extract. One pass
//! makes the directories and lists the rest, several threads then write the files, and directories
//! get their modes and times last, when nothing in them changes any more. Every name is made
//! relative to an open directory, so no symbolic link leads out of the tree.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const thread = @import("../base/thread.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const blocks = @import("../squashfs/blocks.zig");
const directory = @import("../squashfs/directory.zig");
const extents = @import("../squashfs/extents.zig");
const inode = @import("../squashfs/inode.zig");
const xattr = @import("../squashfs/xattr.zig");
const Owners = @import("../namespaces/owners.zig").Owners;
const Reader = @import("../squashfs/reader.zig").Reader;
const timespec = std.os.linux.timespec;

const at_symlink_nofollow = 0x100;
const set_id = 0o6000;
const open_directory: sys.O = .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };

const Item = struct {
    /// From the top of the tree.
    path: [:0]const u8,
    reference: inode.Reference,

    fn parent(self: Item) []const u8 {
        return self.path[0..self.nameAt() -| 1];
    }

    fn name(self: Item) [:0]const u8 {
        return self.path[self.nameAt()..];
    }

    fn nameAt(self: Item) usize {
        return if (std.mem.findScalarLast(u8, self.path, '/')) |at| at + 1 else 0;
    }
};

/// A directory of the tree that is open, found step by step and through no link.
const Place = struct {
    fd: sys.fd_t,
    path: []const u8 = "",

    fn init(into: sys.fd_t) sys.Error!Place {
        return .{ .fd = try sys.openat(into, ".", open_directory, 0) };
    }

    fn deinit(self: *Place) void {
        sys.close(self.fd);
    }

    fn go(self: *Place, into: sys.fd_t, path: []const u8) sys.Error!sys.fd_t {
        if (!isBelow(path, self.path)) {
            const top = try init(into);
            self.deinit();
            self.* = top;
        }
        var names = std.mem.tokenizeScalar(u8, path[self.path.len..], '/');
        while (names.next()) |name| {
            var buf: [directory.name_max + 1]u8 = undefined;
            @memcpy(buf[0..name.len], name);
            buf[name.len] = 0;
            const next = try sys.openat(self.fd, buf[0..name.len :0], open_directory, 0);
            self.deinit();
            self.fd = next;
            self.path = path[0 .. @intFromPtr(name.ptr) - @intFromPtr(path.ptr) + name.len];
        }
        return self.fd;
    }

    fn isBelow(path: []const u8, top: []const u8) bool {
        if (!std.mem.startsWith(u8, path, top)) return false;
        return top.len == 0 or path.len == top.len or path[top.len] == '/';
    }
};

pub const Unpacking = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    /// Where to: an empty directory.
    into: sys.fd_t,
    /// Null if owners are not kept, for which privilege is needed.
    owners: ?*const Owners,
    /// Whether device nodes, set-id bits and the kernel's attributes are kept.
    privileged: bool = true,
    /// How many of these were not.
    left_out: std.atomic.Value(u32) = .init(0),
    directories: std.ArrayList(Item) = .empty,
    others: std.ArrayList(Item) = .empty,
    /// The first path of an inode that has several.
    links: std.AutoHashMapUnmanaged(inode.Reference, [:0]const u8) = .empty,
    later_links: std.ArrayList(struct { item: Item, first: Item }) = .empty,
    next: std.atomic.Value(u32) = .init(0),
    failure: std.atomic.Value(u16) = .init(0),

    /// The directory of that name in the payload's root with all that is in it, or all for "".
    pub fn run(self: *Unpacking, name: []const u8) !void {
        const decoder = try self.reader.newDecoder();
        const root = self.reader.superblock.root_inode;
        const mask = sys.raw(.umask, .{0});
        defer _ = sys.raw(.umask, .{mask});
        var here: Place = try .init(self.into);
        defer here.deinit();
        try self.walk(decoder, &here, root, "", name);
        try self.write();
        var there: Place = try .init(self.into);
        defer there.deinit();
        for (self.later_links.items) |link| {
            const from = try there.go(self.into, link.first.parent());
            const to = try here.go(self.into, link.item.parent());
            try sys.do(.linkat, .{ from, link.first.name().ptr, to, link.item.name().ptr, 0 });
        }
        var i = self.directories.items.len;
        while (i > 0) {
            i -= 1;
            const item = self.directories.items[i];
            const fd = try here.go(self.into, item.path);
            const found = try inode.read(self.reader, decoder, item.reference);
            try self.setMetadata(decoder, fd, item, &found);
        }
    }

    /// `only` is the one name to take, or empty. What a directory holds has distinct plain names.
    fn walk(
        self: *Unpacking,
        decoder: Decoder,
        place: *Place,
        reference: inode.Reference,
        path: []const u8,
        only: []const u8,
    ) !void {
        const dir = try inode.read(self.reader, decoder, reference);
        var it = try directory.Iterator.init(self.reader, &dir);
        var name: [directory.name_max]u8 = undefined;
        while (try it.next(self.reader, decoder, &name)) |entry| {
            if (only.len > 0 and !std.mem.eql(u8, only, entry.name)) continue;
            const between = if (path.len > 0) "/" else "";
            const parts = [_][]const u8{ path, between, entry.name };
            const here = try std.mem.concatWithSentinel(self.arena, u8, &parts, 0);
            if (here.len >= std.posix.PATH_MAX) return error.NAMETOOLONG;
            const found = try inode.read(self.reader, decoder, entry.reference);
            const item: Item = .{ .path = here, .reference = entry.reference };
            if (found.kind == .directory) {
                // A directory that contains itself would never end.
                if (self.directories.items.len >= self.reader.superblock.inode_count)
                    return error.Corrupt;
                const fd = try place.go(self.into, path);
                try sys.do(.mkdirat, .{ fd, item.name().ptr, 0o700 });
                try self.directories.append(self.arena, item);
                try self.walk(decoder, place, entry.reference, here, "");
                continue;
            }
            if (found.nlink > 1) {
                const first = try self.links.getOrPut(self.arena, entry.reference);
                if (first.found_existing) {
                    const other: Item = .{
                        .path = first.value_ptr.*,
                        .reference = entry.reference,
                    };
                    try self.later_links.append(self.arena, .{ .item = item, .first = other });
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
        for (threads[0..count]) |*each| each.* = try thread.spawn(self.arena, work, .{self});
        for (threads[0..count]) |each| each.join();
        const failed = self.failure.load(.acquire);
        if (failed != 0) return @errorFromInt(failed);
    }

    fn work(self: *Unpacking) void {
        self.writeSome() catch |err| self.fail(err);
    }

    fn writeSome(self: *Unpacking) !void {
        const decoder = try self.reader.newDecoder();
        var place: Place = try .init(self.into);
        defer place.deinit();
        while (self.failure.load(.monotonic) == 0) {
            const i = self.next.fetchAdd(1, .monotonic);
            if (i >= self.others.items.len) return;
            const item = self.others.items[i];
            try self.writeOne(decoder, try place.go(self.into, item.parent()), item);
        }
    }

    fn fail(self: *Unpacking, err: anyerror) void {
        self.failure.store(@intFromError(err), .release);
    }

    fn writeOne(self: *Unpacking, decoder: Decoder, dir: sys.fd_t, item: Item) !void {
        const file = try inode.read(self.reader, decoder, item.reference);
        const name = item.name();
        switch (file.kind) {
            .file => {
                const flags: sys.O = .{
                    .ACCMODE = .WRONLY,
                    .CREAT = true,
                    .EXCL = true,
                    .NOFOLLOW = true,
                    .CLOEXEC = true,
                };
                const fd = try sys.openat(dir, name, flags, 0o600);
                defer sys.close(fd);
                try self.copy(decoder, &file, fd);
                return self.setMetadata(decoder, fd, item, &file);
            },
            .symlink => {
                var buf: [std.posix.PATH_MAX:0]u8 = undefined;
                const into = buf[0 .. buf.len - 1];
                const target = try inode.readlink(self.reader, decoder, &file, into);
                buf[target.len] = 0;
                try sys.do(.symlinkat, .{ &buf, dir, name.ptr });
            },
            else => {
                const device = file.kind == .char_device or file.kind == .block_device;
                if (device and !self.privileged) return self.leaveOut();
                // A user who may not make device nodes could not open them either. Nodes are not
                // opened here: opening can start a device.
                sys.do(.mknodat, .{ dir, name.ptr, file.mode(), file.rdev }) catch |err|
                    return log.debug("no {s}: {s}", .{ item.path, errno.text(err) });
            },
        }
        if (self.owners) |owners| try sys.do(.fchownat, .{
            dir,
            name.ptr,
            owners.uids.present(file.uid),
            owners.gids.present(file.gid),
            at_symlink_nofollow,
        });
        const times = timesOf(&file);
        try sys.do(.utimensat, .{ dir, name.ptr, &times, at_symlink_nofollow });
    }

    fn leaveOut(self: *Unpacking) void {
        _ = self.left_out.fetchAdd(1, .monotonic);
    }

    fn copy(
        self: *Unpacking,
        decoder: Decoder,
        file: *const inode.Inode,
        fd: sys.fd_t,
    ) !void {
        // Holes stay holes.
        try sys.do(.ftruncate, .{ fd, file.size });
        var list: extents.BlockList = .{};
        var parts: extents.Extents = .init(self.reader, decoder, file, 0, file.size, &list);
        while (try parts.next()) |extent| {
            // The whole of a fragment: the next files are in it, too.
            const slot = try self.reader.blocks.get(decoder, extent.stored orelse continue);
            defer self.reader.blocks.release(slot);
            var rest = try extent.of(slot);
            while (rest.len > 0) rest = rest[try sys.call(
                .pwrite64,
                .{ fd, rest.ptr, rest.len, extent.offset + extent.len - rest.len },
            )..];
        }
    }

    /// Owner, attributes, mode and time, in this order: a change of owner clears set-id bits and
    /// capabilities, and user.* attributes need write permission.
    fn setMetadata(
        self: *Unpacking,
        decoder: Decoder,
        fd: sys.fd_t,
        item: Item,
        file: *const inode.Inode,
    ) !void {
        if (self.owners) |owners| try sys.do(
            .fchown,
            .{ fd, owners.uids.present(file.uid), owners.gids.present(file.gid) },
        );
        if (file.xattr != inode.none) try self.attributes(decoder, fd, item, file);
        var permissions = file.permissions;
        if (!self.privileged and permissions & set_id != 0) {
            permissions &= ~@as(@TypeOf(permissions), set_id);
            self.leaveOut();
        }
        try sys.do(.fchmod, .{ fd, permissions });
        const times = timesOf(file);
        try sys.do(.utimensat, .{ fd, 0, &times, 0 });
    }

    /// As far as we may set them and the file system stores them.
    fn attributes(
        self: *Unpacking,
        decoder: Decoder,
        fd: sys.fd_t,
        item: Item,
        file: *const inode.Inode,
    ) !void {
        var buf: [xattr.value_max]u8 = undefined;
        var it = try xattr.Iterator.init(self.reader, decoder, file.xattr);
        while (try it.next(self.reader, decoder)) |attribute| {
            const len = try it.value(self.reader, decoder, attribute, &buf);
            if (!self.privileged and isOfKernel(attribute.name)) {
                self.leaveOut();
                continue;
            }
            var name: [xattr.name_max + 17]u8 = undefined;
            @memcpy(name[0..attribute.name.len], attribute.name);
            name[attribute.name.len] = 0;
            sys.do(.fsetxattr, .{ fd, &name, &buf, len, 0 }) catch |err|
                log.debug("{s} of {s}: {s}", .{ attribute.name, item.path, errno.text(err) });
        }
    }
};

/// xattr(7): what only privileged processes may set, and what the kernel goes by.
fn isOfKernel(name: []const u8) bool {
    return std.mem.startsWith(u8, name, "security.") or std.mem.startsWith(u8, name, "trusted.");
}

fn timesOf(file: *const inode.Inode) [2]timespec {
    const time: timespec = .{ .sec = file.mtime, .nsec = 0 };
    return .{ time, time };
}
