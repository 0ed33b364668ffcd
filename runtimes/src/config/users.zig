//! --user: the app's ids, by name or number, from the image's passwd and group files. Read before
//! anything is mounted, for the caller is mapped to that id.
const std = @import("std");
const json = @import("json.zig");
const config = @import("spec.zig");
const extents = @import("../squashfs/extents.zig");
const log = @import("../base/log.zig");
const passwd = @import("passwd.zig");
const path = @import("../squashfs/path.zig");
const quantity = @import("../cli/quantity.zig");
const Reader = @import("../squashfs/reader.zig").Reader;

const table_max = 1 << 20;

pub const Found = struct { config.User, []const u8 };

fn parts(wanted: []const u8) struct { []const u8, ?[]const u8 } {
    return std.mem.cutScalar(u8, wanted, ':') orelse .{ wanted, null };
}

fn identify(
    arena: std.mem.Allocator,
    users: []const u8,
    groups: []const u8,
    wanted: []const u8,
) error{ User, Group, OutOfMemory }!Found {
    const who, const group = parts(wanted);
    const id = quantity.number(u32, who);
    const key: passwd.Key = if (id) |uid| .{ .id = uid } else .{ .name = who };
    const known = passwd.find(users, key);
    if (known == null and id == null) return error.User;
    const gid = if (group) |name|
        quantity.number(u32, name) orelse passwd.findGroup(groups, name) orelse return error.Group
    else if (known) |user| user.gid else 0;
    return .{
        .{
            .uid = if (known) |user| user.uid else id.?,
            .gid = gid,
            // A group that is given is the only one, as in docker.
            .additionalGids = if (known != null and group == null)
                try passwd.memberships(arena, groups, known.?.name)
            else
                &.{},
        },
        if (known) |user| user.home else "/",
    };
}

pub const Image = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    /// Of the root file system in the payload.
    root: []const u8,

    /// The user that `wanted` (NAME|UID[:GROUP|GID]) means, and its home directory.
    pub fn resolve(self: *const Image, wanted: []const u8) !Found {
        const users = self.table("/etc/passwd");
        const groups = self.table("/etc/group");
        return identify(self.arena, users, groups, wanted) catch |err| switch (err) {
            error.User => log.die("no user {s} in the image's /etc/passwd", .{parts(wanted)[0]}),
            error.Group => log.die("no group {s} in the image's /etc/group", .{parts(wanted)[1].?}),
            error.OutOfMemory => |e| return e,
        };
    }

    /// By name or number; null if there is none of that name.
    pub fn groupOf(self: *const Image, wanted: []const u8) ?u32 {
        return quantity.number(u32, wanted) orelse
            passwd.findGroup(self.table("/etc/group"), wanted);
    }

    pub fn home(self: *const Image, uid: u32) []const u8 {
        return (passwd.find(self.table("/etc/passwd"), .{ .id = uid }) orelse return "/").home;
    }

    /// Empty if the image has none that can be read.
    pub fn table(self: *const Image, file: []const u8) []const u8 {
        return self.read(file) catch |err| {
            if (err != error.TooLarge) return "";
            log.die("{s} of the image is larger than {d} bytes", .{ file, table_max });
        };
    }

    fn read(self: *const Image, file: []const u8) ![]const u8 {
        const decoder = try self.reader.newDecoder();
        const top = self.reader.superblock.root_inode;
        const root = try path.find(self.reader, decoder, top, self.root) orelse return error.NOENT;
        const found = try path.find(self.reader, decoder, root.inode.reference, file) orelse
            return error.NOENT;
        return extents.readAlloc(self.reader, decoder, self.arena, &found.inode, table_max);
    }
};

test "users, as the builder has them" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const vectors = try json.parse(arena, @import("build_options").users);
    const users = try vectors.get("passwd").?.text();
    const groups = try vectors.get("group").?.text();
    for (try vectors.list("cases")) |case| {
        const found = identify(arena, users, groups, try case.get("text").?.text());
        if (case.get("error") != null) {
            try std.testing.expect(std.meta.isError(found));
            continue;
        }
        const user, _ = try found;
        try std.testing.expectEqual(try case.get("uid").?.integer(u32), user.uid);
        try std.testing.expectEqual(try case.get("gid").?.integer(u32), user.gid);
        const expected = try case.get("groups").?.decode([]const u32, arena);
        try std.testing.expectEqualSlices(u32, expected, user.additionalGids);
    }
}
