//! Listing a directory (getdents64(2)).
const std = @import("std");
const sys = @import("syscalls.zig");

/// The names in an open directory, but for the two that every one has.
pub const DirIterator = struct {
    fd: sys.fd_t,
    buf: [4096]u8 align(8) = undefined,
    at: usize = 0,
    end: usize = 0,

    pub fn next(self: *DirIterator) sys.Error!?[*:0]const u8 {
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
            if (std.mem.eql(u8, std.mem.span(name), ".") or
                std.mem.eql(u8, std.mem.span(name), "..")) continue;
            return name;
        }
    }
};
