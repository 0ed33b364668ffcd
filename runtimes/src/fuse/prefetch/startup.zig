//! What the app will read first, decoded while its container is still being set up: its program,
//! the program's interpreter and the libraries that both need.
const std = @import("std");
const futex = @import("../../base/futex.zig");
const thread = @import("../../base/thread.zig");
const squashfs = struct {
    const data = @import("../../squashfs/data.zig");
    const path = @import("../../squashfs/path.zig");
    const elf = @import("../../squashfs/elf.zig");
};
const Affinity = @import("../../process/cpu_policy.zig").Affinity;
const Reader = @import("../../squashfs/reader.zig").Reader;
const Decoder = @import("../../base/zstd.zig").Decoder;

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

/// What the server, the prefetcher and the loading thread know of each other.
pub const State = struct {
    /// While this is 1, the other threads keep off the processor.
    under_way: std.atomic.Value(u32) = .init(0),
    /// Until the app is executed. The container's mounts have to wait for kernel threads
    /// (synchronize_rcu_expedited), and those for the end of the decoding thread's time slice:
    /// milliseconds.
    setting_up: std.atomic.Value(bool) = .init(true),

    pub fn isUnderWay(self: *const State) bool {
        return self.under_way.load(.monotonic) != 0;
    }

    /// Until it is done.
    pub fn wait(self: *State) void {
        while (self.isUnderWay()) futex.wait(&self.under_way, 1);
    }
};

/// The thread that does it.
pub const Loading = struct {
    id: i32,
    state: *const State,

    pub fn begin(
        arena: std.mem.Allocator,
        reader: *Reader,
        state: *State,
        program: Program,
    ) !Loading {
        state.under_way.store(1, .monotonic);
        const made = try thread.spawn(
            arena,
            run,
            .{ reader, try reader.newDecoder(), state, program },
        );
        defer made.detach();
        return .{ .id = made.getHandle(), .state = state };
    }

    /// To where it may run from now on.
    pub fn move(self: Loading, processors: Affinity) void {
        if (self.state.isUnderWay()) processors.setOf(self.id);
    }
};

/// A corrupt block is for the reader who meets it to be told of.
fn run(reader: *Reader, decoder: Decoder, state: *State, program: Program) void {
    var own = decoder;
    own.yields_while = &state.setting_up;
    load(reader, own, program) catch {};
    state.under_way.store(0, .monotonic);
    futex.wake(&state.under_way, std.math.maxInt(i32));
}

/// The order is that in which they will be wanted: whoever opens a program or a library reads its
/// start (what is to be loaded where) and its end (what it needs), and not every page between them.
fn load(reader: *Reader, decoder: Decoder, program: Program) !void {
    const root = try squashfs.path.find(
        reader,
        decoder,
        reader.superblock.root_inode,
        program.root,
    ) orelse return;
    var self: Run = .{
        .reader = reader,
        .decoder = decoder,
        .root = root.reference,
        .libraries = root.reference,
    };
    const file = try self.locate(program) orelse return;
    const elf = try squashfs.elf.Elf.open(reader, decoder, file) orelse return;
    self.add(file);
    var buf: [std.posix.PATH_MAX]u8 = undefined;
    if (try elf.interpreter(reader, decoder, &buf)) |path| if (try self.find(
        self.root,
        path,
    )) |interpreter| {
        try self.whole(interpreter);
        if (try self.find(self.root, "etc/ld.so.cache")) |cache| try self.whole(cache);
        self.libraries = interpreter.directory;
        try self.needs(&elf);
    };
    for (self.files[0..self.file_count]) |each| try self.whole(each);
}

const Run = struct {
    reader: *Reader,
    decoder: Decoder,
    root: u64,
    left: u64 = all_max,
    /// The program and its libraries.
    files: [1 + libraries_max]squashfs.path.Found = undefined,
    file_count: usize = 0,
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
            // This decodes its start and its end.
            const library = try squashfs.elf.Elf.open(self.reader, self.decoder, file) orelse
                continue;
            self.add(file);
            try self.needs(&library);
        }
    }

    /// Each library once, and no more of them than fit.
    fn isSeen(self: *const Run, reference: u64) bool {
        for (self.files[0..self.file_count]) |file| if (file.reference == reference) return true;
        return self.file_count == self.files.len;
    }

    fn add(self: *Run, file: squashfs.path.Found) void {
        self.files[self.file_count] = file;
        self.file_count += 1;
    }

    fn whole(self: *Run, file: squashfs.path.Found) !void {
        if (file.inode.kind != .file) return;
        const reader = self.reader;
        var position: squashfs.data.Position = .{};
        const size = @min(file.inode.size, file_max);
        var at: u64 = 0;
        while (at < size and self.left > 0) : (at += reader.superblock.blockSize()) {
            const extent = try squashfs.data.extent(
                reader,
                self.decoder,
                file.reference,
                &file.inode,
                at >> reader.superblock.block_log,
                &position,
            );
            if (extent.stored == null) continue;
            reader.blocks.release(try reader.load(self.decoder, extent));
            self.left -|= extent.len;
        }
    }
};
