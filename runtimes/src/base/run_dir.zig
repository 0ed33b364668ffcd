//! The directory of a single run: it is removed with the run, or by a later run after a crash. A
//! lock tells whether the run still lives.
const std = @import("std");
const sys = @import("syscalls.zig");
const log = @import("log.zig");
const errno = @import("errno.zig");
const DirIterator = @import("dir_iter.zig").DirIterator;
const ownership = @import("ownership.zig");
const remove = @import("remove.zig");
const text = @import("text.zig");

pub const RunDir = struct {
    /// The directory itself, locked.
    fd: sys.fd_t,
    /// Where it stands and its name, for what goes with the run.
    parent: sys.fd_t,
    name: [:0]const u8,

    /// A new, empty one, locked.
    pub fn make(arena: std.mem.Allocator, parent: sys.fd_t, prefix: []const u8) !RunDir {
        // A filter may say that it was made.
        for (0..tries_max) |_| {
            var random: [8]u8 = undefined;
            try sys.do(.getrandom, .{ &random, random.len, 0 });
            const name = try text.alloc(arena, "{s}{d}", .{
                prefix,
                std.mem.readInt(u64, &random, .little),
            });
            try sys.do(.mkdirat, .{ parent, name.ptr, 0o700 });
            // Until it is locked it looks abandoned: another run may have removed it.
            return open(parent, name, .shared) catch |err| {
                if (err == error.NOENT) continue;
                remove.directory(parent, name) catch {};
                return err;
            };
        }
        return error.NOENT;
    }

    const tries_max = 100;

    /// Of another run. NOENT if another process is removing it or, with an exclusive lock, uses it.
    pub fn open(parent: sys.fd_t, name: [:0]const u8, lock: sys.Lock) sys.Error!RunDir {
        const fd = try sys.openat(
            parent,
            name,
            .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true },
            0,
        );
        errdefer sys.close(fd);
        // In a shared directory another user may have made it, so that we remove our own files.
        const st = try ownership.check(fd);
        sys.tryLock(fd, lock) catch |err| return if (err == error.AGAIN) error.NOENT else err;
        if ((try sys.lstat(parent, name)).ino != st.ino) return error.NOENT;
        return .{ .fd = fd, .parent = parent, .name = name };
    }

    pub fn discard(self: RunDir) void {
        remove.tree(self.parent, self.name) catch |err|
            log.debug("{s} is left behind: {s}", .{ self.name, errno.text(err) });
    }
};

/// Removes directories whose runs have ended.
pub fn removeAbandoned(parent: sys.fd_t, prefix: []const u8) void {
    var list: DirIterator = .{
        .fd = sys.openat(parent, ".", .{ .DIRECTORY = true, .CLOEXEC = true }, 0) catch return,
    };
    defer sys.close(list.fd);
    while (list.next() catch return) |name| {
        // Only names that `make` gives: others with the prefix are not ours.
        const number = std.mem.cutPrefix(u8, std.mem.span(name), prefix) orelse continue;
        if (number.len == 0 or std.mem.findNone(u8, number, "0123456789") != null) continue;
        const dead = RunDir.open(parent, std.mem.span(name), .exclusive) catch continue;
        defer sys.close(dead.fd);
        log.debug("removing {s}", .{dead.name});
        dead.discard();
    }
}
