//! What execve(2) of the translated program is to start. The kernel would look for the program's
//! interpreter on the machine, so it executes a small program of ours (launcher/loader.zig), which
//! maps both files and gets what it needs from here.
const std = @import("std");
const builtin = @import("builtin");
const sys = @import("../base/syscalls.zig");
const calls = @import("call.zig");
const exec_plan = @import("exec_plan.zig");
const loader_plan = @import("../launcher/loader_plan.zig");
const thread_memory = @import("../process/memory.zig");
const text = @import("../base/text.zig");
const places = @import("place.zig");
const Call = calls.Call;
const Guest = @import("guest.zig").Guest;
const Outcome = calls.Outcome;
const Process = @import("threads.zig").Process;
const Tree = @import("tree.zig").Tree;
const Place = places.Place;
const Plan = exec_plan.Plan;
const scripts_max = exec_plan.scripts_max;
const words_max = exec_plan.words_max;

// elf(5)
const Header = extern struct {
    ident: [16]u8,
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    headers: u64,
    sections: u64,
    flags: u32,
    size: u16,
    header_size: u16,
    header_count: u16,
};
const Segment = extern struct {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    file_size: u64,
    memory_size: u64,
    alignment: u64,
};
const machine: u16 = switch (builtin.cpu.arch) {
    .x86_64 => 62,
    else => 183,
};
const segments_max = 64;

const Maker = struct {
    call: *Call,
    words: [words_max][]const u8 = undefined,
    word_count: usize = 0,
    exe: []const u8 = "",
    interpreter: ?sys.fd_t = null,

    /// Opens the file, or that of its interpreter if it is a script, and so on.
    fn open(self: *Maker, first: Place, first_name: []const u8) !sys.fd_t {
        var place = first;
        var name = first_name;
        for (0..scripts_max) |_| {
            const fd = try openProgram(&place);
            errdefer sys.close(fd);
            self.exe = place.path;
            const head = try self.call.arena().alloc(u8, 256);
            const len = try sys.preadAll(fd, head, 0);
            if (!std.mem.startsWith(u8, head[0..len], "#!")) {
                try self.openInterpreter(fd);
                return fd;
            }
            name = try self.addScript(head[2..len], name);
            place = try self.call.placeOf(sys.at_fdcwd, name, true);
            sys.close(fd);
        }
        return error.LOOP;
    }

    /// The first line of a script; returns its interpreter's path.
    fn addScript(self: *Maker, head: []const u8, script: []const u8) ![]const u8 {
        const end = std.mem.findScalar(u8, head, '\n') orelse head.len;
        const line = std.mem.trim(u8, head[0..end], " \t");
        const at = std.mem.findAny(u8, line, " \t\x00") orelse line.len;
        if (at == 0) return error.NOEXEC;
        const more = std.mem.trim(u8, line[at..], " \t\x00");
        var front: [3][]const u8 = .{ line[0..at], more, script };
        const new: []const []const u8 = if (more.len > 0) &front else blk: {
            front[1] = script;
            break :blk front[0..2];
        };
        // The interpreter that is a script is one of the arguments now.
        const kept = self.words[@min(1, self.word_count)..self.word_count];
        if (new.len + kept.len > words_max) return error.LOOP;
        std.mem.copyBackwards([]const u8, self.words[new.len..][0..kept.len], kept);
        @memcpy(self.words[0..new.len], new);
        self.word_count = new.len + kept.len;
        return line[0..at];
    }

    fn openInterpreter(self: *Maker, fd: sys.fd_t) !void {
        var header: Header = undefined;
        const bytes = std.mem.asBytes(&header);
        if (try sys.preadAll(fd, bytes, 0) < bytes.len) return error.NOEXEC;
        if (!std.mem.eql(u8, header.ident[0..6], "\x7fELF\x02\x01") or
            header.machine != machine or header.header_size != @sizeOf(Segment) or
            header.header_count > segments_max) return error.NOEXEC;
        for (0..header.header_count) |i| {
            var segment: Segment = undefined;
            const at = header.headers +% i * @sizeOf(Segment);
            if (try sys.preadAll(fd, std.mem.asBytes(&segment), at) < @sizeOf(Segment))
                return error.NOEXEC;
            const interpreter = 3;
            if (segment.kind != interpreter) continue;
            if (segment.file_size < 2 or segment.file_size > std.posix.PATH_MAX)
                return error.NOEXEC;
            const path = try self.call.arena().alloc(u8, segment.file_size);
            if (try sys.preadAll(fd, path, segment.offset) < path.len) return error.NOEXEC;
            const end = std.mem.findScalar(u8, path, 0) orelse return error.NOEXEC;
            const place = try self.call.placeOf(sys.at_fdcwd, path[0..end], true);
            self.interpreter = try openProgram(&place);
            return;
        }
    }

    fn finish(self: *Maker, fd: sys.fd_t, name: []const u8) !*Plan {
        const memory = self.call.guest.threads.memory;
        const plan = try memory.create(Plan);
        plan.* = .{
            .exe = try memory.dupe(u8, self.exe),
            .name = try memory.dupe(u8, name),
            .word_count = self.word_count,
        };
        for (plan.words[0..plan.word_count], self.words[0..self.word_count]) |*copy, word|
            copy.* = try memory.dupe(u8, word);
        for ([2]?sys.fd_t{ fd, self.interpreter }, &plan.paths, &plan.files) |given, *path, *file| {
            const opened = given orelse continue;
            const found = try Tree.pathOf(memory, opened);
            if (found[0] == '/' and !std.mem.endsWith(u8, found, " (deleted)")) {
                sys.close(opened);
                path.* = found;
                continue;
            }
            memory.free(found);
            const own: i32 = @intCast(sys.raw(.getpid, .{}));
            var buf: [64]u8 = undefined;
            path.* = try memory.dupe(u8, text.print(&buf, "/proc/{d}/fd/{d}", .{ own, opened }));
            file.* = opened;
        }
        return plan;
    }
};

fn openProgram(place: *const Place) !sys.fd_t {
    if (!place.exists()) return error.NOENT;
    if (place.is(places.directory)) return error.ACCES;
    if (!place.magic) {
        if (!place.is(places.regular)) return error.ACCES;
        const executable = 1;
        try sys.do(.faccessat, .{ place.dir, place.name, executable });
    }
    const flags: sys.O = .{ .NOFOLLOW = !place.magic, .NONBLOCK = true, .CLOEXEC = true };
    return sys.openat(place.dir, place.name, flags, 0);
}

pub fn execve(call: *Call) anyerror!Outcome {
    const given = try call.string(0);
    const place = try call.placeOf(sys.at_fdcwd, given, true);
    return start(call, place, given, .{ call.arguments[1], call.arguments[2] });
}

pub fn execveat(call: *Call) anyerror!Outcome {
    const flags = call.number(4);
    const given = try call.string(1);
    const rest = [2]u64{ call.arguments[2], call.arguments[3] };
    if (given.len == 0 and flags & calls.at_empty_path != 0) {
        const fd = call.descriptor(0);
        const place = try call.opened(fd);
        const name = if (place.magic) try call.machinePath(fd) else place.path;
        return start(call, place, name, rest);
    }
    const place = try call.place(0, 1, flags & calls.at_symlink_nofollow == 0);
    if (place.is(places.link)) return error.LOOP;
    return start(call, place, given, rest);
}

fn start(call: *Call, place: Place, name: []const u8, rest: [2]u64) !Outcome {
    const process = call.thread.process;
    const memory = call.guest.threads.memory;
    if (process.plan) |old| old.discard(memory);
    process.plan = null;
    var maker: Maker = .{ .call = call };
    const fd = try maker.open(place, name);
    process.plan = try maker.finish(fd, name);
    return .{ .change = .{
        .number = @backingInt(sys.SYS.execve),
        .arguments = .{ 0, rest[0], rest[1], 0, 0, 0 },
        .file = call.guest.loader,
        .at = 0,
        .owned = false,
    } };
}

/// To the process that is about to run the loader, at its area.
pub fn tell(guest: *Guest, process: *Process, plan: *const Plan) !void {
    const identity = &process.identity;
    var head: loader_plan.Head = .{
        .len = @sizeOf(loader_plan.Head),
        .words = @intCast(plan.word_count),
        .user = identity.user[0..2].*,
        .group = identity.group[0..2].*,
        .comm = @splat(0),
        .password = guest.password,
    };
    const base = std.fs.path.basename(plan.name);
    const len = @min(base.len, head.comm.len - 1);
    @memcpy(head.comm[0..len], base[0..len]);
    var content: std.ArrayList(u8) = .empty;
    const arena = guest.resolver.arena();
    try content.appendSlice(arena, std.mem.asBytes(&head));
    for (plan.paths) |path| try appendWord(&content, arena, path);
    try appendWord(&content, arena, plan.name);
    for (plan.words[0..plan.word_count]) |word| try appendWord(&content, arena, word);
    if (content.items.len > loader_plan.plan_size) return error.TOOBIG;
    const at = process.scratch + loader_plan.scratch_size;
    return thread_memory.write(process.pid, at, content.items);
}

fn appendWord(content: *std.ArrayList(u8), arena: std.mem.Allocator, word: []const u8) !void {
    try content.appendSlice(arena, word);
    try content.append(arena, 0);
}

pub const set_dumpable = 4;
pub const keep_rights = 8;

pub fn prctl(call: *Call) anyerror!Outcome {
    if (call.number(0) == keep_rights) {
        call.thread.process.identity.keeps_rights = call.number(1) != 0;
        return .native;
    }
    // The tracer could not read its memory any more.
    return if (call.number(1) > 1) error.INVAL else .done;
}
