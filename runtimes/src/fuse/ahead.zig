//! Work ahead of the readers, by threads that no request waits for: what a reader has touched is
//! decoded to its end, what he will want next beforehand, and all of it is put into the kernel's
//! cache, so that every block is decoded once and most reads never become requests.
const std = @import("std");
const sys = @import("../sys.zig");
const squashfs = struct {
    const data = @import("../squashfs/data.zig");
    const inode = @import("../squashfs/inode.zig");
    const Reader = @import("../squashfs/reader.zig").Reader;
};
const Affinity = @import("../affinity.zig").Affinity;
const Channel = @import("channel.zig").Channel;
const Decoder = @import("../zstd.zig").Decoder;
const Operations = @import("operations.zig").Operations;
const read_max = @import("operations.zig").read_max;
const startup = @import("startup.zig");
const Reference = squashfs.inode.Reference;

/// Files up to this size are read whole when a part of them is.
const whole_max = 8 << 20;
/// How far ahead of a sequential reader.
const window_max = 8 << 20;

/// Blocks of a file, the first of which the reader has had from `seen_from` to `seen_to`.
const Job = struct {
    reference: Reference,
    first: u64,
    count: u64,
    seen_from: u64 = 0,
    seen_to: u64 = 0,
    /// Instead: the small files behind this one.
    walk: ?*Walk = null,
};

/// A reader that may be going through the small files of directories, in their order.
const Walk = struct {
    /// What he has, and what has been put into the cache behind it.
    last: Reference = std.math.maxInt(Reference),
    /// How many more files.
    window: u32 = 0,
    under_way: bool = false,

    /// Metadata blocks have 8 KiB, and are compressed.
    const near = 16 << 10;

    fn leadsTo(self: *const Walk, reference: Reference) bool {
        return reference >= self.last and (reference >> 16) - (self.last >> 16) <= near;
    }
};

/// Of files, at a time.
const walk_max = 64;

/// Who has missed so many fragment blocks goes through many small files, of which neighbours tend
/// to be wanted together; programs that start read only a few.
const misses_before_guesses = 8;

/// A reader that may be going through a file from its start to its end.
const Run = struct { reference: Reference = std.math.maxInt(u64), next: u64 = 0, window: u64 = 0 };

pub const Ahead = struct {
    reader: *squashfs.Reader,
    channel: Channel,
    /// Where these threads may run.
    anywhere: Affinity = .{},
    mutex: sys.Mutex = .{},
    /// For threads to wait on.
    changes: std.atomic.Value(u32) = .init(0),
    jobs: [64]Job = undefined,
    head: usize = 0,
    count: usize = 0,
    /// Fragment blocks that may be wanted; done when there is nothing surer to do.
    guesses: [8]u32 = undefined,
    guess_count: usize = 0,
    misses: usize = 0,
    runs: [16]Run = @splat(.{}),
    run_next: usize = 0,
    walks: [4]Walk = @splat(.{}),
    walk_next: usize = 0,
    /// Blocks that were asked for lately: a hash of file and block. Those that collide forget
    /// each other, which costs work, not correctness.
    asked: [2048]u32 = @splat(0),

    /// A request for this part of a file has been answered.
    pub fn touched(self: *Ahead, reference: Reference, file: *const squashfs.inode.Inode, from: u64, to: u64) void {
        const log = self.reader.superblock.block_log;
        if (from == 0 and to == file.size) return self.walked(reference);
        const block = (to - 1) >> log;
        const blocks = ((file.size - 1) >> log) + 1;
        self.mutex.lock();
        defer self.mutex.unlock();
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
        if (first < last) _ = self.push(.{ .reference = reference, .first = first, .count = last - first, .seen_from = from, .seen_to = to });
        if (file.size <= whole_max and from >> log > 0 and self.ask(reference, 0))
            _ = self.push(.{ .reference = reference, .first = 0, .count = from >> log });
    }

    /// A small file has been read that nobody had put into the cache.
    fn walked(self: *Ahead, reference: Reference) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        for (&self.walks) |*walk| {
            if (!walk.leadsTo(reference)) continue;
            if (walk.under_way) return;
            walk.last = reference;
            walk.window = @min(walk_max, @max(2, walk.window * 2));
            walk.under_way = self.push(.{ .reference = reference, .first = 0, .count = walk.window, .walk = walk });
            return;
        }
        const walk = &self.walks[self.walk_next];
        self.walk_next = (self.walk_next + 1) % self.walks.len;
        if (!walk.under_way) walk.* = .{ .last = reference };
    }

    /// A fragment block had to be decoded for a reader. Whether he goes through many of them.
    pub fn missed(self: *Ahead, fragment: u32) bool {
        self.mutex.lock();
        defer self.mutex.unlock();
        self.misses += 1;
        if (self.misses < misses_before_guesses) return false;
        self.guess_count = 0;
        // The last is the first to be done.
        for ([_]i64{ 2, -1, 1 }) |distance| {
            const index = fragment + distance;
            if (index < 0 or index >= self.reader.superblock.fragment_count) continue;
            self.guesses[self.guess_count] = @intCast(index);
            self.guess_count += 1;
        }
        self.announce();
        return true;
    }

    fn runOf(self: *Ahead, reference: Reference, block: u64) *Run {
        for (&self.runs) |*run| if (run.reference == reference) {
            if (block == run.next) {
                run.window = @min(@max(1, run.window * 2), window_max / self.reader.superblock.blockSize());
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
    fn ask(self: *Ahead, reference: Reference, block: u64) bool {
        const hash = (reference *% 0x9e37_79b9_7f4a_7c15 +% block) *% 0x9e37_79b9_7f4a_7c15;
        const mark: u32 = @truncate(hash >> 21 | 1);
        const slot = &self.asked[@intCast(hash >> (64 - 11))];
        if (slot.* == mark) return false;
        slot.* = mark;
        return true;
    }

    /// When there is too much to do already, this is not done.
    fn push(self: *Ahead, job: Job) bool {
        if (self.count == self.jobs.len) return false;
        self.jobs[(self.head + self.count) % self.jobs.len] = job;
        self.count += 1;
        self.announce();
        return true;
    }

    fn announce(self: *Ahead) void {
        _ = self.changes.fetchAdd(1, .release);
        sys.futexWake(&self.changes, 1);
    }

    pub fn loop(self: *Ahead, decoder: Decoder) void {
        self.anywhere.set();
        self.channel.standAlone(self.reader.image.fd);
        // Whoever loads the app works for the same reader, on the same processor.
        startup.wait();
        while (true) {
            const changes = self.changes.load(.acquire);
            if (!self.step(decoder)) sys.futexWait(&self.changes, changes);
        }
    }

    /// Does one thing; false when there is nothing to do. A corrupt block is for the reader who
    /// meets it to be told of.
    pub fn step(self: *Ahead, decoder: Decoder) bool {
        self.mutex.lock();
        if (self.count > 0) {
            const job = self.jobs[self.head];
            self.head = (self.head + 1) % self.jobs.len;
            self.count -= 1;
            self.mutex.unlock();
            if (job.walk) |walk| {
                const last = self.goOn(decoder, job) catch job.reference;
                self.mutex.lock();
                walk.last = last;
                walk.under_way = false;
                self.mutex.unlock();
            } else self.work(decoder, job) catch {};
            return true;
        }
        if (self.guess_count > 0) {
            self.guess_count -= 1;
            const index = self.guesses[self.guess_count];
            self.mutex.unlock();
            self.guess(decoder, index) catch {};
            return true;
        }
        self.mutex.unlock();
        return false;
    }

    fn guess(self: *Ahead, decoder: Decoder, index: u32) !void {
        const stored = try self.reader.fragment(decoder, index);
        self.reader.blocks.release(try self.reader.blocks.get(decoder, stored));
    }

    /// Puts the small files behind one into the cache, as far as the kernel knows them: it does
    /// when their directory has been listed. Returns the last one.
    fn goOn(self: *Ahead, decoder: Decoder, job: Job) !Reference {
        var reference = job.reference;
        var file = try squashfs.inode.read(self.reader, decoder, reference);
        var position: squashfs.data.Position = .{};
        for (0..@intCast(job.count)) |_| {
            const next = try squashfs.inode.behind(self.reader, decoder, &file) orelse break;
            file = try squashfs.inode.read(self.reader, decoder, next);
            if (file.kind == .directory) break;
            reference = next;
            if (file.kind != .file or file.size == 0 or file.size > read_max) continue;
            const extent = try squashfs.data.extent(self.reader, decoder, reference, &file, 0, &position);
            const stored = extent.stored orelse continue;
            if (extent.len < file.size) continue;
            // All of a fragment: the next files are in it, too.
            const slot = try self.reader.blocks.get(decoder, stored);
            defer self.reader.blocks.release(slot);
            if (slot.len < extent.start + extent.len) return error.Corrupt;
            if (!self.channel.store(reference + Operations.first_id, 0, slot.data()[extent.start..][0..extent.len])) break;
        }
        return reference;
    }

    fn work(self: *Ahead, decoder: Decoder, job: Job) !void {
        const file = try squashfs.inode.read(self.reader, decoder, job.reference);
        var position: squashfs.data.Position = .{};
        for (0..@intCast(job.count)) |i| {
            const block = job.first + i;
            if (i > 0) {
                self.mutex.lock();
                const fresh = self.ask(job.reference, block);
                self.mutex.unlock();
                if (!fresh) continue;
            }
            const extent = try squashfs.data.extent(self.reader, decoder, job.reference, &file, block, &position);
            if (extent.stored == null) continue;
            const slot = try self.reader.load(decoder, extent);
            // A fragment is shared with other files, a block of the file's own is in the kernel's
            // cache from now on.
            defer if (extent.fragment == null) self.reader.blocks.retire(slot) else self.reader.blocks.release(slot);
            const content = slot.data();
            const start = block << self.reader.superblock.block_log;
            // What the reader has is left out.
            const cut_from = @min(@max(job.seen_from, start), start + extent.len) - start;
            const cut_to = @min(@max(job.seen_to, start), start + extent.len) - start;
            const part = content[extent.start..][0..extent.len];
            const nodeid = job.reference + Operations.first_id;
            if (cut_from < cut_to) {
                if (cut_from > 0 and !self.channel.store(nodeid, start, part[0..@intCast(cut_from)])) return;
                if (cut_to < part.len and !self.channel.store(nodeid, start + cut_to, part[@intCast(cut_to)..])) return;
            } else if (!self.channel.store(nodeid, start, part)) return;
        }
    }
};
