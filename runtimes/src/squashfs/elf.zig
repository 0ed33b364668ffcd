//! What an ELF file names that is loaded with it: its interpreter and the libraries it needs
//! (elf(5)). Only used for prefetching; invalid entries are ignored.
const std = @import("std");
const bytes = @import("../base/bytes.zig");
const Decoder = @import("../base/zstd.zig").Decoder;
const Reader = @import("reader.zig").Reader;
const Inode = @import("inode.zig").Inode;
const read = @import("extents.zig").read;

const header_len = 64;
const program_header_len = 56;
const program_headers_max = 32;
const dynamic_max = 128;
const PT = struct {
    const load = 1;
    const dynamic = 2;
    const interp = 3;
};

pub const Elf = struct {
    file: Inode,
    headers: [program_headers_max * program_header_len]u8 = undefined,
    header_count: usize = 0,
    dynamic: [dynamic_max * 16]u8 = undefined,
    dynamic_len: usize = 0,
    names: u64 = 0,

    /// Null if it is not a 64-bit little-endian ELF file.
    pub fn open(reader: *Reader, decoder: Decoder, file: *const Inode) !?Elf {
        if (file.kind != .file) return null;
        var self: Elf = .{ .file = file.* };
        var head: [header_len]u8 = undefined;
        if (try read(reader, decoder, file, 0, &head) != head.len) return null;
        if (!std.mem.eql(u8, head[0..6], "\x7fELF\x02\x01")) return null;
        if (bytes.u16At(&head, 54) != program_header_len) return null;
        const count: usize = @min(bytes.u16At(&head, 56), program_headers_max);
        self.header_count = try read(
            reader,
            decoder,
            file,
            bytes.u64At(&head, 32),
            self.headers[0 .. count * program_header_len],
        ) / program_header_len;
        const dynamic = self.segment(PT.dynamic) orelse return self;
        self.dynamic_len = try read(reader, decoder, file, dynamic.offset, self.dynamic[0..@intCast(
            @min(dynamic.len, self.dynamic.len),
        )]);
        const strtab = 5;
        for (0..self.dynamic_len / 16) |i| {
            if (bytes.u64At(&self.dynamic, i * 16) == strtab)
                self.names = self.offsetOf(bytes.u64At(&self.dynamic, i * 16 + 8)) orelse 0;
        }
        return self;
    }

    pub fn interpreter(
        self: *const Elf,
        reader: *Reader,
        decoder: Decoder,
        buf: []u8,
    ) !?[]const u8 {
        const found = self.segment(PT.interp) orelse return null;
        return text(buf[0..try read(reader, decoder, &self.file, found.offset, buf)]);
    }

    /// The name of the library that the entry `index` of the dynamic section asks for.
    pub fn needed(
        self: *const Elf,
        reader: *Reader,
        decoder: Decoder,
        index: usize,
        buf: []u8,
    ) !?[]const u8 {
        const dt_needed = 1;
        if (self.names == 0 or bytes.u64At(&self.dynamic, index * 16) != dt_needed) return null;
        return text(buf[0..try read(
            reader,
            decoder,
            &self.file,
            self.names +| bytes.u64At(&self.dynamic, index * 16 + 8),
            buf,
        )]);
    }

    fn text(buf: []const u8) ?[]const u8 {
        return buf[0 .. std.mem.findScalar(u8, buf, 0) orelse return null];
    }

    fn header(self: *const Elf, index: usize) []const u8 {
        return self.headers[index * program_header_len ..][0..program_header_len];
    }

    fn segment(self: *const Elf, kind: u32) ?struct { offset: u64, len: u64 } {
        for (0..self.header_count) |i| {
            const h = self.header(i);
            if (bytes.u32At(h, 0) == kind)
                return .{ .offset = bytes.u64At(h, 8), .len = bytes.u64At(h, 32) };
        }
        return null;
    }

    /// The file offset of an address of the loaded image.
    fn offsetOf(self: *const Elf, address: u64) ?u64 {
        for (0..self.header_count) |i| {
            const h = self.header(i);
            if (bytes.u32At(h, 0) != PT.load) continue;
            const start = bytes.u64At(h, 16);
            if (address >= start and address - start < bytes.u64At(h, 32))
                return bytes.u64At(h, 8) +| (address - start);
        }
        return null;
    }
};
