//! --user: who the app is, by name or number, as the image's passwd and group files know them.
//! Asked before anything is mounted, for the answer decides which id the caller is mapped to.
const std = @import("std");
const config = @import("spec.zig");
const log = @import("../base/log.zig");
const passwd = @import("passwd.zig");
const path = @import("../squashfs/path.zig");
const quantity = @import("../cli/quantity.zig");
const Reader = @import("../squashfs/reader.zig").Reader;

const table_max = 1 << 20;

pub const Image = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    /// Of the root file system in the payload.
    root: []const u8,

    /// The user that `wanted` (NAME|UID[:GROUP|GID]) means, and its home directory.
    pub fn resolve(self: *const Image, wanted: []const u8) !struct { config.User, []const u8 } {
        const who, const group = std.mem.cutScalar(u8, wanted, ':') orelse .{ wanted, null };
        const id = quantity.number(u32, who);
        const key: passwd.Key = if (id) |uid| .{ .id = uid } else .{ .name = who };
        const users = self.table("/etc/passwd");
        const groups = self.table("/etc/group");
        const known = passwd.find(users, key);
        if (known == null and id == null) log.die("the image knows no user {s}", .{who});
        const gid = if (group) |name|
            quantity.number(u32, name) orelse passwd.findGroup(groups, name) orelse
                log.die("the image knows no group {s}", .{name})
        else if (known) |user| user.gid else 0;
        return .{
            .{
                .uid = if (known) |user| user.uid else id.?,
                .gid = gid,
                // A group that was asked for is the only one, as docker has it.
                .additionalGids = if (known != null and group == null)
                    try passwd.memberships(self.arena, groups, known.?.name)
                else
                    &.{},
            },
            if (known) |user| user.home else "/",
        };
    }

    pub fn home(self: *const Image, uid: u32) []const u8 {
        return (passwd.find(self.table("/etc/passwd"), .{ .id = uid }) orelse return "/").home;
    }

    /// Empty where the image has none that can be read.
    fn table(self: *const Image, file: []const u8) []const u8 {
        return self.read(file) catch |err| {
            if (err != error.TooLarge) return "";
            log.die("{s} of the image is larger than {d} bytes", .{ file, table_max });
        };
    }

    fn read(self: *const Image, file: []const u8) ![]const u8 {
        const decoder = try self.reader.newDecoder();
        const top = self.reader.superblock.root_inode;
        const root = try path.find(self.reader, decoder, top, self.root) orelse return error.NOENT;
        const found = try path.find(self.reader, decoder, root.reference, file) orelse
            return error.NOENT;
        return self.reader.readFile(decoder, self.arena, &found.inode, table_max);
    }
};
