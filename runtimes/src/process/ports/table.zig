//! The published ports of a run, in memory that has a name: a program that enters the run finds
//! there what was chosen at its start.
const std = @import("std");
const sys = @import("../../base/syscalls.zig");
const Ip = @import("../../base/ip.zig").Ip;
const Protocol = @import("../../config/ports.zig").Protocol;
const ports_max = @import("../../config/ports.zig").ports_max;

pub const Entry = extern struct {
    protocol: Protocol,
    /// Whether the program's last socket there is for all addresses.
    for_all: bool = false,
    /// Whether `ip` counts.
    has_ip: bool,
    inside: u16,
    outside: u16,
    ip: Ip,

    pub fn address(self: *const Entry) ?Ip {
        return if (self.has_ip) self.ip else null;
    }
};

pub const Table = extern struct {
    count: u32,
    entries: [ports_max]Entry,

    /// What /proc/PID/fd calls the memory of the runtime with that process id.
    const name = "dockerc-ports";
    const link = "/memfd:" ++ name ++ " (deleted)";

    pub fn make() !*Table {
        const cloexec = 1;
        const fd: sys.fd_t = @intCast(try sys.call(.memfd_create, .{ name, cloexec }));
        try sys.do(.ftruncate, .{ fd, @sizeOf(Table) });
        return map(fd);
    }

    fn map(fd: sys.fd_t) !*Table {
        const read_write = 3;
        const shared = 1;
        const at = try sys.call(.mmap, .{ 0, @sizeOf(Table), read_write, shared, fd, 0 });
        return @ptrFromInt(at);
    }

    /// Of a runtime whose directory in /proc is `process`.
    pub fn find(process: sys.fd_t) !?*Table {
        const DirIterator = @import("../../base/dir_iter.zig").DirIterator;
        const flags: sys.O = .{ .DIRECTORY = true, .CLOEXEC = true };
        var files: DirIterator = .{ .fd = try sys.openat(process, "fd", flags, 0) };
        defer sys.close(files.fd);
        while (try files.next()) |file| {
            var target: [link.len + 1]u8 = undefined;
            const len = sys.call(.readlinkat, .{ files.fd, file, &target, target.len }) catch
                continue;
            if (!std.mem.eql(u8, target[0..len], link)) continue;
            const opened = try sys.openat(
                files.fd,
                file,
                .{ .ACCMODE = .RDWR, .CLOEXEC = true },
                0,
            );
            defer sys.close(opened);
            if (try sys.fileSize(opened) != @sizeOf(Table)) return null;
            return try map(opened);
        }
        return null;
    }

    pub fn add(self: *Table, entry: Entry) void {
        self.entries[self.count] = entry;
        self.count += 1;
    }

    pub fn all(self: *Table) []Entry {
        return self.entries[0..@min(self.count, ports_max)];
    }

    pub fn has(self: *Table, inside: u16) bool {
        for (self.all()) |*entry| if (entry.inside == inside) return true;
        return false;
    }

    pub fn entryOf(self: *Table, protocol: Protocol, inside: u16) ?*Entry {
        for (self.all()) |*entry|
            if (entry.protocol == protocol and entry.inside == inside) return entry;
        return null;
    }
};
