//! Stands in for a program that is executed where paths are translated: the kernel would look for
//! its interpreter on the machine. The tracer has written what to load into `loader_area` before
//! this runs. It maps the files as the kernel would (fs/binfmt_elf.c), and corrects what the new
//! process is told: arguments of scripts, and the auxiliary vector (getauxval(3)). It is linked to
//! run at any address, without relocations.
const std = @import("std");
const linux = std.os.linux;
const Area = @import("loader_plan.zig").Area;
const Head = @import("loader_plan.zig").Head;

pub const panic = std.debug.no_panic;

export var loader_area: Area align(4096) = undefined;

const AT = struct {
    const end = 0;
    const phdr = 3;
    const phnum = 5;
    const pagesz = 6;
    const base = 7;
    const entry = 9;
    const uid = 11;
    const euid = 12;
    const gid = 13;
    const egid = 14;
    const execfn = 31;
};

const prot_read = 1;
const prot_write = 2;
const prot_exec = 4;
const map_private = 2;
const map_fixed = 0x10;
const map_anonymous = 0x20;
const map_fixed_noreplace = 0x10_0000;

/// The tracer finds the area by the word that follows the first instruction.
pub export fn _start() callconv(.naked) noreturn {
    switch (@import("builtin").cpu.arch) {
        .x86_64 => asm volatile (
            \\ jmp 1f
            \\ .balign 8
            \\ .quad loader_area - _start
            \\ 1:
            \\ xor %%ebp, %%ebp
            \\ mov %%rsp, %%rdi
            \\ and $-16, %%rsp
            \\ call %[main:P]
            :
            : [main] "X" (&enter),
        ),
        .aarch64 => asm volatile (
            \\ b 1f
            \\ .balign 8
            \\ .quad loader_area - _start
            \\ 1:
            \\ mov x29, #0
            \\ mov x30, #0
            \\ mov x0, sp
            \\ b %[main]
            :
            : [main] "X" (&enter),
        ),
        else => @compileError("no entry for this architecture"),
    }
}

fn fail() noreturn {
    _ = linux.syscall1(.exit_group, 127);
    unreachable;
}

fn must(result: usize) usize {
    if (linux.errno(result) != .SUCCESS) fail();
    return result;
}

fn mmap(address: usize, len: usize, protection: usize, flags: usize, fd: usize, at: usize) usize {
    return must(linux.syscall6(.mmap, address, len, protection, flags, fd, at));
}

const nothing: usize = @bitCast(@as(isize, -1));

fn reserve(address: usize, len: usize, more: usize) usize {
    return mmap(address, len, 0, map_private | map_anonymous | more, nothing, 0);
}

fn open(path: [*]const u8, head: *const Head) usize {
    const here: usize = @bitCast(@as(isize, -100));
    const cloexec = 0o2000000;
    const password = &head.password;
    return must(linux.syscall6(
        .openat,
        here,
        @intFromPtr(path),
        cloexec,
        0,
        password[0],
        password[1],
    ));
}

fn after(text: [*]const u8) [*]const u8 {
    var end = text;
    while (end[0] != 0) end += 1;
    return end + 1;
}

fn enter(stack: [*]usize) callconv(.c) noreturn {
    var old: Vector = .of(stack);
    const page = old.auxiliary(AT.pagesz) orelse 4096;
    const head: *const Head = @ptrCast(@alignCast(&loader_area.plan));
    const set_name = 15;
    _ = linux.syscall5(.prctl, set_name, @intFromPtr(&head.comm), 0, 0, 0);
    const path: [*]const u8 = @ptrCast(&loader_area.plan[@sizeOf(Head)]);
    const interpreter = after(path);
    const name = after(interpreter);
    const program: Image = .load(path, head, page);
    var first = program.entry;
    var base: usize = 0;
    if (interpreter[0] != 0) {
        const loaded: Image = .load(interpreter, head, page);
        first = loaded.entry;
        base = loaded.bias;
    }
    old.set(AT.phdr, program.headers);
    old.set(AT.phnum, program.header_count);
    old.set(AT.entry, program.entry);
    old.set(AT.base, base);
    old.set(AT.execfn, @intFromPtr(name));
    old.set(AT.uid, head.user[0]);
    old.set(AT.euid, head.user[1]);
    old.set(AT.gid, head.group[0]);
    old.set(AT.egid, head.group[1]);
    old.start(head.words, name, first);
}

/// What the kernel puts on a new stack (System V ABI): the count of arguments, these, null, the
/// environment, null, and the auxiliary vector.
const Vector = struct {
    stack: [*]usize,
    argument_count: usize,
    /// Where the auxiliary vector begins, in words, and the end of all.
    auxiliaries: usize,
    end: usize,

    fn of(stack: [*]usize) Vector {
        const count = stack[0];
        var at = 1 + count + 1;
        while (stack[at] != 0) at += 1;
        at += 1;
        var end = at;
        while (stack[end] != AT.end) end += 2;
        return .{ .stack = stack, .argument_count = count, .auxiliaries = at, .end = end + 2 };
    }

    fn find(self: *const Vector, kind: usize) ?*usize {
        var at = self.auxiliaries;
        while (at < self.end) : (at += 2)
            if (self.stack[at] == kind) return &self.stack[at + 1];
        return null;
    }

    fn auxiliary(self: *const Vector, kind: usize) ?usize {
        return (self.find(kind) orelse return null).*;
    }

    fn set(self: *Vector, kind: usize, value: usize) void {
        if (self.find(kind)) |place| place.* = value;
    }

    /// With `words` strings, which follow the one at `name`, in place of the first argument.
    fn start(self: *const Vector, words: usize, name: [*]const u8, entry: usize) noreturn {
        if (words == 0) jump(@intFromPtr(self.stack), @intFromPtr(self.stack), 0, 0, entry);
        const dropped: usize = @min(1, self.argument_count);
        const count = self.end + words - dropped;
        const size = count * @sizeOf(usize);
        const flags = map_private | map_anonymous;
        const copy: [*]usize = @ptrFromInt(
            mmap(0, size, prot_read | prot_write, flags, nothing, 0),
        );
        copy[0] = self.argument_count + words - dropped;
        var text = name;
        for (0..words) |i| {
            text = after(text);
            copy[1 + i] = @intFromPtr(text);
        }
        var at = 1 + words;
        var from = 1 + dropped;
        while (from < self.end) : (from += 1) {
            copy[at] = self.stack[from];
            at += 1;
        }
        const top = @intFromPtr(self.stack + self.end);
        jump((top - size) & ~@as(usize, 15), @intFromPtr(copy), count, size, entry);
    }
};

/// Copies `count` words to the new stack, gives their memory back, and enters the program. It uses
/// no memory of its own, for the stack is being overwritten.
fn jump(stack: usize, from: usize, count: usize, size: usize, entry: usize) noreturn {
    switch (@import("builtin").cpu.arch) {
        .x86_64 => asm volatile (
            \\ mov %%rdi, %%rsp
            \\ mov %%rsi, %%r9
            \\ cld
            \\ rep movsq
            \\ mov %%r9, %%rdi
            \\ mov %%r10, %%rsi
            \\ test %%rsi, %%rsi
            \\ jz 1f
            \\ mov $11, %%eax
            \\ syscall
            \\ 1:
            \\ xor %%edx, %%edx
            \\ xor %%ebp, %%ebp
            \\ jmp *%%r8
            :
            : [stack] "{rdi}" (stack),
              [from] "{rsi}" (from),
              [count] "{rcx}" (count),
              [size] "{r10}" (size),
              [entry] "{r8}" (entry),
        ),
        .aarch64 => asm volatile (
            \\ mov sp, x0
            \\ mov x5, x1
            \\ 1: cbz x2, 2f
            \\ ldr x6, [x1], #8
            \\ str x6, [x0], #8
            \\ sub x2, x2, #1
            \\ b 1b
            \\ 2: cbz x3, 3f
            \\ mov x0, x5
            \\ mov x1, x3
            \\ mov x8, #215
            \\ svc #0
            \\ 3: mov x0, #0
            \\ mov x29, #0
            \\ mov x30, #0
            \\ br x4
            :
            : [stack] "{x0}" (stack),
              [from] "{x1}" (from),
              [count] "{x2}" (count),
              [size] "{x3}" (size),
              [entry] "{x4}" (entry),
        ),
        else => @compileError("no entry for this architecture"),
    }
    unreachable;
}

// elf(5)
const Header = extern struct {
    ident: [16]u8,
    kind: u16,
    machine: u16,
    version: u32,
    entry: usize,
    headers: usize,
    sections: usize,
    flags: u32,
    size: u16,
    header_size: u16,
    header_count: u16,
};
const Segment = extern struct {
    kind: u32,
    flags: u32,
    offset: usize,
    address: usize,
    physical: usize,
    file_size: usize,
    memory_size: usize,
    alignment: usize,

    const load = 1;

    fn protection(self: *const Segment) usize {
        var bits: usize = 0;
        if (self.flags & 4 != 0) bits |= prot_read;
        if (self.flags & 2 != 0) bits |= prot_write;
        if (self.flags & 1 != 0) bits |= prot_exec;
        return bits;
    }
};
const segments_max = 64;

const Image = struct {
    bias: usize,
    entry: usize,
    headers: usize,
    header_count: usize,

    fn load(path: [*]const u8, head: *const Head, page: usize) Image {
        const fd = open(path, head);
        const self: Image = .map(fd, page);
        _ = linux.syscall1(.close, fd);
        return self;
    }

    fn map(fd: usize, page: usize) Image {
        var header: Header = undefined;
        readAt(fd, std.mem.asBytes(&header), 0);
        var all: [segments_max]Segment = undefined;
        if (header.header_count > all.len) fail();
        const segments = all[0..header.header_count];
        readAt(fd, std.mem.sliceAsBytes(segments), header.headers);
        const bias = reserveAll(segments, header.kind, page);
        var self: Image = .{
            .bias = bias,
            .entry = bias +% header.entry,
            .headers = 0,
            .header_count = segments.len,
        };
        for (segments) |*segment| if (segment.kind == Segment.load) {
            mapSegment(fd, segment, bias, page);
            if (header.headers -% segment.offset < segment.file_size)
                self.headers = bias +% segment.address +% (header.headers - segment.offset);
        };
        return self;
    }

    /// Returns what is added to the addresses in the file.
    fn reserveAll(segments: []const Segment, kind: u16, page: usize) usize {
        var low: usize = std.math.maxInt(usize);
        var high: usize = 0;
        var alignment = page;
        for (segments) |*segment| if (segment.kind == Segment.load) {
            low = @min(low, segment.address & ~(page - 1));
            high = @max(high, (segment.address +% segment.memory_size +% page - 1) & ~(page - 1));
            alignment = @max(alignment, segment.alignment);
        };
        if (low >= high or alignment & (alignment - 1) != 0) fail();
        const len = high - low;
        const fixed = 2;
        if (kind == fixed) {
            if (reserve(low, len, map_fixed_noreplace) != low) fail();
            return 0;
        }
        const more = if (alignment > page) alignment else 0;
        const got = reserve(0, len + more, 0);
        const start = (got + (alignment - page)) & ~(alignment - 1);
        if (start > got) _ = linux.syscall2(.munmap, got, start - got);
        const end = start + len;
        if (got + len + more > end) _ = linux.syscall2(.munmap, end, got + len + more - end);
        return start -% low;
    }

    fn mapSegment(fd: usize, segment: *const Segment, bias: usize, page: usize) void {
        const inside = segment.address & (page - 1);
        const start = bias +% segment.address -% inside;
        const protection = segment.protection();
        const file_end = bias +% segment.address +% segment.file_size;
        const memory_end = bias +% segment.address +% segment.memory_size;
        if (segment.file_size > 0) _ = mmap(
            start,
            segment.file_size + inside,
            protection,
            map_private | map_fixed,
            fd,
            segment.offset - inside,
        );
        if (segment.memory_size <= segment.file_size) return;
        const page_end = if (segment.file_size > 0)
            (file_end + page - 1) & ~(page - 1)
        else
            start;
        if (page_end > file_end and protection & prot_write != 0) {
            const rest: [*]volatile u8 = @ptrFromInt(file_end);
            // To the page's end: the linker uses what is left of it.
            for (0..page_end - file_end) |i| rest[i] = 0;
        }
        if (memory_end <= page_end) return;
        const flags = map_private | map_anonymous | map_fixed;
        const len = ((memory_end + page - 1) & ~(page - 1)) - page_end;
        _ = mmap(page_end, len, protection, flags, nothing, 0);
    }
};

fn readAt(fd: usize, buf: []u8, at: usize) void {
    const got = linux.syscall4(.pread64, fd, @intFromPtr(buf.ptr), buf.len, at);
    if (got != buf.len) fail();
}
