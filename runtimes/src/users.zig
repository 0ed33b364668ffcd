//! --user: who the app is, by name or number, as the image's passwd and group files know them.
//! Asked before anything is mounted, for the answer decides which id the caller is mapped to.
const std = @import("std");
const config = @import("config.zig");
const log = @import("log.zig");
const passwd = @import("passwd.zig");
const text = @import("text.zig");
const Reader = @import("squashfs/reader.zig").Reader;

const table_max = 1 << 20;
/// An image may keep its tables elsewhere; a chain of links longer than this leads nowhere.
const links_max = 8;

pub const Image = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    /// Of the root file system in the payload.
    root: []const u8,

    /// The user that `wanted` (NAME|UID[:GROUP|GID]) means, and its home directory.
    pub fn resolve(self: *const Image, wanted: []const u8) !struct { config.User, []const u8 } {
        const who, const group = std.mem.cutScalar(u8, wanted, ':') orelse .{ wanted, null };
        const id = std.fmt.parseInt(u32, who, 10) catch null;
        const key: passwd.Key = if (id) |uid| .{ .id = uid } else .{ .name = who };
        const users = self.table("/etc/passwd");
        const groups = self.table("/etc/group");
        const known = passwd.find(users, key);
        if (known == null and id == null) log.die("the image knows no user {s}", .{who});
        const gid = if (group) |name|
            std.fmt.parseInt(u32, name, 10) catch passwd.findGroup(groups, name) orelse log.die("the image knows no group {s}", .{name})
        else if (known) |user| user.gid else 0;
        return .{
            .{
                .uid = if (known) |user| user.uid else id.?,
                .gid = gid,
                // A group that was asked for is the only one, as docker has it.
                .additionalGids = if (known != null and group == null) try passwd.memberships(self.arena, groups, known.?.name) else &.{},
            },
            if (known) |user| user.home else "/",
        };
    }

    pub fn home(self: *const Image, uid: u32) []const u8 {
        return (passwd.find(self.table("/etc/passwd"), .{ .id = uid }) orelse return "/").home;
    }

    /// Empty where the image has none that can be read.
    fn table(self: *const Image, path: []const u8) []const u8 {
        return self.read(path) catch "";
    }

    fn read(self: *const Image, path: []const u8) ![]const u8 {
        const decoder = try self.reader.newDecoder();
        var at = path;
        for (0..links_max) |_| {
            const full = try text.alloc(self.arena, "{s}/{s}", .{ self.root, at });
            const file = try self.reader.find(decoder, full) orelse return error.NOENT;
            if (file.kind != .symlink) return self.reader.readFile(decoder, self.arena, &file, table_max);
            const buf = try self.arena.alloc(u8, std.posix.PATH_MAX);
            const target = try self.reader.readlink(decoder, &file, buf);
            at = try std.fs.path.resolvePosix(self.arena, &.{ "/", std.fs.path.dirname(at) orelse "/", target });
        }
        return error.LOOP;
    }
};
