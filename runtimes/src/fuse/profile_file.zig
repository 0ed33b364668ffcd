//! The profile that --dockerc-record writes: the recorder's events as text, a line each
//! (docs/profiles.md). The file is written beside its name and renamed, so that nobody sees a part
//! of it.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const text = @import("../base/text.zig");
const recorder = @import("recorder.zig");
const Recorder = recorder.Recorder;

pub const ProfileFile = struct {
    /// As the caller named it.
    path: []const u8,
    name: [:0]const u8,
    /// Opened before our mounts hide it.
    directory: sys.fd_t,
    /// Standard error, which a run closes for itself when the app has started.
    messages: ?sys.fd_t,

    pub fn open(arena: std.mem.Allocator, path: []const u8) !ProfileFile {
        const slash = std.mem.findScalarLast(u8, path, '/');
        const name = path[if (slash) |at| at + 1 else 0..];
        if (name.len == 0 or std.mem.eql(u8, name, ".") or std.mem.eql(u8, name, ".."))
            log.die("--dockerc-record {s}: this is no name of a file", .{path});
        const directory = if (slash) |at| path[0 .. at + 1] else ".";
        const flags: sys.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
        const self: ProfileFile = .{
            .path = path,
            .name = try arena.dupeSentinel(u8, name, 0),
            .directory = sys.openat(
                sys.at_fdcwd,
                try arena.dupeSentinel(u8, directory, 0),
                flags,
                0,
            ) catch |err| log.die("--dockerc-record {s}: {s}", .{ path, errno.text(err) }),
            .messages = sys.dupAbove(2) catch null,
        };
        // A device must not be replaced, and what a link leads to is not ours.
        if (sys.lstat(self.directory, self.name)) |st| {
            if (st.mode & 0o170000 != 0o100000)
                log.die("--dockerc-record {s}: it is there, and no regular file", .{path});
        } else |err| if (err != error.NOENT) self.fail(err);
        const write_and_search = 3;
        sys.do(.faccessat, .{ self.directory, ".", write_and_search, 0 }) catch |err|
            self.fail(err);
        return self;
    }

    fn fail(self: *const ProfileFile, err: anyerror) noreturn {
        log.die("--dockerc-record {s}: {s}", .{ self.path, errno.text(err) });
    }

    /// `root` is the directory of the mount that becomes the root.
    pub fn write(
        self: *const ProfileFile,
        arena: std.mem.Allocator,
        record: *Recorder,
        root: []const u8,
    ) void {
        if (self.messages) |fd| sys.do(.dup3, .{ fd, 2, 0 }) catch {};
        if (record.program == null) return log.note(
            "--dockerc-record {s}: not written, for there is no such program",
            .{self.path},
        );
        self.replace(arena, record, root) catch |err|
            log.note("--dockerc-record {s}: {s}", .{ self.path, errno.text(err) });
    }

    fn replace(
        self: *const ProfileFile,
        arena: std.mem.Allocator,
        record: *Recorder,
        root: []const u8,
    ) !void {
        var random: [8]u8 = undefined;
        try sys.do(.getrandom, .{ &random, random.len, 0 });
        const number = std.mem.readInt(u64, &random, .little);
        const own = try text.alloc(arena, ".dockerc-{d}", .{number});
        const fd = try sys.openat(self.directory, own, .{
            .ACCMODE = .WRONLY,
            .CREAT = true,
            .EXCL = true,
            .CLOEXEC = true,
        }, 0o666);
        errdefer _ = sys.raw(.unlinkat, .{ self.directory, own.ptr, 0 });
        {
            defer sys.close(fd);
            var out: Lines = .{ .fd = fd, .record = record, .root = root };
            try out.all();
        }
        try sys.do(.renameat2, .{ self.directory, own.ptr, self.directory, self.name.ptr, 0 });
    }
};

const Lines = struct {
    fd: sys.fd_t,
    record: *Recorder,
    root: []const u8,
    buffer: [64 << 10]u8 = undefined,
    len: usize = 0,

    /// A path is at most four times as long as its bytes; ranges are at most 16 of a part.
    const line_max = 4 * std.posix.PATH_MAX + 1024;

    fn all(self: *Lines) !void {
        const record = self.record;
        record.mutex.lock();
        defer record.mutex.unlock();
        self.put("# dockerc profile 1\n");
        if (record.program) |program| if (record.nameOf(program)) |name|
            try self.line("start", name);
        for (record.events[0..record.event_count]) |*event| switch (event.kind) {
            .name => try self.line("name", event.name),
            .absent => try self.line("none", event.name),
            .list => try self.line("list", event.name),
            .read => {
                var ranges: [512]u8 = undefined;
                try self.line(rangesOf(event, &ranges), event.name);
            },
        };
        try sys.writeAll(self.fd, self.buffer[0..self.len]);
    }

    fn line(self: *Lines, what: []const u8, name: u32) !void {
        var buf: [std.posix.PATH_MAX]u8 = undefined;
        const whole = self.record.pathOf(name, &buf) orelse return;
        const path = std.mem.cutPrefix(u8, whole, self.root) orelse return;
        if (path.len > 0 and path[0] != '/') return;
        if (self.buffer.len - self.len < line_max) {
            try sys.writeAll(self.fd, self.buffer[0..self.len]);
            self.len = 0;
        }
        self.put(what);
        self.put(" ");
        if (path.len == 0) self.put("/");
        for (path) |byte| if (byte < ' ' or byte == '\\' or byte == 0x7f) {
            const digits = "0123456789abcdef";
            self.put(&.{ '\\', 'x', digits[byte >> 4], digits[byte & 15] });
        } else self.put(&.{byte});
        self.put("\n");
    }

    fn put(self: *Lines, words: []const u8) void {
        @memcpy(self.buffer[self.len..][0..words.len], words);
        self.len += words.len;
    }
};

/// OFFSET+LENGTH of each range of pages, with commas between.
fn rangesOf(event: *const recorder.Event, buf: *[512]u8) []const u8 {
    const first = @as(u64, event.part) * recorder.pages_per_part;
    var len: usize = 0;
    var at: u6 = 0;
    while (at < recorder.pages_per_part) {
        const rest = event.pages >> @intCast(at);
        if (rest == 0) break;
        at += @ctz(rest);
        const count: u6 = @intCast(@ctz(~@as(u64, event.pages >> @intCast(at))));
        len += text.print(buf[len..], "{s}{d}+{d}", .{
            if (len == 0) "read " else ",",
            (first + at) * recorder.page,
            @as(u64, count) * recorder.page,
        }).len;
        at += count;
    }
    return buf[0..len];
}

test "pages of a part" {
    var buf: [512]u8 = undefined;
    const event: recorder.Event = .{ .kind = .read, .name = 0, .part = 1, .pages = 0x8000_0005 };
    try std.testing.expectEqualStrings(
        "read 131072+4096,139264+4096,258048+4096",
        rangesOf(&event, &buf),
    );
    const whole: recorder.Event = .{ .kind = .read, .name = 0, .pages = 0xffff_ffff };
    try std.testing.expectEqualStrings("read 0+131072", rangesOf(&whole, &buf));
    const odd = 0x5555_5555;
    const many: recorder.Event = .{ .kind = .read, .name = 0, .part = 1 << 31, .pages = odd };
    try std.testing.expect(std.mem.endsWith(u8, rangesOf(&many, &buf), "+4096"));
}
