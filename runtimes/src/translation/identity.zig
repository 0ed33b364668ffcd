//! The ids that a translated process believes to have (credentials(7)): the image's user, who is
//! the caller. Changes of them succeed where they would for that user, and have no effect.
const std = @import("std");

pub const groups_max = 64;

pub const Identity = struct {
    /// Real, effective and saved.
    user: [3]u32,
    group: [3]u32,
    groups: [groups_max]u32 = undefined,
    group_count: usize = 0,
    /// prctl(2), PR_SET_KEEPCAPS: whether root keeps its rights when it becomes another user.
    keeps_rights: bool = false,
    kept: bool = false,

    pub const same = std.math.maxInt(u32);

    pub fn of(uid: u32, gid: u32, more: []const u32) Identity {
        var self: Identity = .{ .user = @splat(uid), .group = @splat(gid) };
        self.group_count = @min(more.len, groups_max);
        @memcpy(self.groups[0..self.group_count], more[0..self.group_count]);
        return self;
    }

    pub fn isRoot(self: *const Identity) bool {
        return self.user[1] == 0 or self.kept;
    }

    fn may(self: *const Identity, ids: *const [3]u32, id: u32) bool {
        return id == same or self.isRoot() or std.mem.findScalar(u32, ids, id) != null;
    }

    /// setresuid(2), setresgid(2): -1 leaves an id as it is.
    pub fn setAll(self: *Identity, which: Which, ids: [3]u32) bool {
        const own = self.get(which);
        for (ids) |id| if (!self.may(own, id)) return false;
        const root_before = std.mem.findScalar(u32, &self.user, 0) != null;
        for (ids, own) |id, *each| if (id != same) {
            each.* = id;
        };
        if (which == .user and root_before and std.mem.findScalar(u32, own, 0) == null)
            self.kept = self.keeps_rights;
        return true;
    }

    pub fn execute(self: *Identity) void {
        self.kept = false;
        self.keeps_rights = false;
    }

    /// setuid(2), setgid(2).
    pub fn set(self: *Identity, which: Which, id: u32) bool {
        return self.setAll(which, if (self.isRoot()) @splat(id) else .{ same, id, same });
    }

    /// setreuid(2), setregid(2).
    pub fn setTwo(self: *Identity, which: Which, real: u32, effective: u32) bool {
        const own = self.get(which).*;
        const saved = if (real != same or (effective != same and effective != own[0]))
            (if (effective != same) effective else own[1])
        else
            same;
        if (!self.setAll(which, .{ real, effective, same })) return false;
        if (saved != same) self.get(which)[2] = saved;
        return true;
    }

    pub const Which = enum { user, group };

    fn get(self: *Identity, which: Which) *[3]u32 {
        return if (which == .user) &self.user else &self.group;
    }
};

test "root may become another user, who may not come back" {
    var root: Identity = .of(0, 0, &.{});
    try std.testing.expect(root.setAll(.user, .{ Identity.same, 42, Identity.same }));
    try std.testing.expectEqual([3]u32{ 0, 42, 0 }, root.user);
    try std.testing.expect(!root.set(.user, 7));
    try std.testing.expect(root.setAll(.user, .{ Identity.same, 0, Identity.same }));
    try std.testing.expect(root.set(.user, 42));
    try std.testing.expect(!root.set(.user, 0));
    try std.testing.expect(!root.setTwo(.group, 5, 5));
    try std.testing.expectEqual([3]u32{ 42, 42, 42 }, root.user);
}
