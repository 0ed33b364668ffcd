//! Threads that prefetch for the readers. The rest of a file that was read, and what is likely to
//! be read next, is decoded and pushed into the kernel's page cache (FUSE_NOTIFY_STORE): every
//! block is decoded once, and most reads need no request.
const std = @import("std");
const futex = @import("../../base/futex.zig");
const sys = @import("../../base/syscalls.zig");
const squashfs = struct {
    const directory = @import("../../squashfs/directory.zig");
    const extents = @import("../../squashfs/extents.zig");
    const inode = @import("../../squashfs/inode.zig");
    const Reader = @import("../../squashfs/reader.zig").Reader;
};
const CpuPolicy = @import("../../process/cpu_policy.zig").CpuPolicy;
const Channel = @import("../channel.zig").Channel;
const Decoder = @import("../../base/zstd.zig").Decoder;
const Quiesce = @import("../../process/quiesce.zig").Quiesce;
const ReaddirCache = @import("../readdir_cache.zig").ReaddirCache;
const node_id = @import("../node_id.zig");
const DirectoryPrefetch = @import("directory_prefetch.zig").DirectoryPrefetch;
pub const StartList = @import("start_list.zig").StartList;
const SmallFileStream = @import("small_file_stream.zig").SmallFileStream;
const SmallFileStreams = @import("small_file_stream.zig").SmallFileStreams;
const small_max = @import("small_file_stream.zig").small_max;
const Reference = squashfs.inode.Reference;

/// Files up to this size are prefetched whole when a part is read.
const whole_max = 8 << 20;
/// The readahead for a sequential reader, in bytes.
const window_max = 8 << 20;

/// Blocks of a file; of the first, the reader already has `seen_from` to `seen_to`.
const Part = struct {
    reference: Reference,
    first: u64,
    count: u64,
    seen_from: u64 = 0,
    seen_to: u64 = 0,
};

const Job = union(enum) { part: Part, stream: *SmallFileStream, names: Reference };

/// Misses of fragment blocks before neighbours are prefetched: such a reader goes through many
/// small files. A program that starts reads only a few.
const misses_before_hints = 8;

/// Of directory entries.
const file_kind = @backingInt(squashfs.inode.Kind.file);

/// A reader that may be sequential.
const Run = struct { reference: Reference = std.math.maxInt(u64), next: u64 = 0, window: u64 = 0 };

pub const Prefetcher = struct {
    reader: *squashfs.Reader,
    channel: Channel,
    directories: DirectoryPrefetch,
    cpus: *CpuPolicy,
    quiesce: *Quiesce,
    mutex: futex.Mutex = .{},
    /// A futex for the threads to wait on.
    changes: std.atomic.Value(u32) = .init(0),
    jobs: [64]Job = undefined,
    head: usize = 0,
    count: usize = 0,
    /// A fragment block that is likely to be read; decoded when there is no other job.
    next_fragment_hint: ?u32 = null,
    misses: usize = 0,
    runs: [16]Run = @splat(.{}),
    run_next: usize = 0,
    streams: SmallFileStreams = .{},
    /// A hash set of blocks asked for lately. A collision drops the older entry, which costs work,
    /// not correctness.
    asked: [2048]u32 = @splat(0),
    start_list: ?*StartList = null,

    /// `root` is that of the mount; null where names cannot be prefetched.
    pub fn init(
        reader: *squashfs.Reader,
        cpus: *CpuPolicy,
        quiesce: *Quiesce,
        channel: Channel,
        readdir_cache: *ReaddirCache,
        root: ?sys.fd_t,
    ) Prefetcher {
        return .{
            .reader = reader,
            .cpus = cpus,
            .quiesce = quiesce,
            .channel = channel,
            .directories = .init(reader, readdir_cache, root),
        };
    }

    /// After the reply to a READ of this part of a file.
    pub fn touched(
        self: *Prefetcher,
        reference: Reference,
        file: *const squashfs.inode.Inode,
        from: u64,
        to: u64,
    ) void {
        if (self.start_list) |list| if (list.covers(file.number, from, to)) return;
        self.mutex.lock();
        defer self.mutex.unlock();
        if (from == 0 and file.size <= small_max) if (self.streams.reached(reference)) |stream| {
            stream.under_way = self.push(.{ .stream = stream });
        };
        if (from == 0 and to == file.size) return;
        const log = self.reader.superblock.block_log;
        const block = (to - 1) >> log;
        const blocks = ((file.size - 1) >> log) + 1;
        // Otherwise they would count as asked for.
        if (self.count == self.jobs.len) return;
        var last = block + 1;
        if (file.size <= whole_max) {
            last = blocks;
        } else {
            const run = self.runOf(reference, from >> log);
            if (run.window > 0) last = @min(blocks, @max(run.next, block) + run.window);
            run.next = last;
        }
        var first = from >> log;
        while (first < last and !self.ask(reference, first)) first += 1;
        if (first < last) _ = self.push(.{ .part = .{
            .reference = reference,
            .first = first,
            .count = last - first,
            .seen_from = from,
            .seen_to = to,
        } });
        if (file.size <= whole_max and from >> log > 0 and self.ask(reference, 0))
            _ = self.push(.{
                .part = .{ .reference = reference, .first = 0, .count = from >> log },
            });
    }

    /// After a LOOKUP that found `entry`.
    pub fn named(self: *Prefetcher, directory: Reference, entry: squashfs.directory.Entry) void {
        if (self.start_list) |list| if (entry.kind == file_kind) list.named(entry.number);
        self.mutex.lock();
        defer self.mutex.unlock();
        // Otherwise it would count as listed.
        if (self.count == self.jobs.len) return;
        if (self.directories.found(directory, entry)) |start| _ = self.push(.{ .names = start });
    }

    /// After a fragment block was decoded for a READ. Returns whether the reader goes through many
    /// of them.
    pub fn missed(self: *Prefetcher, fragment: u32) bool {
        // Its other files will be read, too.
        if (self.start_list) |list| if (list.active.load(.monotonic)) return true;
        self.mutex.lock();
        defer self.mutex.unlock();
        self.misses += 1;
        if (self.misses < misses_before_hints) return false;
        if (fragment + 1 < self.reader.superblock.fragment_count) {
            self.next_fragment_hint = fragment + 1;
            self.announce();
        }
        return true;
    }

    fn runOf(self: *Prefetcher, reference: Reference, block: u64) *Run {
        for (&self.runs) |*run| if (run.reference == reference) {
            if (block == run.next) {
                run.window = @min(
                    @max(1, run.window * 2),
                    window_max / self.reader.superblock.blockSize(),
                );
            } else if (block > run.next or block + run.window + 1 < run.next) run.window = 0;
            return run;
        };
        const run = &self.runs[self.run_next];
        self.run_next = (self.run_next + 1) % self.runs.len;
        run.* = .{ .reference = reference, .next = block };
        if (block == 0) run.window = 1;
        return run;
    }

    /// Marks a block as asked for; false if it was already.
    fn ask(self: *Prefetcher, reference: Reference, block: u64) bool {
        const hash = (reference *% 0x9e37_79b9_7f4a_7c15 +% block) *% 0x9e37_79b9_7f4a_7c15;
        const mark: u32 = @truncate(hash >> 21 | 1);
        const slot = &self.asked[@intCast(hash >> (64 - 11))];
        if (slot.* == mark) return false;
        slot.* = mark;
        return true;
    }

    /// Queues a job; false if the queue is full.
    fn push(self: *Prefetcher, job: Job) bool {
        if (self.count == self.jobs.len) return false;
        self.jobs[(self.head + self.count) % self.jobs.len] = job;
        self.count += 1;
        self.announce();
        return true;
    }

    fn announce(self: *Prefetcher) void {
        _ = self.changes.fetchAdd(1, .release);
        futex.wake(&self.changes, 1);
    }

    /// What each of the threads does.
    pub fn loop(self: *Prefetcher, decoder: Decoder) void {
        self.cpus.useAll();
        self.channel.isolateFdTable(.{ self.reader.image.fd, self.directories.root });
        self.cpus.waitForLoader();
        if (self.start_list) |list| if (list.take()) {
            var yielding = decoder;
            yielding.yields_while = &self.cpus.setting_up;
            list.run(.{
                .reader = self.reader,
                .decoder = yielding,
                .channel = &self.channel,
                .root = self.directories.root,
                .quiesce = self.quiesce,
            }, self.cpus);
        };
        while (true) {
            const changes = self.changes.load(.acquire);
            self.quiesce.enter();
            const busy = self.step(decoder);
            self.quiesce.leave();
            if (!busy) futex.wait(&self.changes, changes);
        }
    }

    /// Does one thing; false when there is nothing to do. Errors are ignored: the reader of a
    /// corrupt block gets the error.
    pub fn step(self: *Prefetcher, decoder: Decoder) bool {
        self.mutex.lock();
        if (self.count > 0) {
            const job = self.jobs[self.head];
            self.head = (self.head + 1) % self.jobs.len;
            self.count -= 1;
            // The reader may have moved on since.
            const stream_now: SmallFileStream = if (job == .stream) job.stream.* else .{};
            self.mutex.unlock();
            switch (job) {
                .part => |part| self.work(decoder, part) catch {},
                .names => |start| self.directories.go(decoder, start) catch |err| {
                    self.mutex.lock();
                    defer self.mutex.unlock();
                    self.directories.failed(err);
                },
                .stream => |stream| {
                    const last = stream_now.advance(self.reader, &self.channel, decoder) catch
                        stream_now.last;
                    self.mutex.lock();
                    stream.last = @max(stream.last, last);
                    stream.under_way = false;
                    self.mutex.unlock();
                },
            }
            return true;
        }
        const next_fragment_hint = self.next_fragment_hint;
        self.next_fragment_hint = null;
        self.mutex.unlock();
        self.decode(decoder, next_fragment_hint orelse return false) catch {};
        return true;
    }

    fn decode(self: *Prefetcher, decoder: Decoder, index: u32) !void {
        const stored = try self.reader.fragment(decoder, index);
        self.reader.blocks.release(try self.reader.blocks.get(decoder, stored));
    }

    fn work(self: *Prefetcher, decoder: Decoder, part: Part) !void {
        const log = self.reader.superblock.block_log;
        const file = try squashfs.inode.read(self.reader, decoder, part.reference);
        var list: squashfs.extents.BlockList = .{};
        const from = part.first << log;
        var extents: squashfs.extents.Extents =
            .init(self.reader, decoder, &file, from, from + (part.count << log), &list);
        while (try extents.next()) |extent| {
            if (extent.offset > from) {
                self.mutex.lock();
                const fresh = self.ask(part.reference, extent.offset >> log);
                self.mutex.unlock();
                if (!fresh) continue;
            }
            if (extent.stored == null) continue;
            const slot = try extents.load(&extent);
            // A fragment is shared with other files; a block of one file is now in the kernel's
            // cache.
            defer if (extent.fragment == null)
                self.reader.blocks.retire(slot)
            else
                self.reader.blocks.release(slot);
            const content = try extent.of(slot);
            const start = extent.offset;
            const nodeid = node_id.of(part.reference);
            // The part that the reader already has is left out.
            const from_seen = @min(@max(part.seen_from, start), start + extent.len) - start;
            const to_seen = @min(@max(part.seen_to, start), start + extent.len) - start;
            const before, const after = if (from_seen < to_seen)
                .{ content[0..@intCast(from_seen)], content[@intCast(to_seen)..] }
            else
                .{ content, "" };
            if (before.len > 0 and !self.channel.store(nodeid, start, before)) return;
            if (after.len > 0 and !self.channel.store(nodeid, start + to_seen, after)) return;
        }
    }
};
