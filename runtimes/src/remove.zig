//! A directory with all that is in it, removed.
const std = @import("std");
const sys = @import("sys.zig");

const at_removedir = 0x200;

pub fn directory(dir: sys.fd_t, name: [*:0]const u8) sys.Error!void {
    return sys.do(.unlinkat, .{ dir, name, at_removedir });
}

pub fn tree(dir: sys.fd_t, name: [*:0]const u8) sys.Error!void {
    if (directory(dir, name)) |_| return else |err| switch (err) {
        error.NOENT => return,
        error.NOTDIR => return sys.do(.unlinkat, .{ dir, name, 0 }),
        error.NOTEMPTY, error.EXIST => {},
        else => return err,
    }
    const fd = sys.openat(dir, name, .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true }, 0) catch |err| blk: {
        if (err != error.ACCES) return err;
        try sys.do(.fchmodat, .{ dir, name, 0o700 });
        break :blk try sys.openat(dir, name, .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true }, 0);
    };
    defer sys.close(fd);
    // Removing what was listed does not disturb the listing, but one pass may not see all.
    while (try pass(fd)) {}
    return directory(dir, name);
}

fn pass(fd: sys.fd_t) sys.Error!bool {
    var list: List = .{ .fd = fd };
    try sys.do(.lseek, .{ fd, 0, 0 });
    var any = false;
    while (try list.next()) |name| {
        sys.do(.unlinkat, .{ fd, name, 0 }) catch |err| switch (err) {
            error.ISDIR => try tree(fd, name),
            // What unlink(2) says of a directory on some file systems.
            error.PERM => try tree(fd, name),
            else => return err,
        };
        any = true;
    }
    return any;
}

/// The names in an open directory, but for the two that every one has.
pub const List = struct {
    fd: sys.fd_t,
    buf: [4096]u8 align(8) = undefined,
    at: usize = 0,
    end: usize = 0,

    pub fn next(self: *List) sys.Error!?[*:0]const u8 {
        while (true) {
            if (self.at == self.end) {
                self.end = try sys.call(.getdents64, .{ self.fd, &self.buf, self.buf.len });
                self.at = 0;
                if (self.end == 0) return null;
            }
            // struct linux_dirent64 (getdents(2)).
            const entry = self.buf[self.at..];
            self.at += std.mem.readInt(u16, entry[16..18], .little);
            const name: [*:0]const u8 = @ptrCast(entry[19..].ptr);
            if (std.mem.eql(u8, std.mem.span(name), ".") or std.mem.eql(u8, std.mem.span(name), "..")) continue;
            return name;
        }
    }
};
