//! Work ahead of the readers, by threads that no request waits for: what a reader has touched is
//! decoded to its end, what he will want next beforehand, and all of it is put into the kernel's
//! cache, so that every block is decoded once and most reads never become requests.
const std = @import("std");
const futex = @import("../../base/futex.zig");
const squashfs = struct {
    const data = @import("../../squashfs/data.zig");
    const directory = @import("../../squashfs/directory.zig");
    const inode = @import("../../squashfs/inode.zig");
    const Reader = @import("../../squashfs/reader.zig").Reader;
};
const Affinity = @import("../../process/cpu_policy.zig").Affinity;
const Channel = @import("../channel.zig").Channel;
const Decoder = @import("../../base/zstd.zig").Decoder;
const Quiesce = @import("../../process/quiesce.zig").Quiesce;
const node_id = @import("../node_id.zig");
const DirectoryPrefetch = @import("directory_prefetch.zig").DirectoryPrefetch;
const SmallFileStream = @import("small_file_stream.zig").SmallFileStream;
const SmallFileStreams = @import("small_file_stream.zig").SmallFileStreams;
const small_max = @import("small_file_stream.zig").small_max;
const startup = @import("startup.zig");
const Reference = squashfs.inode.Reference;

/// Files up to this size are read whole when a part of them is.
const whole_max = 8 << 20;
/// How far ahead of a sequential reader.
const window_max = 8 << 20;

/// Blocks of a file, the first of which the reader has had from `seen_from` to `seen_to`.
const Part = struct {
    reference: Reference,
    first: u64,
    count: u64,
    seen_from: u64 = 0,
    seen_to: u64 = 0,
};

const Job = union(enum) { part: Part, stream: *SmallFileStream, names: Reference };

/// Who has missed so many fragment blocks goes through many small files, of which neighbours tend
/// to be wanted together; programs that start read only a few.
const misses_before_hints = 8;

/// A reader that may be going through a file from its start to its end.
const Run = struct { reference: Reference = std.math.maxInt(u64), next: u64 = 0, window: u64 = 0 };

pub const Prefetcher = struct {
    reader: *squashfs.Reader,
    channel: Channel,
    directories: DirectoryPrefetch,
    /// Where these threads may run.
    caller_mask: Affinity = .{},
    startup_state: *startup.State,
    quiesce: *Quiesce,
    mutex: futex.Mutex = .{},
    /// For threads to wait on.
    changes: std.atomic.Value(u32) = .init(0),
    jobs: [64]Job = undefined,
    head: usize = 0,
    count: usize = 0,
    /// A fragment block that may be wanted; done when there is nothing surer to do.
    next_fragment_hint: ?u32 = null,
    misses: usize = 0,
    runs: [16]Run = @splat(.{}),
    run_next: usize = 0,
    streams: SmallFileStreams = .{},
    /// Blocks that were asked for lately: a hash of file and block. Those that collide forget
    /// each other, which costs work, not correctness.
    asked: [2048]u32 = @splat(0),

    /// A request for this part of a file has been answered.
    pub fn touched(
        self: *Prefetcher,
        reference: Reference,
        file: *const squashfs.inode.Inode,
        from: u64,
        to: u64,
    ) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (from == 0 and file.size <= small_max) if (self.streams.reached(reference)) |stream| {
            stream.under_way = self.push(.{ .stream = stream });
        };
        if (from == 0 and to == file.size) return;
        const log = self.reader.superblock.block_log;
        const block = (to - 1) >> log;
        const blocks = ((file.size - 1) >> log) + 1;
        // Else they would count as asked for.
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

    /// A name has been found in a directory.
    pub fn named(self: *Prefetcher, directory: Reference, entry: squashfs.directory.Entry) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        // Else it would count as listed.
        if (self.count == self.jobs.len) return;
        if (self.directories.found(directory, entry)) |start| _ = self.push(.{ .names = start });
    }

    /// A fragment block had to be decoded for a reader. Whether he goes through many of them.
    pub fn missed(self: *Prefetcher, fragment: u32) bool {
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

    /// Whether the block was not asked for before.
    fn ask(self: *Prefetcher, reference: Reference, block: u64) bool {
        const hash = (reference *% 0x9e37_79b9_7f4a_7c15 +% block) *% 0x9e37_79b9_7f4a_7c15;
        const mark: u32 = @truncate(hash >> 21 | 1);
        const slot = &self.asked[@intCast(hash >> (64 - 11))];
        if (slot.* == mark) return false;
        slot.* = mark;
        return true;
    }

    /// When there is too much to do already, this is not done.
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

    pub fn loop(self: *Prefetcher, decoder: Decoder) void {
        self.caller_mask.set();
        self.channel.isolateFdTable(.{ self.reader.image.fd, self.directories.root });
        // Whoever loads the app works for the same reader, on the same processor.
        self.startup_state.wait();
        while (true) {
            const changes = self.changes.load(.acquire);
            self.quiesce.enter();
            const busy = self.step(decoder);
            self.quiesce.leave();
            if (!busy) futex.wait(&self.changes, changes);
        }
    }

    /// Does one thing; false when there is nothing to do. A corrupt block is for the reader who
    /// meets it to be told of.
    pub fn step(self: *Prefetcher, decoder: Decoder) bool {
        self.mutex.lock();
        if (self.count > 0) {
            const job = self.jobs[self.head];
            self.head = (self.head + 1) % self.jobs.len;
            self.count -= 1;
            // The reader may have gone on since.
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
        const file = try squashfs.inode.read(self.reader, decoder, part.reference);
        var position: squashfs.data.Position = .{};
        for (0..@intCast(part.count)) |i| {
            const block = part.first + i;
            if (i > 0) {
                self.mutex.lock();
                const fresh = self.ask(part.reference, block);
                self.mutex.unlock();
                if (!fresh) continue;
            }
            const extent = try squashfs.data.extent(
                self.reader,
                decoder,
                part.reference,
                &file,
                block,
                &position,
            );
            if (extent.stored == null) continue;
            const slot = try self.reader.load(decoder, extent);
            // A fragment is shared with other files, a block of the file's own is in the kernel's
            // cache from now on.
            defer if (extent.fragment == null)
                self.reader.blocks.retire(slot)
            else
                self.reader.blocks.release(slot);
            const content = slot.data();
            const start = block << self.reader.superblock.block_log;
            // What the reader has is left out.
            const cut_from = @min(@max(part.seen_from, start), start + extent.len) - start;
            const cut_to = @min(@max(part.seen_to, start), start + extent.len) - start;
            const whole = content[extent.start..][0..extent.len];
            const nodeid = node_id.of(part.reference);
            if (cut_from < cut_to) {
                if (cut_from > 0 and
                    !self.channel.store(nodeid, start, whole[0..@intCast(cut_from)])) return;
                if (cut_to < whole.len and
                    !self.channel.store(nodeid, start + cut_to, whole[@intCast(cut_to)..])) return;
            } else if (!self.channel.store(nodeid, start, whole)) return;
        }
    }
};
