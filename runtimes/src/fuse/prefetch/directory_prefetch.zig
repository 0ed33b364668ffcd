//! Prefetches directories for programs that look up files by name, in the order of the directories.
//! FUSE cannot push a name into the kernel's cache; but when the runtime lists a directory of its
//! own mount (READDIRPLUS), the kernel caches all names in it, and then data of these files can be
//! pushed, too (small_file_stream.zig).
const std = @import("std");
const sys = @import("../../base/syscalls.zig");
const errno = @import("../../base/errno.zig");
const log = @import("../../base/log.zig");
const squashfs = struct {
    const directory = @import("../../squashfs/directory.zig");
    const inode = @import("../../squashfs/inode.zig");
    const Reader = @import("../../squashfs/reader.zig").Reader;
    const Superblock = @import("../../squashfs/superblock.zig").Superblock;
};
const Decoder = @import("../../base/zstd.zig").Decoder;
const ReaddirCache = @import("../readdir_cache.zig").ReaddirCache;
const node_id = @import("../node_id.zig");
const Reference = squashfs.inode.Reference;

/// Names at a time. With more, their data would arrive too late.
const window = 128;
/// Consecutive files before prefetching starts, and the largest step between their inode numbers.
const steps_min = 6;
const stride_max = 4;
/// Levels below the reader's directory, and above it.
const depth_max = 4;
const height_max = 3;
/// Entries of a parent that are searched for a directory's name.
const entries_max = 4096;
/// Names of one directory, and bytes at a time.
const names_max = 4096;
const buffer_max = 128 << 10;
/// Prefetches without a LOOKUP in between: if all names are cached, the kernel sends none.
const budget_max = 8;

const listed_log = 12;

/// A directory in which files were looked up.
const Place = struct {
    directory: Reference = none,
    /// The number of the inode that was found last.
    last: u32 = 0,
    /// Consecutive files found.
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
    /// Prefetches left; 0 while no sequential reader is seen.
    budget: u32 = 0,
    /// LOOKUP requests so far.
    asked: std.atomic.Value(u32) = .init(0),
    /// A hash set of directories that have been listed. A collision drops the older entry, which
    /// costs work, not correctness.
    listed: [1 << listed_log]std.atomic.Value(Reference) = @splat(.init(none)),
    /// Set where prefetching cannot work.
    given_up: bool = false,

    /// `root` is that of the mount; null where the mount cannot be used.
    pub fn init(
        reader: *squashfs.Reader,
        readdir_cache: *ReaddirCache,
        root: ?sys.fd_t,
    ) DirectoryPrefetch {
        // Without that table there is no way from a directory to its parent.
        const has_parents = reader.superblock.export_table != squashfs.Superblock.absent;
        return .{
            .reader = reader,
            .readdir_cache = readdir_cache,
            .root = root orelse -1,
            .given_up = root == null or !has_parents,
        };
    }

    /// After a LOOKUP that found `entry`: the directory to prefetch from, if any.
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

    /// After an error of `go`. Gives up if openat2(2) is missing or forbidden; other errors are
    /// reported to the reader of the file.
    pub fn failed(self: *DirectoryPrefetch, err: anyerror) void {
        log.debug("prefetching names: {s}", .{errno.text(err)});
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
                const asked = self.asked.load(.monotonic);
                log.debug("prefetching names: {s}, {d} asked for", .{ own, asked });
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

        /// Visits the entries of a directory, or those after the entry `behind`.
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
                // Before it is opened: that may send a LOOKUP, which would prefetch it again.
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
                // Offsets are those of requests.zig; the directory's size counts three bytes more.
                if (end + 3 >= dir.size) return;
                // The kernel continues with READDIRPLUS only if the attributes are used
                // (FUSE_READDIRPLUS_AUTO).
                if (last) |name| _ = sys.lstat(fd, name) catch {};
            }
        }
    };

    /// Opens nothing outside of the mount, whatever the image contains (openat2(2)).
    fn open(from: sys.fd_t, path: [:0]const u8) sys.Error!sys.fd_t {
        const How = extern struct { flags: u64, mode: u64 = 0, resolve: u64 };
        const no_xdev = 1;
        const no_symlinks = 4;
        const beneath = 8;
        const flags: u32 = @bitCast(sys.O{ .DIRECTORY = true, .CLOEXEC = true });
        const how: How = .{ .flags = flags, .resolve = no_xdev | no_symlinks | beneath };
        return @intCast(try sys.call(.openat2, .{ from, path.ptr, &how, @sizeOf(How) }));
    }

    /// The path of a directory from the root: its inode has its parent's number, and the parent its
    /// name.
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
            // This bounds the loop, too.
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

test "sequential lookups are prefetched" {
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
    // At random, backwards, and the same file repeatedly.
    for ([_]u32{ 100, 3, 50, 49, 48, 47, 46, 45, 45, 45, 45, 45, 45, 60, 70, 80, 90, 100 }) |number|
        try std.testing.expectEqual(null, asks.file(1000, number));
    try std.testing.expectEqual(null, asks.directory(1000, 5000));
    // In order, with gaps.
    for ([_]u32{ 200, 201, 203, 204, 208 }) |number|
        try std.testing.expectEqual(null, asks.file(2000, number));
    try std.testing.expectEqual(2000, asks.file(2000, 209));
    // A directory is listed once; the reader's next directories are listed.
    try std.testing.expectEqual(null, asks.file(2000, 210));
    try std.testing.expectEqual(3000, asks.file(3000, 300));
    try std.testing.expectEqual(4000, asks.directory(1000, 4000));
    try std.testing.expectEqual(null, asks.directory(1000, 4000));
    // Until the order is broken,
    try std.testing.expectEqual(null, asks.file(1000, 99));
    try std.testing.expectEqual(null, asks.file(6000, 400));
    // or the budget is used up.
    for (500..506) |number| _ = asks.file(7000, @intCast(number));
    for (0..budget_max - 1) |i| try std.testing.expectEqual(8000 + i, asks.file(8000 + i, 600));
    try std.testing.expectEqual(null, asks.file(9000, 600));
}
