//! What the app will read first, decoded while its container is still being set up: its program,
//! the program's interpreter and the libraries that both need.
const std = @import("std");
const squashfs = struct {
    const data = @import("../squashfs/data.zig");
    const path = @import("../squashfs/path.zig");
    const elf = @import("../squashfs/elf.zig");
};
const Affinity = @import("../affinity.zig").Affinity;
const Reader = @import("../squashfs/reader.zig").Reader;
const Decoder = @import("../zstd.zig").Decoder;

/// Of each file, and of all: what is decoded too early has to stay until it is wanted.
const file_max = 4 << 20;
const all_max = 8 << 20;
const libraries_max = 24;

pub const Program = struct {
    /// The directory of the image that becomes the root.
    root: []const u8,
    /// The app's first word, and PATH.
    command: []const u8,
    search: []const u8,
};

/// As long as it is under way, servers stay out of its way.
pub var running: std.atomic.Value(bool) = .init(false);

/// Starts a thread that does it. After that the process cannot enter a user namespace any more.
/// `elsewhere`: where it may run.
pub fn begin(reader: *Reader, program: Program, elsewhere: Affinity) !void {
    running.store(true, .monotonic);
    const thread = try std.Thread.spawn(.{ .stack_size = 256 * 1024 }, run, .{ reader, try reader.newDecoder(), program, elsewhere });
    thread.detach();
}

/// A corrupt block is for the reader who meets it to be told of.
fn run(reader: *Reader, decoder: Decoder, program: Program, elsewhere: Affinity) void {
    elsewhere.set();
    defer running.store(false, .monotonic);
    load(reader, decoder, program) catch {};
}

fn load(reader: *Reader, decoder: Decoder, program: Program) !void {
    const root = try squashfs.path.find(reader, decoder, reader.superblock.root_inode, program.root) orelse return;
    var self: Run = .{ .reader = reader, .decoder = decoder, .root = root.reference, .libraries = root.reference };
    const file = try self.locate(program) orelse return;
    const elf = try squashfs.elf.Elf.open(reader, decoder, file) orelse return;
    var buf: [std.posix.PATH_MAX]u8 = undefined;
    if (try elf.interpreter(reader, decoder, &buf)) |path| if (try self.find(self.root, path)) |interpreter| {
        try self.whole(interpreter);
        self.libraries = interpreter.directory;
        try self.needs(&elf);
    };
    try self.whole(file);
}

const Run = struct {
    reader: *Reader,
    decoder: Decoder,
    root: u64,
    left: u64 = all_max,
    seen: [libraries_max]u64 = undefined,
    seen_count: usize = 0,
    /// Where libraries are: with the interpreter.
    libraries: u64,

    fn locate(self: *Run, program: Program) !?squashfs.path.Found {
        const command = program.command;
        if (std.mem.findScalar(u8, command, '/') != null) return self.find(self.root, command);
        var directories = std.mem.splitScalar(u8, program.search, ':');
        while (directories.next()) |name| {
            const directory = try self.find(self.root, name) orelse continue;
            if (try self.find(directory.reference, command)) |file| return file;
        }
        return null;
    }

    fn find(self: *Run, from: u64, path: []const u8) !?squashfs.path.Found {
        return squashfs.path.findFrom(self.reader, self.decoder, self.root, from, path);
    }

    fn needs(self: *Run, elf: *const squashfs.elf.Elf) anyerror!void {
        for (0..elf.dynamic_len / 16) |i| {
            var buf: [256]u8 = undefined;
            const name = try elf.needed(self.reader, self.decoder, i, &buf) orelse continue;
            const file = try self.find(self.libraries, name) orelse continue;
            if (self.isSeen(file.reference)) continue;
            const library = try squashfs.elf.Elf.open(self.reader, self.decoder, file) orelse continue;
            try self.whole(file);
            try self.needs(&library);
        }
    }

    /// Each library once, and no more of them than fit.
    fn isSeen(self: *Run, reference: u64) bool {
        for (self.seen[0..self.seen_count]) |seen| if (seen == reference) return true;
        if (self.seen_count == self.seen.len) return true;
        self.seen[self.seen_count] = reference;
        self.seen_count += 1;
        return false;
    }

    fn whole(self: *Run, file: squashfs.path.Found) !void {
        if (file.inode.kind != .file) return;
        const reader = self.reader;
        var position: squashfs.data.Position = .{};
        const size = @min(file.inode.size, file_max);
        var at: u64 = 0;
        while (at < size and self.left > 0) : (at += reader.superblock.blockSize()) {
            const extent = try squashfs.data.extent(reader, self.decoder, file.reference, &file.inode, at >> reader.superblock.block_log, &position);
            const stored = extent.stored orelse continue;
            reader.blocks.release(try reader.blocks.get(self.decoder, stored));
            self.left -|= extent.len;
        }
    }
};
