//! The namespaces of a run, and which ids exist in them. An ordinary user gets a user namespace, in
//! which either one id is mapped (no helper needed) or a range of subordinate ids (by newuidmap and
//! newgidmap of package uidmap); real root needs none.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const text = @import("../base/text.zig");
const log = @import("../base/log.zig");
const CLONE = sys.CLONE;
const Environment = @import("../cli/environment.zig").Environment;
const id_map = @import("id_map.zig");
const MountNamespace = @import("mount_namespace.zig").MountNamespace;
pub const Pair = id_map.Pair;

pub const Ids = enum(u8) {
    /// No namespace at all: root of a container that may neither mount nor make namespaces.
    none,
    /// No user namespace: ids are the machine's own.
    host,
    /// Root of a user namespace that somebody else made (a rootless container, unshare -r).
    outer,
    /// The caller's id is that of the container's user, and no other id exists.
    single,
    /// The caller's id is that of the container's user, its subordinate ids are the others.
    range,
};

pub const Wanted = struct {
    uid: u32,
    gid: u32,
    /// Of a range, the ids that are the caller's.
    mapped: Pair,
    ipc: bool,
    uts: bool,
    network: bool,
    /// Whether the app can do without namespaces.
    optional: bool,
};

/// The caller's ids on the machine, and the state of a user namespace of our own.
pub const Caller = struct {
    uid: u32,
    gid: u32,
    /// Whether the image needs more than one user id.
    range: bool,
    entered: bool = false,
    mapper: ?id_map.Mapper = null,
    missing: []const u8 = "",
    /// A user namespace is of no use (AppArmor), or not wanted by tests.
    without: bool = false,

    /// An ordinary user always needs a user namespace. It is entered at once, for the helpers that
    /// map a `range` of ids in it take longer than all that can be done meanwhile. Root may need
    /// one, which `enter` finds out; and so it is where `app`, the ids that the caller gets in it,
    /// are not known yet.
    pub noinline fn begin(
        arena: std.mem.Allocator,
        environment: *const Environment,
        range: bool,
        app: ?Pair,
    ) Caller {
        var self: Caller = .{
            .uid = @intCast(sys.raw(.geteuid, .{})),
            .gid = @intCast(sys.raw(.getegid, .{})),
            .range = range,
        };
        if (self.uid == 0) return self;
        self.without = isForced(environment) or appArmorRefuses(arena);
        const ids = app orelse return self;
        // `enter` tries again, and reports the error.
        _ = self.enterUser(arena, environment, ids, null) catch null;
        return self;
    }

    /// With a mount namespace and `others` at once, all or none; without, where they are null.
    fn enterUser(
        self: *Caller,
        arena: std.mem.Allocator,
        environment: *const Environment,
        app: Pair,
        others: ?u32,
    ) sys.Error!?MountNamespace {
        if (self.without) return error.PERM;
        try MountNamespace.mayMount();
        const own: Pair = .{ .uid = self.uid, .gid = self.gid };
        self.mapper = if (self.range)
            id_map.Mapper.prepare(arena, environment, app, own, &self.missing)
        else
            null;
        errdefer if (self.mapper) |mapper| sys.close(mapper.start);
        const mounts: ?MountNamespace = if (others) |flags|
            try .unshare(CLONE.newuser | flags)
        else
            null;
        if (others == null) try sys.do(.unshare, .{CLONE.newuser});
        log.debug("user namespace entered", .{});
        if (self.mapper) |mapper| mapper.begin();
        self.entered = true;
        return mounts;
    }
};

/// Namespaces that exist; their ids may still be in the making.
pub const Entered = struct {
    ids: ?Ids = null,
    /// The ids of a user namespace that was joined.
    mapped: ?Ids = null,
    wanted: Wanted,
    caller: Caller,
    /// Null where we have no namespace at all.
    mounts: ?MountNamespace = null,
    /// Why there is no namespace, where paths are to be translated instead.
    refusal: ?sys.Error = null,

    /// Waits until the ids are mapped. Nothing can be created before.
    pub noinline fn settle(self: *const Entered, arena: std.mem.Allocator) Ids {
        if (self.ids orelse self.mapped) |ids| return ids;
        const caller = &self.caller;
        if (caller.mapper) |mapper| {
            if (mapper.finish()) {
                log.debug("range of ids mapped", .{});
                return .range;
            }
            log.note("newuidmap or newgidmap could not map your range of subordinate ids; " ++
                "every file of the image belongs to one id", .{});
        }
        // Most images run as well with one: nothing for a log file or a pipeline.
        if (caller.missing.len > 0 and sys.isTerminal(2)) log.note(
            "this image uses several user ids, and {s}; all of them are yours now (give " ++
                "yourself a range: sudo usermod --add-subuids 100000-165535 " ++
                "--add-subgids 100000-165535 $USER; DOCKERC_LOG=quiet hides notes)",
            .{caller.missing},
        );
        const wanted = &self.wanted;
        id_map.writeSingle(arena, wanted.uid, wanted.gid, caller.uid, caller.gid) catch |err|
            if (caller.uid == 0 and err == error.PERM) log.die("root without capabilities may " ++
                "not map its id (CAP_SETFCAP; docker: --cap-add SETFCAP): start this with them, " ++
                "or as an ordinary user", .{}) else log.die(
                "cannot map your id to {d}:{d} in a user namespace: {s}",
                .{ wanted.uid, wanted.gid, errno.text(err) },
            );
        return .single;
    }
};

/// Of a process that shares its mount with us. `user` is null if it has no user namespace.
pub const Shared = struct { user: ?sys.fd_t, ids: Ids };

/// The same as `enter`, in a user namespace that exists already: its owner, the caller, has all
/// capabilities in it (user_namespaces(7)). The mounts are copies of the caller's, as there.
pub fn join(caller: Caller, wanted: Wanted, shared: Shared) sys.Error!Entered {
    var entered: Entered = .{ .wanted = wanted, .caller = caller };
    if (shared.user) |user| {
        try sys.do(.setns, .{ user, CLONE.newuser });
        // A filter may answer with success and do nothing.
        const own = try sys.stat(sys.at_fdcwd, "/proc/self/ns/user");
        if (own.ino != (try sys.stat(user, "")).ino) return error.PERM;
        sys.close(user);
        entered.mapped = shared.ids;
    } else entered.ids = shared.ids;
    const mounts: MountNamespace = try .unshare(flagsOf(wanted));
    if (shared.user == null) try mounts.makePrivate();
    entered.mounts = mounts;
    return entered;
}

fn flagsOf(wanted: Wanted) u32 {
    return (if (wanted.ipc) CLONE.newipc else 0) |
        (if (wanted.uts) CLONE.newuts else 0) |
        (if (wanted.network) CLONE.newnet else 0);
}

pub noinline fn enter(
    arena: std.mem.Allocator,
    environment: *const Environment,
    caller: Caller,
    wanted: Wanted,
) Entered {
    const flags = flagsOf(wanted);
    var entered: Entered = .{ .wanted = wanted, .caller = caller };
    const outer = if (caller.uid == 0)
        id_map.Map.ofSelf(arena, "/proc/self/uid_map") catch null
    else
        null;
    // An outer namespace with one id cannot give the image's user another.
    const usable = if (outer) |map| map.isAll() or map.count() > 1 or wanted.uid == 0 else false;
    if (usable) {
        if (MountNamespace.unshare(flags)) |mounts| {
            mounts.makePrivate() catch |err|
                log.die("cannot make the mounts private: {s}", .{errno.text(err)});
            log.debug("root: no user namespace", .{});
            entered.mounts = mounts;
            entered.ids = if (outer.?.isAll())
                .host
            else if (outer.?.count() > 1) .outer else .single;
            return entered;
        } else |err| log.debug("root without a mount namespace: {s}", .{errno.text(err)});
    }

    entered.mounts = enterOwn(
        arena,
        environment,
        &entered.caller,
        wanted.mapped,
        flags,
    ) catch |err| blk: {
        // An emulator of programs cannot trace them either; and root's program would have all of
        // root's rights.
        const root = caller.uid == 0;
        if (!wanted.optional or err == error.INVAL or (root and !canChroot())) refused(err);
        log.debug("no namespaces: {s}", .{errno.text(err)});
        entered.ids = if (root) .none else .single;
        if (!root) entered.refusal = err;
        break :blk null;
    };
    return entered;
}

fn enterOwn(
    arena: std.mem.Allocator,
    environment: *const Environment,
    caller: *Caller,
    app: Pair,
    flags: u32,
) sys.Error!MountNamespace {
    if (caller.entered) return MountNamespace.unshare(flags);
    return (try caller.enterUser(arena, environment, app, flags)).?;
}

/// Tries chroot(2) to the root that we have, which changes nothing.
pub fn canChroot() bool {
    return if (sys.do(.chroot, .{"/"})) |_| true else |_| false;
}

/// A user namespace of the caller's id alone, with mounts of its own.
pub fn enterPlain(arena: std.mem.Allocator) !MountNamespace {
    const uid: u32 = @intCast(sys.raw(.geteuid, .{}));
    const gid: u32 = @intCast(sys.raw(.getegid, .{}));
    const mounts = try MountNamespace.unshare(CLONE.newuser);
    try id_map.writeSingle(arena, 0, 0, uid, gid);
    return mounts;
}

/// For tests, which cannot choose a machine without user namespaces.
fn isForced(environment: *const Environment) bool {
    const way = environment.get("DOCKERC_FORCE") orelse return false;
    return std.mem.startsWith(u8, way, "translate");
}

/// Tried by a child process: who is in such a namespace does not come back.
fn appArmorRefuses(arena: std.mem.Allocator) bool {
    if (!forbids(apparmor_setting, '1')) return false;
    const child = sys.fork() catch return false;
    if (child == 0) {
        const mounts = enterPlain(arena) catch sys.exit(1);
        mounts.makePrivate() catch sys.exit(1);
        sys.exit(0);
    }
    const end = sys.wait(child, 0) catch return false;
    return end.status != 0;
}

const apparmor_setting = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

/// Which setting forbids user namespaces, and the command that allows them.
pub fn refused(err: sys.Error) noreturn {
    var buf: [4096]u8 = undefined;
    log.die("{s}", .{whyRefused(&buf, err)});
}

pub fn whyRefused(buf: []u8, err: sys.Error) []const u8 {
    if (forbids("/proc/sys/user/max_user_namespaces", '0'))
        return "user namespaces are turned off (user.max_user_namespaces is 0): sudo sysctl " ++
            "-w user.max_user_namespaces=15000";
    if (forbids("/proc/sys/kernel/unprivileged_userns_clone", '0'))
        return "user namespaces are for root only (kernel.unprivileged_userns_clone is 0): " ++
            "sudo sysctl -w kernel.unprivileged_userns_clone=1";
    if (forbids(apparmor_setting, '1')) return ownProfileAdvice(buf);
    // unshare(2): a process of several threads, which qemu-user always is, may not enter one.
    if (err == error.INVAL) return "an emulated program cannot enter a user namespace: start " ++
        "the emulator in one (unshare -Urm qemu-... FILE), or as root";
    if (sys.raw(.geteuid, .{}) == 0) return text.print(buf, "the kernel refuses root a mount " ++
        "namespace and a user namespace ({s}): inside another container they have to be " ++
        "allowed there (CAP_SYS_ADMIN)", .{errno.text(err)});
    return text.print(buf, "the kernel refuses a user namespace ({s}): inside another " ++
        "container it has to be allowed there, or run this as root", .{errno.text(err)});
}

/// AppArmor may let a user namespace be made and then refuse everything in it (Ubuntu 24.04).
pub fn explainAppArmor() void {
    if (!forbids(apparmor_setting, '1')) return;
    var sentence: [4096]u8 = undefined;
    log.die("{s}", .{ownProfileAdvice(&sentence)});
}

fn ownProfileAdvice(sentence: []u8) []const u8 {
    var buf: [std.posix.PATH_MAX]u8 = undefined;
    const len = sys.call(.readlinkat, .{ sys.at_fdcwd, "/proc/self/exe", &buf, buf.len }) catch 0;
    return profileAdvice(sentence, buf[0..len]);
}

/// A profile that allows this file what every file had before, as distributions ship for browsers.
fn profileAdvice(buf: []u8, path: []const u8) []const u8 {
    const name = std.fs.path.basename(path);
    return text.print(buf, "AppArmor forbids user namespaces to programs without a profile: " ++
        "give this file one with: " ++
        "printf '%s\\n' 'abi <abi/4.0>,' 'profile \"dockerc-{s}\" \"{s}\" flags=(unconfined) " ++
        "{s} userns, {s}' | " ++
        "sudo tee '/etc/apparmor.d/dockerc-{s}' && sudo apparmor_parser -r " ++
        "'/etc/apparmor.d/dockerc-{s}' " ++
        "(or allow them to all: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)", .{
        name,
        path,
        "{",
        "}",
        name,
        name,
    });
}

fn forbids(path: [*:0]const u8, value: u8) bool {
    var buf: [16]u8 = undefined;
    const content = sys.readFile(sys.at_fdcwd, path, &buf) catch return false;
    return content.len >= 1 and content[0] == value and (content.len == 1 or content[1] == '\n');
}

test "the profile is for this file" {
    var buf: [4096]u8 = undefined;
    const advice = profileAdvice(&buf, "/opt/my app");
    try std.testing.expect(std.mem.find(u8, advice, "'profile \"dockerc-my app\" \"/opt/my " ++
        "app\" flags=(unconfined) { userns, }'") != null);
    try std.testing.expect(std.mem.findScalar(u8, advice, '\n') == null);
}
