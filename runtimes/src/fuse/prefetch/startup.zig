//! Decodes what the app will read first while its container is being set up: the program, its
//! interpreter and the libraries that they need.
const std = @import("std");
const thread = @import("../../base/thread.zig");
const squashfs = struct {
    const extents = @import("../../squashfs/extents.zig");
    const inode = @import("../../squashfs/inode.zig");
    const path = @import("../../squashfs/path.zig");
    const elf = @import("../../squashfs/elf.zig");
};
const CpuPolicy = @import("../../process/cpu_policy.zig").CpuPolicy;
const Reader = @import("../../squashfs/reader.zig").Reader;
const Decoder = @import("../../base/zstd.zig").Decoder;
const start_entries = @import("start_entries.zig");
pub const StartList = @import("start_list.zig").StartList;
const Recorder = @import("../recorder.zig").Recorder;

/// Bytes of each file, and of all: decoded blocks must stay in the cache until they are read.
const file_max = 4 << 20;
const all_max = 8 << 20;
const libraries_max = 24;

pub const Program = struct {
    /// The directory of the image that becomes the root.
    root: []const u8,
    /// The app's first word, and PATH.
    command: []const u8,
    search: []const u8,
    /// Which gets to know the file that is executed.
    recorder: ?*Recorder = null,
    /// Gets what the payload has for that file.
    start_list: *StartList,
};

/// Starts the thread that does it, and returns its id.
pub noinline fn begin(
    arena: std.mem.Allocator,
    reader: *Reader,
    cpus: *CpuPolicy,
    program: Program,
) !i32 {
    var decoder = try reader.newDecoder();
    decoder.yields_while = &cpus.setting_up;
    cpus.loadingBegins();
    errdefer cpus.loadingEnds();
    const made = try thread.spawn(arena, run, .{ reader, decoder, cpus, program });
    defer made.detach();
    return made.getHandle();
}

/// Errors are ignored: the reader of a corrupt block gets the error.
fn run(reader: *Reader, decoder: Decoder, cpus: *CpuPolicy, program: Program) void {
    load(reader, decoder, cpus, program) catch {};
    cpus.loadingEnds();
}

/// In the order in which the dynamic linker reads: the start of a program or library (what is
/// loaded where), its end (what it needs), and then some of the pages between.
fn load(reader: *Reader, decoder: Decoder, cpus: *CpuPolicy, program: Program) !void {
    const root = try squashfs.path.find(
        reader,
        decoder,
        reader.superblock.root_inode,
        program.root,
    ) orelse return;
    var self: Run = .{
        .reader = reader,
        .decoder = decoder,
        .root = root.inode.reference,
        .libraries = root.inode.reference,
    };
    const file = try self.locate(program) orelse return;
    if (program.recorder) |recorder| {
        recorder.program = file.reference;
    } else if (try start_entries.section(reader, decoder, file.number)) |entries| {
        try program.start_list.begin(entries);
        cpus.listFound();
        return program.start_list.decode(reader, decoder);
    }
    const elf = try squashfs.elf.Elf.open(reader, decoder, &file) orelse return;
    self.add(&file);
    var buf: [std.posix.PATH_MAX]u8 = undefined;
    if (try elf.interpreter(reader, decoder, &buf)) |path| {
        if (try self.find(self.root, path)) |interpreter| {
            try self.whole(&interpreter.inode);
            if (try self.find(self.root, "etc/ld.so.cache")) |cache| try self.whole(&cache.inode);
            self.libraries = interpreter.directory;
            try self.needs(&elf);
        }
    } else try self.part(&file, elf.end() -| 1, elf.end());
    for (self.files[0..self.file_count]) |*each| try self.whole(each);
}

const Run = struct {
    reader: *Reader,
    decoder: Decoder,
    root: u64,
    left: u64 = all_max,
    /// The program and its libraries.
    files: [1 + libraries_max]squashfs.inode.Inode = undefined,
    file_count: usize = 0,
    /// The directory of the libraries: the interpreter's.
    libraries: u64,

    fn locate(self: *Run, program: Program) !?squashfs.inode.Inode {
        const command = program.command;
        if (std.mem.findScalar(u8, command, '/') != null) {
            const file = try self.find(self.root, command) orelse return null;
            return file.inode;
        }
        var directories = std.mem.splitScalar(u8, program.search, ':');
        while (directories.next()) |name| {
            const directory = try self.find(self.root, name) orelse continue;
            if (try self.find(directory.inode.reference, command)) |file| return file.inode;
        }
        return null;
    }

    fn find(self: *Run, from: u64, path: []const u8) !?squashfs.path.Found {
        return squashfs.path.findFrom(self.reader, self.decoder, self.root, from, path);
    }

    fn needs(self: *Run, elf: *const squashfs.elf.Elf) anyerror!void {
        for (elf.dynamic[0..elf.dynamic_count]) |entry| {
            var buf: [256]u8 = undefined;
            const name = try elf.needed(self.reader, self.decoder, entry, &buf) orelse continue;
            const found = try self.find(self.libraries, name) orelse continue;
            const file = &found.inode;
            if (self.isSeen(file.reference)) continue;
            // This decodes its start and its end.
            const library = try squashfs.elf.Elf.open(self.reader, self.decoder, file) orelse
                continue;
            self.add(file);
            try self.needs(&library);
        }
    }

    /// True also when there is no room for another library.
    fn isSeen(self: *const Run, reference: u64) bool {
        for (self.files[0..self.file_count]) |*file| if (file.reference == reference) return true;
        return self.file_count == self.files.len;
    }

    fn add(self: *Run, file: *const squashfs.inode.Inode) void {
        self.files[self.file_count] = file.*;
        self.file_count += 1;
    }

    fn whole(self: *Run, file: *const squashfs.inode.Inode) !void {
        return self.part(file, 0, file_max);
    }

    fn part(self: *Run, file: *const squashfs.inode.Inode, from: u64, to: u64) !void {
        if (file.kind != .file) return;
        const reader = self.reader;
        var list: squashfs.extents.BlockList = .{};
        var extents: squashfs.extents.Extents =
            .init(reader, self.decoder, file, from, to, &list);
        while (self.left > 0) {
            const extent = try extents.next() orelse break;
            if (extent.stored == null) continue;
            reader.blocks.release(try extents.load(&extent));
            self.left -|= extent.len;
        }
    }
};
