//! The start list of the payload: what a recorded start of the program used, in the order of first
//! use (docs/profiles.md, docs/format.md). Until there is a mount, its blocks are decoded; then its
//! names are looked up through the mount, and its pages are pushed into the kernel's cache.
//!
//! The list is untrusted like the rest of the image. It only says which of the image's data are
//! prefetched: a wrong one costs time, within the bounds below.
const std = @import("std");
const sys = @import("../../base/syscalls.zig");
const log = @import("../../base/log.zig");
const squashfs = struct {
    const inode = @import("../../squashfs/inode.zig");
    const Reader = @import("../../squashfs/reader.zig").Reader;
};
const Channel = @import("../channel.zig").Channel;
const CpuPolicy = @import("../../process/cpu_policy.zig").CpuPolicy;
const Decoder = @import("../../base/zstd.zig").Decoder;
const Quiesce = @import("../../process/quiesce.zig").Quiesce;
const entries_file = @import("start_entries.zig");
const Entry = entries_file.Entry;
const Parts = entries_file.Parts;
const page_log = entries_file.page_log;
const rangeOf = entries_file.rangeOf;
const ListedPages = @import("listed_pages.zig").ListedPages;
const node_id = @import("../node_id.zig");

/// Pages of a section.
const pages_max = 1 << 16;
/// Bytes that are decoded before there is a mount: they must stay in the cache of blocks.
const ahead_max = 8 << 20;
/// Files that the program uses although they are not in the list, before the work ends.
const strays_max = 8;
/// READs of other pages of files in the list, before these files are prefetched whole, too.
const beyond_max = 64;
/// Names that are looked up before the pages of their files are pushed.
const names_at_once = 32;
/// Times that the program may overtake us in these.
const passed_max = 64;
/// Bytes of one listing.
const listing_max = 1 << 20;

/// What the thread that works through the list has.
pub const Worker = struct {
    reader: *squashfs.Reader,
    decoder: Decoder,
    channel: *const Channel,
    root: sys.fd_t,
    quiesce: *Quiesce,
};

pub const StartList = struct {
    /// Set by the loader before it ends.
    entries: []const u8 = &.{},
    pages: *ListedPages = undefined,
    /// Set when the mount is there.
    mounted: std.atomic.Value(bool) = .init(false),
    taken: std.atomic.Value(bool) = .init(false),
    /// Set by the loader, if there are entries.
    begun: std.atomic.Value(bool) = .init(false),
    /// From then to the end of the work.
    active: std.atomic.Value(bool) = .init(false),
    /// READs of other pages of files in the list.
    beyond: std.atomic.Value(u32) = .init(0),
    /// READs and LOOKUPs of other files.
    strays: std.atomic.Value(u32) = .init(0),
    /// The furthest entry of which the program has asked for a page.
    reached: std.atomic.Value(u32) = .init(0),
    left: u32 = pages_max,

    /// By the loader.
    pub fn begin(self: *StartList, entries: []const u8) !void {
        self.entries = entries;
        self.pages = @ptrCast((try sys.anonymous(@sizeOf(ListedPages))).ptr);
        var rest = entries;
        while (true) {
            const at: u32 = @intCast(entries.len - rest.len);
            const entry = Entry.next(&rest) orelse break;
            if (entry.use == .name) self.pages.addName(entry.number);
            var ranges = entry.ranges;
            while (rangeOf(&ranges)) |range|
                self.pages.add(at, entry.number, range.from >> page_log, range.to >> page_log);
        }
        self.active.store(true, .monotonic);
        self.begun.store(true, .release);
    }

    /// For tests: what `begin` took.
    pub fn deinit(self: *StartList) void {
        sys.release(std.mem.asBytes(self.pages));
    }

    /// After the reply to a READ. Whether what else is read of the file comes by the list, so that
    /// it need not be prefetched whole.
    pub fn covers(self: *StartList, number: u32, from: u64, to: u64) bool {
        if (!self.begun.load(.acquire)) return false;
        if (self.strays.load(.monotonic) > strays_max) return false;
        if (self.pages.deliver(number, from >> page_log, (to - 1 >> page_log) + 1)) |entry| {
            _ = self.reached.fetchMax(entry, .monotonic);
            return true;
        }
        if (!self.pages.hasFile(number)) {
            self.stray();
            return false;
        }
        // The kernel reads ahead, too, so a few say nothing about the program.
        return self.beyond.fetchAdd(1, .monotonic) < beyond_max;
    }

    /// After a LOOKUP that found a file.
    pub fn named(self: *StartList, number: u32) void {
        if (self.active.load(.acquire) and !self.pages.hasName(number)) self.stray();
    }

    fn stray(self: *StartList) void {
        if (self.strays.fetchAdd(1, .monotonic) != strays_max) return;
        log.debug("start list: the program uses what is not in it", .{});
        self.active.store(false, .release);
    }

    /// Decodes what is read first, until there is a mount.
    pub fn decode(self: *StartList, reader: *squashfs.Reader, decoder: Decoder) !void {
        var rest = self.entries;
        var left: u64 = ahead_max;
        while (Entry.next(&rest)) |entry| {
            if (entry.use != .read) continue;
            var parts = try Parts.init(reader, decoder, &entry) orelse continue;
            defer parts.deinit();
            while (try parts.next()) |extent| {
                if (left == 0 or self.mounted.load(.monotonic)) return;
                if (extent.stored == null) continue;
                _ = try parts.content(&extent);
                left -|= extent.len;
            }
        }
    }

    /// True for the first thread that asks.
    pub fn take(self: *StartList) bool {
        return self.entries.len > 0 and !self.taken.swap(true, .monotonic);
    }

    /// Works through the list; `root` is that of the mount.
    pub fn run(self: *StartList, worker: Worker, cpus: *CpuPolicy) void {
        defer self.active.store(false, .release);
        cpus.beginList();
        defer cpus.endList();
        var first: usize = 0;
        while (first < self.entries.len) {
            // Names first: the kernel takes pages only of files that it knows.
            cpus.serveList(true);
            const end = self.lookNamesUp(worker, first) orelse return;
            cpus.serveList(false);
            if (!self.pushPages(worker, first, end)) return;
            first = end;
        }
        log.debug("start list: done", .{});
    }

    /// From the entry at `first` on. Returns where it stopped; null if the work is to end.
    fn lookNamesUp(self: *StartList, worker: Worker, first: usize) ?usize {
        var rest = self.entries[first..];
        for (0..names_at_once) |_| {
            const entry = while (Entry.next(&rest)) |entry| {
                if (entry.use != .read) break entry;
            } else return self.entries.len;
            if (!self.isWanted(worker)) return null;
            worker.quiesce.enter();
            defer worker.quiesce.leave();
            (if (entry.use == .list)
                listNames(worker, &entry)
            else
                lookUp(worker, &entry)) catch |err|
                if (err == error.NOSYS or err == error.PERM) return null;
        }
        return self.entries.len - rest.len;
    }

    /// The pages of the entries from `first` to `end`. Where the program has overtaken us, we go on
    /// in front of it, and come back to the rest afterwards.
    fn pushPages(self: *StartList, worker: Worker, first: usize, end: usize) bool {
        var passed: [passed_max][2]usize = undefined;
        var count: usize = 0;
        var rest = self.entries[first..];
        while (self.entries.len - rest.len < end) {
            const at = self.entries.len - rest.len;
            const reached = self.reached.load(.monotonic);
            if (reached >= at and reached < end and count < passed.len) {
                rest = self.entries[reached..];
                _ = Entry.next(&rest);
                passed[count] = .{ at, self.entries.len - rest.len };
                count += 1;
                continue;
            }
            const entry = Entry.next(&rest) orelse break;
            if (!self.pushEntry(worker, &entry)) return false;
        }
        for (passed[0..count]) |part| {
            rest = self.entries[part[0]..part[1]];
            while (Entry.next(&rest)) |entry| if (!self.pushEntry(worker, &entry)) return false;
        }
        return true;
    }

    fn pushEntry(self: *StartList, worker: Worker, entry: *const Entry) bool {
        if (entry.use != .read) return true;
        if (!self.isWanted(worker)) return false;
        worker.quiesce.enter();
        defer worker.quiesce.leave();
        self.push(worker.reader, worker.decoder, worker.channel, entry) catch {};
        return true;
    }

    fn isWanted(self: *StartList, worker: Worker) bool {
        if (worker.decoder.yields_while) |so| if (so.load(.monotonic)) {
            _ = sys.raw(.sched_yield, .{});
        };
        return self.active.load(.monotonic);
    }

    fn push(
        self: *StartList,
        reader: *squashfs.Reader,
        decoder: Decoder,
        channel: *const Channel,
        entry: *const Entry,
    ) !void {
        var parts = try Parts.init(reader, decoder, entry) orelse return;
        defer parts.deinit();
        const nodeid = node_id.of(parts.file.reference);
        while (try parts.next()) |extent| {
            if (extent.stored == null) continue;
            const pages = (extent.len >> page_log) + 1;
            if (self.left < pages) return;
            self.left -= pages;
            const from, const to = self.pages.missing(
                entry.number,
                extent.offset >> page_log,
                (extent.offset + extent.len - 1 >> page_log) + 1,
            );
            if (from == to) continue;
            const content = try parts.content(&extent);
            const start: usize = @intCast((from << page_log) - extent.offset);
            const end: usize = @intCast(@min((to << page_log) - extent.offset, extent.len));
            if (!channel.store(nodeid, from << page_log, content[start..end])) return;
            _ = self.pages.deliver(entry.number, from, to);
        }
    }
};

/// Sends the LOOKUPs; a link is read, too.
fn lookUp(worker: Worker, entry: *const Entry) !void {
    const found = try open(worker.root, entry.path, .{ .PATH = true, .NOFOLLOW = true });
    defer sys.close(found);
    const reference = try worker.reader.numbered(worker.decoder, entry.number);
    const inode = try squashfs.inode.read(worker.reader, worker.decoder, reference);
    if (inode.kind != .symlink) return;
    var target: [1]u8 = undefined;
    try sys.do(.readlinkat, .{ found, "", &target, target.len });
}

fn listNames(worker: Worker, entry: *const Entry) !void {
    const directory = try open(worker.root, entry.path, .{ .DIRECTORY = true });
    defer sys.close(directory);
    const buffer = worker.decoder.input[0..@min(worker.decoder.input.len, 128 << 10)];
    var left: usize = listing_max;
    while (left > 0) {
        const n = try sys.call(.getdents64, .{ directory, buffer.ptr, buffer.len });
        if (n == 0) return;
        left -|= n;
    }
}

/// Opens nothing outside of the mount, whatever the list says (openat2(2)).
fn open(root: sys.fd_t, path: []const u8, flags: sys.O) !sys.fd_t {
    var buf: [std.posix.PATH_MAX]u8 = undefined;
    const prefix = "rootfs/";
    if (path.len > buf.len - prefix.len - 1) return error.NAMETOOLONG;
    @memcpy(buf[0..prefix.len], prefix);
    @memcpy(buf[prefix.len..][0..path.len], path);
    buf[prefix.len + path.len] = 0;
    const How = extern struct { flags: u64, mode: u64 = 0, resolve: u64 };
    const no_xdev = 1;
    const no_symlinks = 4;
    const beneath = 8;
    var own = flags;
    own.CLOEXEC = true;
    const bits: u32 = @bitCast(own);
    const how: How = .{ .flags = bits, .resolve = no_xdev | no_symlinks | beneath };
    return @intCast(try sys.call(.openat2, .{ root, &buf, &how, @sizeOf(How) }));
}
