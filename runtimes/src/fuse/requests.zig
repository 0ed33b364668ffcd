//! The reply to each request.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const protocol = @import("protocol.zig");
const squashfs = struct {
    const directory = @import("../squashfs/directory.zig");
    const extents = @import("../squashfs/extents.zig");
    const inode = @import("../squashfs/inode.zig");
    const xattr = @import("../squashfs/xattr.zig");
    const Slot = @import("../squashfs/blocks.zig").Slot;
    const Reader = @import("../squashfs/reader.zig").Reader;
    const Superblock = @import("../squashfs/superblock.zig").Superblock;
};
const Prefetcher = @import("prefetch/prefetcher.zig").Prefetcher;
const Channel = @import("channel.zig").Channel;
const Decoder = @import("../base/zstd.zig").Decoder;
const Inode = squashfs.inode.Inode;
const Owners = @import("../namespaces/owners.zig").Owners;
const ReaddirCache = @import("readdir_cache.zig").ReaddirCache;
const node_id = @import("node_id.zig");
const Recorder = @import("recorder.zig").Recorder;
const read_max = @import("channel.zig").read_max;

/// Seconds; the kernel takes it as "for ever".
const forever = 1 << 31;
const page = 4096;
/// A kind of directory entries.
const directory = @backingInt(squashfs.inode.Kind.directory);

pub const RequestHandler = struct {
    channel: Channel,
    reader: *squashfs.Reader,
    owners: *const Owners,
    readdir_cache: *ReaddirCache,
    prefetcher: *Prefetcher,
    /// While a profile is recorded.
    recorder: ?*Recorder = null,
    decoder: Decoder,
    block_list: squashfs.extents.BlockList = .{},
    /// Whether it has decoded a block for a reply.
    decoded: bool = false,

    pub fn serveOne(self: *RequestHandler) sys.Error!protocol.Opcode {
        const request = try self.channel.receive();
        self.answer(request) catch |err| self.channel.fail(request.header.unique, switch (err) {
            error.NOENT => .NOENT,
            error.NOSYS => .NOSYS,
            error.NOTDIR => .NOTDIR,
            error.INVAL => .INVAL,
            error.NODATA => .NODATA,
            error.RANGE => .RANGE,
            error.ROFS => .ROFS,
            else => .IO,
        });
        return request.header.opcode;
    }

    fn answer(self: *RequestHandler, request: Channel.Request) !void {
        const unique = request.header.unique;
        switch (request.header.opcode) {
            .init => try self.greet(request),
            .lookup => try self.lookup(request),
            .getattr => {
                const inode = try self.inodeOf(request.header.nodeid);
                const out: protocol.AttrOut = .{
                    .attr_valid = forever,
                    .attr = self.attributes(&inode),
                };
                self.channel.send(unique, std.mem.asBytes(&out));
            },
            .readlink => {
                const inode = try self.inodeOf(request.header.nodeid);
                if (inode.kind != .symlink) return error.INVAL;
                self.channel.send(
                    unique,
                    try squashfs.inode.readlink(
                        self.reader,
                        self.decoder,
                        &inode,
                        self.channel.answer,
                    ),
                );
            },
            .read => try self.read(request),
            .readdir => try self.list(request, false),
            .readdirplus => try self.list(request, true),
            .statfs => self.statfs(unique),
            .getxattr => try self.getxattr(request),
            .listxattr => try self.listxattr(request),
            // These get no reply.
            .forget, .batch_forget => {},
            .setattr,
            .symlink,
            .mknod,
            .mkdir,
            .unlink,
            .rmdir,
            .rename,
            .rename2,
            .link,
            .write,
            .create,
            .setxattr,
            .removexattr,
            => return error.ROFS,
            // open and opendir among them: the kernel then stops asking, and keeps its caches.
            else => return error.NOSYS,
        }
    }

    fn body(comptime T: type, request: Channel.Request) error{INVAL}!*align(1) const T {
        if (request.body.len < @sizeOf(T)) return error.INVAL;
        return @ptrCast(request.body.ptr);
    }

    fn greet(self: *RequestHandler, request: Channel.Request) !void {
        const in = try body(protocol.InitIn, request);
        if (in.major != protocol.major) return error.INVAL;
        const flag = protocol.flag;
        // Not async_read: an asynchronous request keeps its pages locked when all processes are
        // killed (channel.zig), and prefetching makes up for it.
        var wanted: u32 = flag.no_open_support | flag.parallel_dirops | flag.max_pages |
            flag.cache_symlinks | flag.no_opendir_support;
        if (self.recorder == null) wanted |= flag.readdirplus | flag.readdirplus_auto;
        const out: protocol.InitOut = .{
            .major = protocol.major,
            .minor = protocol.minor,
            .readahead_max = if (self.recorder == null) in.readahead_max else 0,
            .flags = in.flags & wanted,
            .background_max = 64,
            .congestion_threshold = 48,
            .write_max = page,
            .time_gran = 1,
            // The kernel's pages, of up to 64 KiB on arm64: no READ may be larger than its reply.
            .pages_max = @intCast(read_max / std.heap.pageSize()),
        };
        self.channel.send(request.header.unique, std.mem.asBytes(&out));
    }

    fn referenceOf(self: *const RequestHandler, nodeid: u64) error{INVAL}!squashfs.inode.Reference {
        if (nodeid == protocol.root_id) return self.reader.superblock.root_inode;
        return node_id.reference(nodeid) orelse error.INVAL;
    }

    fn inodeOf(self: *RequestHandler, nodeid: u64) !Inode {
        return squashfs.inode.read(self.reader, self.decoder, try self.referenceOf(nodeid));
    }

    fn attributes(self: *const RequestHandler, inode: *const Inode) protocol.Attr {
        return .{
            .ino = inode.number,
            .size = inode.size,
            .blocks = (inode.size + 511) / 512,
            .atime = inode.mtime,
            .mtime = inode.mtime,
            .ctime = inode.mtime,
            .mode = inode.mode(),
            .nlink = inode.nlink,
            .uid = self.owners.uids.present(inode.uid),
            .gid = self.owners.gids.present(inode.gid),
            .rdev = inode.rdev,
            .block_size = page,
        };
    }

    fn entry(self: *RequestHandler, ref: squashfs.inode.Reference) !protocol.EntryOut {
        const inode = try squashfs.inode.read(self.reader, self.decoder, ref);
        return .{
            .nodeid = node_id.of(ref),
            .entry_valid = forever,
            .attr_valid = forever,
            .attr = self.attributes(&inode),
        };
    }

    fn lookup(self: *RequestHandler, request: Channel.Request) !void {
        const name = std.mem.sliceTo(request.body, 0);
        const dir = try self.inodeOf(request.header.nodeid);
        if (dir.kind != .directory) return error.NOTDIR;
        const found = try squashfs.directory.lookup(self.reader, self.decoder, &dir, name);
        if (found) |f| if (f.kind != directory) self.readdir_cache.lookedUp(request.header.nodeid);
        // Node 0 with a timeout: the kernel caches that there is no such name.
        const out: protocol.EntryOut = if (found) |f| try self.entry(f.reference) else .{
            .nodeid = 0,
            .entry_valid = forever,
            .attr_valid = forever,
            .attr = std.mem.zeroes(protocol.Attr),
        };
        // Before the reply: another thread may handle the next LOOKUP.
        const place = try self.referenceOf(request.header.nodeid);
        if (self.recorder) |recorder|
            recorder.lookedUp(place, name, if (found) |f| f.reference else null)
        else if (found) |f| self.prefetcher.named(place, f);
        self.channel.send(request.header.unique, std.mem.asBytes(&out));
    }

    fn read(self: *RequestHandler, request: Channel.Request) !void {
        const in = try body(protocol.ReadIn, request);
        const ref = try self.referenceOf(request.header.nodeid);
        const inode = try squashfs.inode.read(self.reader, self.decoder, ref);
        if (inode.kind != .file) return error.INVAL;
        const end = @min(inode.size, in.offset +| @min(in.size, read_max));
        if (in.offset >= end) return self.channel.send(request.header.unique, "");

        // Holes are sent as pages of zeros; blocks are at least as large.
        var parts: [read_max / page + 3]std.posix.iovec_const = undefined;
        var slots: [read_max / page + 2]*squashfs.Slot = undefined;
        var part_count: usize = 1;
        var slot_count: usize = 0;
        var unfinished: ?Unfinished = null;
        defer {
            // The rest of a block is decoded after the reply was sent.
            if (unfinished) |block| self.finish(block);
            for (slots[0..slot_count]) |slot| self.reader.blocks.release(slot);
        }
        var extents: squashfs.extents.Extents =
            .init(self.reader, self.decoder, &inode, in.offset, end, &self.block_list);
        while (extents.left() > 0) {
            if (unfinished) |block| self.finish(block);
            unfinished = null;
            const extent = (try extents.next()).?;
            if (extent.stored) |stored| {
                const held = try self.reader.blocks.begin(self.decoder, stored, extent.end());
                slots[slot_count] = held.slot;
                slot_count += 1;
                if (held.fresh) self.decoded = true;
                const alone = held.fresh and
                    extent.fragment != null and !self.prefetcher.missed(extent.fragment.?);
                if (held.unfinished) unfinished = .{ .slot = held.slot, .alone = alone };
                const content = try extent.of(held.slot);
                parts[part_count] = .{ .base = content.ptr, .len = content.len };
                part_count += 1;
            } else {
                var left: usize = extent.len;
                while (left > 0) : (part_count += 1) {
                    const n = @min(left, self.channel.zeros.len);
                    parts[part_count] = .{ .base = self.channel.zeros.ptr, .len = n };
                    left -= n;
                }
            }
        }
        self.channel.sendParts(
            request.header.unique,
            parts[0..part_count],
            @intCast(end - in.offset),
        );
        if (self.recorder) |recorder|
            recorder.read(ref, in.offset, end)
        else
            self.prefetcher.touched(ref, &inode, in.offset, end);
    }

    /// A block that is decoded only as far as the reply needs it.
    const Unfinished = struct {
        slot: *squashfs.Slot,
        /// The rest of it belongs to other files, which are not being read.
        alone: bool,
    };

    fn finish(self: *RequestHandler, block: Unfinished) void {
        if (block.alone)
            self.reader.blocks.leave(block.slot)
        else
            self.reader.blocks.finish(self.decoder, block.slot);
    }

    fn list(self: *RequestHandler, request: Channel.Request, plus: bool) !void {
        const in = try body(protocol.ReadIn, request);
        const nodeid = request.header.nodeid;
        const dir = try self.inodeOf(nodeid);
        if (dir.kind != .directory) return error.NOTDIR;
        if (self.recorder) |recorder| recorder.listed(try self.referenceOf(nodeid));
        const size = @min(in.size, self.channel.answer.len);
        var out: std.ArrayList(u8) = .initBuffer(self.channel.answer[0..size]);

        // Offsets: 1 after ".", 2 after "..", else the position in the listing, which is always
        // larger.
        const dots = [_]struct { name: []const u8, ino: u32 }{
            .{ .name = ".", .ino = dir.number },
            .{ .name = "..", .ino = dir.body.directory.parent },
        };
        var offset = in.offset;
        while (offset < dots.len) : (offset += 1) {
            const dot = dots[@intCast(offset)];
            const nothing = std.mem.zeroes(protocol.EntryOut);
            const dirent: protocol.Dirent = .{
                .ino = dot.ino,
                .offset = offset + 1,
                .name_len = @intCast(dot.name.len),
                .kind = 4,
            };
            if (!dirent.append(if (plus) &nothing else null, dot.name, &out)) break;
        }
        var it = try self.iterator(nodeid, &dir, if (offset <= dots.len) 0 else offset);
        var before = it.mark;
        var name: [squashfs.directory.name_max]u8 = undefined;
        const thorough = plus and self.readdir_cache.wantsReaddirplus(nodeid);
        while (try it.next(self.reader, self.decoder, &name)) |found| : (before = it.mark) {
            const kinds = [_]u32{ 0, 4, 8, 10, 6, 2, 1, 12 };
            const dirent: protocol.Dirent = .{
                .ino = found.number,
                .offset = it.mark.position,
                .name_len = @intCast(found.name.len),
                .kind = if (found.kind < kinds.len) kinds[found.kind] else 0,
            };
            // Node 0: the kernel takes the name and sends a LOOKUP if it needs more. Directories
            // always have attributes: programs that walk a tree need them. An entry with a damaged
            // inode is listed without attributes.
            var full = std.mem.zeroes(protocol.EntryOut);
            if (thorough or plus and found.kind == directory)
                full = self.entry(found.reference) catch full;
            if (!dirent.append(if (plus) &full else null, found.name, &out)) {
                it.undo(before);
                self.readdir_cache.keep(nodeid, it);
                break;
            }
        }
        self.channel.send(request.header.unique, out.items);
    }

    fn iterator(
        self: *RequestHandler,
        nodeid: u64,
        dir: *const Inode,
        position: u64,
    ) !squashfs.directory.Iterator {
        if (position > 0) if (self.readdir_cache.find(nodeid, position)) |place| return place;
        var it = try squashfs.directory.Iterator.init(self.reader, dir);
        var name: [squashfs.directory.name_max]u8 = undefined;
        while (it.mark.position < position) {
            if (try it.next(self.reader, self.decoder, &name) == null) break;
        }
        return it;
    }

    fn statfs(self: *RequestHandler, unique: u64) void {
        const out: protocol.StatfsOut = .{
            .blocks = (self.reader.superblock.bytes_used + page - 1) / page,
            .files = self.reader.superblock.inode_count,
            .block_size = page,
            .fragment_size = page,
        };
        self.channel.send(unique, std.mem.asBytes(&out));
    }

    fn getxattr(self: *RequestHandler, request: Channel.Request) !void {
        // After ENOSYS the kernel sends no GETXATTR again.
        if (self.reader.superblock.xattr_table == squashfs.Superblock.absent) return error.NOSYS;
        const in = try body(protocol.GetxattrIn, request);
        const name = std.mem.sliceTo(request.body[@sizeOf(protocol.GetxattrIn)..], 0);
        const inode = try self.inodeOf(request.header.nodeid);
        var it = try squashfs.xattr.Iterator.init(self.reader, self.decoder, inode.xattr);
        while (try it.next(self.reader, self.decoder)) |attribute| {
            if (!std.mem.eql(u8, attribute.name, name)) continue;
            const buf = self.channel.answer[0..@min(in.size, self.channel.answer.len)];
            const len = try it.value(self.reader, self.decoder, attribute, buf);
            return self.sendSized(request.header.unique, in.size, len);
        }
        return error.NODATA;
    }

    fn listxattr(self: *RequestHandler, request: Channel.Request) !void {
        if (self.reader.superblock.xattr_table == squashfs.Superblock.absent) return error.NOSYS;
        const in = try body(protocol.GetxattrIn, request);
        const inode = try self.inodeOf(request.header.nodeid);
        const buf = self.channel.answer;
        var len: usize = 0;
        var it = try squashfs.xattr.Iterator.init(self.reader, self.decoder, inode.xattr);
        while (try it.next(self.reader, self.decoder)) |attribute| {
            if (buf.len - len < attribute.name.len + 1) return error.RANGE;
            @memcpy(buf[len..][0..attribute.name.len], attribute.name);
            buf[len + attribute.name.len] = 0;
            len += attribute.name.len + 1;
        }
        if (in.size != 0 and len > in.size) return error.RANGE;
        self.sendSized(request.header.unique, in.size, len);
    }

    /// A request of size 0 asks for the length.
    fn sendSized(self: *RequestHandler, unique: u64, size: u32, len: usize) void {
        if (size != 0) return self.channel.send(unique, self.channel.answer[0..len]);
        const out: protocol.GetxattrOut = .{ .size = @intCast(len) };
        self.channel.send(unique, std.mem.asBytes(&out));
    }
};
