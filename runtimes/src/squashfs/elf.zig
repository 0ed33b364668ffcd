//! What an ELF file names that is loaded with it: its interpreter and the libraries it needs
//! (elf(5)). Only used for prefetching; invalid entries are ignored.
const std = @import("std");
const Decoder = @import("../base/zstd.zig").Decoder;
const Reader = @import("reader.zig").Reader;
const Inode = @import("inode.zig").Inode;
const read = @import("extents.zig").read;

const program_headers_max = 32;
const dynamic_max = 128;

const Header = extern struct {
    magic: [4]u8,
    class: u8,
    data: u8,
    ident: [10]u8,
    type: u16,
    machine: u16,
    version: u32,
    entry: u64,
    program_headers: u64,
    section_headers: u64,
    flags: u32,
    header_len: u16,
    program_header_len: u16,
    program_header_count: u16,
    section_header_len: u16,
    section_header_count: u16,
    names: u16,
};

const ProgramHeader = extern struct {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    file_len: u64,
    memory_len: u64,
    alignment: u64,
};

const PT = struct {
    const load = 1;
    const dynamic = 2;
    const interp = 3;
};

/// An entry of the dynamic section.
pub const Dynamic = extern struct {
    tag: u64,
    value: u64,

    const needed = 1;
    const strtab = 5;
};

comptime {
    std.debug.assert(@sizeOf(Header) == 64 and @sizeOf(ProgramHeader) == 56);
    // Such are the files that `open` accepts.
    std.debug.assert(@import("builtin").cpu.arch.endian() == .little);
}

pub const Elf = struct {
    file: Inode,
    headers: [program_headers_max]ProgramHeader = undefined,
    header_count: usize = 0,
    dynamic: [dynamic_max]Dynamic = undefined,
    dynamic_count: usize = 0,
    names: u64 = 0,

    /// Null if it is not a 64-bit little-endian ELF file.
    pub fn open(reader: *Reader, decoder: Decoder, file: *const Inode) !?Elf {
        if (file.kind != .file) return null;
        var self: Elf = .{ .file = file.* };
        var head: Header = undefined;
        const head_bytes = std.mem.asBytes(&head);
        if (try read(reader, decoder, file, 0, head_bytes) != head_bytes.len) return null;
        if (!std.mem.eql(u8, head_bytes[0..6], "\x7fELF\x02\x01")) return null;
        if (head.program_header_len != @sizeOf(ProgramHeader)) return null;
        const count: usize = @min(head.program_header_count, self.headers.len);
        const headers = std.mem.sliceAsBytes(self.headers[0..count]);
        self.header_count = try read(reader, decoder, file, head.program_headers, headers) /
            @sizeOf(ProgramHeader);
        const segment = self.find(PT.dynamic) orelse return self;
        const entries = std.mem.sliceAsBytes(&self.dynamic);
        const len: usize = @intCast(@min(segment.file_len, entries.len));
        self.dynamic_count = try read(reader, decoder, file, segment.offset, entries[0..len]) /
            @sizeOf(Dynamic);
        for (self.dynamic[0..self.dynamic_count]) |entry| {
            if (entry.tag == Dynamic.strtab) self.names = self.offsetOf(entry.value) orelse 0;
        }
        return self;
    }

    pub fn interpreter(
        self: *const Elf,
        reader: *Reader,
        decoder: Decoder,
        buf: []u8,
    ) !?[]const u8 {
        const found = self.find(PT.interp) orelse return null;
        return text(buf[0..try read(reader, decoder, &self.file, found.offset, buf)]);
    }

    /// Where what is loaded ends. The kernel clears the rest of that page (.bss) before a program
    /// without interpreter begins.
    pub fn end(self: *const Elf) u64 {
        var last: u64 = 0;
        for (self.headers[0..self.header_count]) |*header| {
            if (header.kind == PT.load) last = @max(last, header.offset +| header.file_len);
        }
        return last;
    }

    /// The name of the library that an entry of the dynamic section asks for.
    pub fn needed(
        self: *const Elf,
        reader: *Reader,
        decoder: Decoder,
        entry: Dynamic,
        buf: []u8,
    ) !?[]const u8 {
        if (self.names == 0 or entry.tag != Dynamic.needed) return null;
        const at = self.names +| entry.value;
        return text(buf[0..try read(reader, decoder, &self.file, at, buf)]);
    }

    fn text(buf: []const u8) ?[]const u8 {
        return buf[0 .. std.mem.findScalar(u8, buf, 0) orelse return null];
    }

    fn find(self: *const Elf, kind: u32) ?*const ProgramHeader {
        for (self.headers[0..self.header_count]) |*header| if (header.kind == kind) return header;
        return null;
    }

    /// The file offset of an address of the loaded image.
    fn offsetOf(self: *const Elf, address: u64) ?u64 {
        for (self.headers[0..self.header_count]) |*header| {
            if (header.kind != PT.load) continue;
            if (address >= header.address and address - header.address < header.file_len)
                return header.offset +| (address - header.address);
        }
        return null;
    }
};
