//! A directory of the caller's for files of ours: BASE/NAME/SUB, where nobody else can write.
const std = @import("std");
const sys = @import("syscalls.zig");
const ownership = @import("ownership.zig");

pub const PrivateDir = struct {
    base: []const u8,
    /// Below it, each in the one before.
    names: []const [:0]const u8,
    /// What is made if it is missing.
    makes: enum { all, names, nothing } = .all,

    /// Never a directory that another user can write to.
    pub noinline fn open(self: PrivateDir, arena: std.mem.Allocator) !sys.fd_t {
        const base = self.base;
        if (base.len == 0 or base[0] != '/') return error.INVAL;
        var end: usize = if (self.makes == .all) 0 else base.len;
        while (end < base.len) {
            end = std.mem.findScalarPos(u8, base, end + 1, '/') orelse base.len;
            const part = try arena.dupeSentinel(u8, base[0..end], 0);
            sys.mkdir(part, 0o700) catch |err| if (err != error.EXIST) return err;
        }
        const flags: sys.O = .{ .DIRECTORY = true, .CLOEXEC = true };
        var fd = try sys.openat(sys.at_fdcwd, try arena.dupeSentinel(u8, base, 0), flags, 0);
        errdefer sys.close(fd);
        for (self.names) |name| {
            if (self.makes != .nothing)
                sys.do(.mkdirat, .{ fd, name.ptr, 0o700 }) catch |err| switch (err) {
                    error.EXIST => {},
                    else => return err,
                };
            const inside: sys.O = .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };
            const next = try sys.openat(fd, name, inside, 0);
            sys.close(fd);
            fd = next;
            if ((try ownership.check(fd)).mode & 0o022 != 0) return error.PERM;
        }
        const writable = 2;
        try sys.do(.faccessat, .{ fd, ".", writable });
        return fd;
    }
};
