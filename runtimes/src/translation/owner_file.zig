//! The owners that the program gave to files of a tree that is kept (--overlay), by inode. A record
//! is appended for each change; the last one of an inode counts.
const std = @import("std");
const remove = @import("../base/remove.zig");
const sys = @import("../base/syscalls.zig");

const unfinished = "owners.new";
/// A record is appended for each file that another user makes, and a run may be long.
const records_max = 64 << 20;
const owners_max = 4 << 20;
const none = std.math.maxInt(u32);

pub const Owner = struct { uid: u32, gid: u32 };

const Record = extern struct { inode: u64, uid: u32 = none, gid: u32 = none };

pub const OwnerFile = struct {
    pub const name = "owners";

    fd: sys.fd_t,

    /// Of the directory that was given. Fills `owners`, and writes them anew.
    pub fn open(
        memory: std.mem.Allocator,
        kept: sys.fd_t,
        owners: *std.AutoHashMapUnmanaged(u64, Owner),
    ) !OwnerFile {
        try read(memory, kept, owners);
        const flags: sys.O = .{
            .ACCMODE = .WRONLY,
            .CREAT = true,
            .EXCL = true,
            .APPEND = true,
            .NOFOLLOW = true,
            .CLOEXEC = true,
        };
        // Left by a run that was killed.
        try remove.tree(kept, unfinished);
        const self: OwnerFile = .{ .fd = try sys.openat(kept, unfinished, flags, 0o600) };
        errdefer sys.close(self.fd);
        var all = owners.iterator();
        while (all.next()) |each| try self.append(each.key_ptr.*, each.value_ptr.*);
        try sys.do(.renameat, .{ kept, unfinished, kept, name });
        return self;
    }

    /// Null: the image's user.
    pub fn append(self: OwnerFile, inode: u64, owner: ?Owner) !void {
        var record: Record = .{ .inode = inode };
        if (owner) |given| {
            record.uid = given.uid;
            record.gid = given.gid;
        }
        return sys.writeAll(self.fd, std.mem.asBytes(&record));
    }
};

fn read(
    memory: std.mem.Allocator,
    kept: sys.fd_t,
    owners: *std.AutoHashMapUnmanaged(u64, Owner),
) !void {
    const flags: sys.O = .{ .NOFOLLOW = true, .NONBLOCK = true, .CLOEXEC = true };
    const fd = sys.openat(kept, OwnerFile.name, flags, 0) catch |err|
        return if (err == error.NOENT) {} else err;
    defer sys.close(fd);
    var records: [4096]Record = undefined;
    for (0..records_max / records.len) |_| {
        const got = try sys.readAll(fd, std.mem.asBytes(&records));
        // A record that was not written whole is the last one, of a run that was killed.
        for (records[0 .. got.len / @sizeOf(Record)]) |record| {
            if (record.uid == none) {
                _ = owners.remove(record.inode);
            } else try owners.put(memory, record.inode, .{ .uid = record.uid, .gid = record.gid });
        }
        if (owners.size > owners_max) return error.FBIG;
        if (got.len < @sizeOf(@TypeOf(records))) return;
    }
    return error.FBIG;
}

test "owners are read as they were written" {
    const linux = std.os.linux;
    const memory = std.testing.allocator;
    var buf: [64:0]u8 = undefined;
    const text = @import("../base/text.zig");
    buf[text.print(&buf, "/tmp/owners-test-{d}", .{linux.getpid()}).len] = 0;
    try sys.mkdir(&buf, 0o700);
    defer remove.tree(sys.at_fdcwd, &buf) catch {};
    const dir = try sys.openat(sys.at_fdcwd, &buf, .{ .DIRECTORY = true, .CLOEXEC = true }, 0);
    defer sys.close(dir);
    for (0..3) |round| {
        var owners: std.AutoHashMapUnmanaged(u64, Owner) = .empty;
        defer owners.deinit(memory);
        const file: OwnerFile = try .open(memory, dir, &owners);
        defer sys.close(file.fd);
        try std.testing.expectEqual(@min(round, 1), owners.count());
        if (round > 0) try std.testing.expectEqual(Owner{ .uid = 7, .gid = 8 }, owners.get(2));
        try file.append(1, .{ .uid = 5, .gid = 6 });
        try file.append(2, .{ .uid = 7, .gid = 8 });
        try file.append(1, null);
        // As if the run had been killed while it wrote.
        try sys.writeAll(file.fd, "half");
    }
}
