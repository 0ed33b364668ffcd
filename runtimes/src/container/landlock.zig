//! Restrictions that namespaces do not give (landlock(7)).
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");

/// struct landlock_ruleset_attr, as of Linux 6.12.
const Attributes = extern struct { files: u64 = 0, network: u64 = 0, scoped: u64 = 0 };

const scope_abstract_unix_socket = 1;
const scope_signal = 2;

/// The machine's abstract Unix sockets (a desktop's, an engine's), which the app reaches with the
/// machine's network, and signals to others are kept to this run's own processes: Linux 6.12. For
/// the calling process and its children, for good; it needs no_new_privs or a capability that is
/// about to be dropped.
pub fn scope() void {
    restrict(.{ .scoped = scope_abstract_unix_socket | scope_signal }) catch |err|
        log.debug("no landlock scopes: {s}", .{errno.text(err)});
}

/// The sockets alone, for a process that enters a run: signals of its PID namespace must reach the
/// app, whose scope is another.
pub fn scopeSockets() void {
    restrict(.{ .scoped = scope_abstract_unix_socket }) catch |err|
        log.debug("no landlock scopes: {s}", .{errno.text(err)});
}

/// The same as `scope`, and all files but those below the root directory, which is a directory of
/// the machine that chroot(2) alone would keep: Linux 5.13.
pub fn confine() void {
    confineFiles() catch |err| log.debug("no landlock: {s}", .{errno.text(err)});
}

fn confineFiles() sys.Error!void {
    const ask_version = 1;
    const version = try sys.call(.landlock_create_ruleset, .{ 0, 0, ask_version });
    // Rights of the first version, then to link and rename elsewhere, and to truncate.
    const files: u64 = if (version >= 3) 0x7fff else if (version == 2) 0x3fff else 0x1fff;
    return restrict(.{
        .files = files,
        .scoped = if (version >= 6) scope_abstract_unix_socket | scope_signal else 0,
    });
}

fn restrict(attributes: Attributes) sys.Error!void {
    // An older kernel knows a shorter structure, and takes a longer one whose rest is 0.
    const rules: sys.fd_t = @intCast(try sys.call(
        .landlock_create_ruleset,
        .{ &attributes, @sizeOf(Attributes), 0 },
    ));
    defer sys.close(rules);
    if (attributes.files != 0) {
        const root = try sys.openat(
            sys.at_fdcwd,
            "/",
            .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true },
            0,
        );
        defer sys.close(root);
        const path_beneath = 1;
        // struct landlock_path_beneath_attr is packed.
        var rule: [12]u8 = undefined;
        std.mem.writeInt(u64, rule[0..8], attributes.files, .little);
        std.mem.writeInt(i32, rule[8..12], root, .little);
        try sys.do(.landlock_add_rule, .{ rules, path_beneath, &rule, 0 });
    }
    return sys.do(.landlock_restrict_self, .{ rules, 0 });
}
