//! Goes ahead of readers who ask for files by their names, one after the other in the order of
//! their directories. FUSE has no message that tells the kernel a name which it has not asked for;
//! but the runtime may ask itself, through its own mount, by listing a directory: from then on the
//! kernel knows all that is in it, and what it knows can be put into its cache, too (walk.zig).
const std = @import("std");
const sys = @import("../../base/syscalls.zig");
const errno = @import("../../base/errno.zig");
const log = @import("../../base/log.zig");
const squashfs = struct {
    const directory = @import("../../squashfs/directory.zig");
    const inode = @import("../../squashfs/inode.zig");
    const Reader = @import("../../squashfs/reader.zig").Reader;
};
const Decoder = @import("../../base/zstd.zig").Decoder;
const ReaddirCache = @import("../readdir_cache.zig").ReaddirCache;
const node_id = @import("../node_id.zig");
const Reference = squashfs.inode.Reference;

/// How many names, at a time: more, and what they name is put into the cache too late.
const window = 128;
/// Files one behind the other until somebody is taken for one, and what may be left out between
/// them.
const steps_min = 6;
const stride_max = 4;
/// Directories in the one where he is, and around it.
const depth_max = 4;
const height_max = 3;
/// Entries among which a directory's own name is sought.
const entries_max = 4096;
/// Names of one directory, and bytes at a time.
const names_max = 4096;
const buffer_max = 128 << 10;
/// Times that we go ahead without having seen him in between: all that he asks for may be there.
const budget_max = 8;

const listed_log = 12;

/// A directory in which somebody has asked for files.
const Place = struct {
    directory: Reference = none,
    /// The number of the inode that was found last.
    last: u32 = 0,
    /// Files that followed each other.
    steps: u32 = 0,
};

const none = std.math.maxInt(Reference);

pub const DirectoryPrefetch = struct {
    reader: *squashfs.Reader,
    readdir_cache: *ReaddirCache,
    /// Of the mount.
    root: sys.fd_t,
    places: [4]Place = @splat(.{}),
    oldest: usize = 0,
    /// How often more we go ahead; 0 as long as nobody seems to be such a reader.
    budget: u32 = 0,
    /// How often a name was asked for.
    asked: std.atomic.Value(u32) = .init(0),
    /// Directories that have been listed. Those that collide forget each other, which costs work,
    /// not correctness.
    listed: [1 << listed_log]std.atomic.Value(Reference) = @splat(.init(none)),
    /// Where this cannot be done.
    given_up: bool = false,

    /// A name has been found in a directory. Where to go now, if anywhere.
    pub fn found(
        self: *DirectoryPrefetch,
        directory: Reference,
        entry: squashfs.directory.Entry,
    ) ?Reference {
        _ = self.asked.fetchAdd(1, .monotonic);
        if (self.given_up or self.slotOf(directory).load(.monotonic) == directory) return null;
        if (isDirectory(entry)) return self.next(entry.reference);
        const place = for (&self.places) |*place| {
            if (place.directory == directory) break place;
        } else {
            self.places[self.oldest] = .{
                .directory = directory,
                .last = entry.number,
                .steps = 1,
            };
            self.oldest = (self.oldest + 1) % self.places.len;
            return self.next(directory);
        };
        const follows = entry.number > place.last and entry.number - place.last <= stride_max;
        place.last = entry.number;
        place.steps = if (follows) place.steps + 1 else 1;
        if (place.steps >= steps_min) self.budget = budget_max;
        if (!follows) self.budget = 0;
        return self.next(directory);
    }

    fn next(self: *DirectoryPrefetch, directory: Reference) ?Reference {
        if (self.budget == 0 or !self.isFresh(directory)) return null;
        self.budget -= 1;
        return directory;
    }

    /// `go` did not come to its end. The kernel may have no openat2(2), or somebody forbid it; all
    /// else is for whoever reads there to be told of.
    pub fn failed(self: *DirectoryPrefetch, err: anyerror) void {
        log.debug("names ahead: {s}", .{errno.text(err)});
        self.budget = 0;
        self.given_up = self.given_up or err == error.NOSYS or err == error.PERM;
    }

    fn slotOf(self: *DirectoryPrefetch, directory: Reference) *std.atomic.Value(Reference) {
        return &self.listed[@intCast((directory *% 0x9e37_79b9_7f4a_7c15) >> (64 - listed_log))];
    }

    fn isFresh(self: *DirectoryPrefetch, directory: Reference) bool {
        return self.slotOf(directory).swap(directory, .monotonic) != directory;
    }

    /// Lists the directory, what is below it, and what comes next to it.
    pub fn go(self: *DirectoryPrefetch, decoder: Decoder, start: Reference) !void {
        var pass: Pass = .{ .prefetch = self, .decoder = decoder };
        var here = start;
        var below: ?Reference = null;
        for (0..height_max) |_| {
            var path: [std.posix.PATH_MAX]u8 = undefined;
            const own = try self.pathOf(decoder, here, &path);
            const fd = try open(self.root, own);
            defer sys.close(fd);
            if (below == null) {
                log.debug("names ahead: {s}, {d} asked for", .{ own, self.asked.load(.monotonic) });
                try pass.list(fd, here);
            }
            try pass.visit(fd, here, below, 0);
            if (pass.left == 0 or here == self.reader.superblock.root_inode) break;
            const dir = try squashfs.inode.read(self.reader, decoder, here);
            below = here;
            here = try self.reader.numbered(decoder, dir.body.directory.parent);
        }
    }

    const Pass = struct {
        prefetch: *DirectoryPrefetch,
        decoder: Decoder,
        left: u32 = window,

        /// What is in a directory, or stands in it behind an entry.
        fn visit(
            self: *Pass,
            fd: sys.fd_t,
            reference: Reference,
            behind: ?Reference,
            depth: u32,
        ) !void {
            const reader = self.prefetch.reader;
            const dir = try squashfs.inode.read(reader, self.decoder, reference);
            var it = try squashfs.directory.Iterator.init(reader, &dir);
            var name: [squashfs.directory.name_max:0]u8 = undefined;
            var passed = behind == null;
            while (self.left > 0) {
                const entry = try it.next(reader, self.decoder, &name) orelse break;
                if (!passed) {
                    passed = entry.reference == behind.?;
                    continue;
                }
                self.left -= 1;
                if (!isDirectory(entry) or depth == depth_max) continue;
                name[entry.name.len] = 0;
                // Before it is opened: that may be a request for its name, and make it somebody's
                // start.
                const is_fresh = self.prefetch.isFresh(entry.reference);
                const below = try open(fd, name[0..entry.name.len :0]);
                defer sys.close(below);
                if (is_fresh) try self.list(below, entry.reference);
                try self.visit(below, entry.reference, null, depth + 1);
            }
        }

        fn list(self: *Pass, fd: sys.fd_t, reference: Reference) !void {
            const dir = try squashfs.inode.read(self.prefetch.reader, self.decoder, reference);
            self.prefetch.readdir_cache.wantReaddirplus(node_id.of(reference));
            const buffer = self.decoder.input[0..@min(self.decoder.input.len, buffer_max)];
            var count: usize = 0;
            while (count < names_max) {
                var rest: []u8 = buffer[0..try sys.call(
                    .getdents64,
                    .{ fd, buffer.ptr, buffer.len },
                )];
                // struct linux_dirent64 (getdents(2)): inode, offset, length, kind, name.
                var end: u64 = dir.size;
                var last: ?[*:0]const u8 = null;
                while (rest.len > 0) : (count += 1) {
                    end = std.mem.readInt(u64, rest[8..16], .native);
                    last = @ptrCast(rest[19..].ptr);
                    rest = rest[std.mem.readInt(u16, rest[16..18], .native)..];
                }
                // Offsets are those of operations.zig; the directory's size counts three bytes
                // more.
                if (end + 3 >= dir.size) return;
                // The kernel asks for attributes with the next names, too, if somebody uses these
                // (FUSE_READDIRPLUS_AUTO).
                if (last) |name| _ = sys.lstat(fd, name) catch {};
            }
        }
    };

    /// Whatever the image holds, nothing outside of the mount is opened (openat2(2)).
    fn open(from: sys.fd_t, path: [:0]const u8) sys.Error!sys.fd_t {
        const How = extern struct { flags: u64, mode: u64 = 0, resolve: u64 };
        const no_xdev = 1;
        const no_symlinks = 4;
        const beneath = 8;
        const flags: u32 = @bitCast(sys.O{ .DIRECTORY = true, .CLOEXEC = true });
        const how: How = .{ .flags = flags, .resolve = no_xdev | no_symlinks | beneath };
        return @intCast(try sys.call(.openat2, .{ from, path.ptr, &how, @sizeOf(How) }));
    }

    /// Of a directory, from the root: it tells its parent, and that lists its name.
    fn pathOf(
        self: *DirectoryPrefetch,
        decoder: Decoder,
        reference: Reference,
        buf: *[std.posix.PATH_MAX]u8,
    ) ![:0]const u8 {
        const end = buf.len - 1;
        buf[end] = 0;
        var start: usize = end;
        var here = reference;
        while (here != self.reader.superblock.root_inode) {
            const dir = try squashfs.inode.read(self.reader, decoder, here);
            if (dir.kind != .directory) return error.Corrupt;
            const parent = try self.reader.numbered(decoder, dir.body.directory.parent);
            var name: [squashfs.directory.name_max]u8 = undefined;
            const own = (try self.entryOf(decoder, parent, here, &name)).name;
            // This bounds the way up, too.
            if (start < own.len + 1) return error.NAMETOOLONG;
            if (start < end) {
                start -= 1;
                buf[start] = '/';
            }
            start -= own.len;
            @memcpy(buf[start..][0..own.len], own);
            here = parent;
        }
        return if (start == end) "." else buf[start..end :0];
    }

    fn entryOf(
        self: *DirectoryPrefetch,
        decoder: Decoder,
        parent: Reference,
        reference: Reference,
        name: *[squashfs.directory.name_max]u8,
    ) !squashfs.directory.Entry {
        const dir = try squashfs.inode.read(self.reader, decoder, parent);
        var it = try squashfs.directory.Iterator.init(self.reader, &dir);
        for (0..entries_max) |_| {
            const entry = try it.next(self.reader, decoder, name) orelse break;
            if (entry.reference == reference) return entry;
        }
        return error.NOENT;
    }
};

fn isDirectory(entry: squashfs.directory.Entry) bool {
    return entry.kind == @backingInt(squashfs.inode.Kind.directory);
}

test "who asks for files in their order is gone ahead of" {
    const kind = @backingInt(squashfs.inode.Kind.file);
    const prefetch = try std.testing.allocator.create(DirectoryPrefetch);
    defer std.testing.allocator.destroy(prefetch);
    prefetch.* = .{ .reader = undefined, .readdir_cache = undefined, .root = -1 };
    const Asks = struct {
        prefetch: *DirectoryPrefetch,
        fn file(self: @This(), dir: Reference, number: u32) ?Reference {
            return self.prefetch.found(
                dir,
                .{ .reference = number, .number = number, .kind = kind, .name = "" },
            );
        }
        fn directory(self: @This(), dir: Reference, reference: Reference) ?Reference {
            return self.prefetch.found(
                dir,
                .{ .reference = reference, .number = 9, .kind = 1, .name = "" },
            );
        }
    };
    const asks: Asks = .{ .prefetch = prefetch };
    // Here and there, backwards, and the same one again.
    for ([_]u32{ 100, 3, 50, 49, 48, 47, 46, 45, 45, 45, 45, 45, 45, 60, 70, 80, 90, 100 }) |number|
        try std.testing.expectEqual(null, asks.file(1000, number));
    try std.testing.expectEqual(null, asks.directory(1000, 5000));
    // In order, one or another left out.
    for ([_]u32{ 200, 201, 203, 204, 208 }) |number|
        try std.testing.expectEqual(null, asks.file(2000, number));
    try std.testing.expectEqual(2000, asks.file(2000, 209));
    // What has been listed once is not listed again; the directories that he comes to are.
    try std.testing.expectEqual(null, asks.file(2000, 210));
    try std.testing.expectEqual(3000, asks.file(3000, 300));
    try std.testing.expectEqual(4000, asks.directory(1000, 4000));
    try std.testing.expectEqual(null, asks.directory(1000, 4000));
    // Until he does otherwise,
    try std.testing.expectEqual(null, asks.file(1000, 99));
    try std.testing.expectEqual(null, asks.file(6000, 400));
    // or is not seen again.
    for (500..506) |number| _ = asks.file(7000, @intCast(number));
    for (0..budget_max - 1) |i| try std.testing.expectEqual(8000 + i, asks.file(8000 + i, 600));
    try std.testing.expectEqual(null, asks.file(9000, 600));
}
