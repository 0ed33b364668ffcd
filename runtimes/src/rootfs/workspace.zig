//! The private place of a run: a tmpfs that only our mount namespace has, so that it vanishes with
//! us whatever ends us. In it: lower (the payload), changes (what the run writes), root.
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const Identity = @import("../namespaces/mount_namespace.zig").Identity;
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const userns = @import("../namespaces/userns.zig");

/// Some directory that every machine has; it is covered in our namespace only.
const places = [_][:0]const u8{ "/tmp", "/run", "/var/tmp", "/mnt", "/var", "/usr" };

/// Mounts it and goes there.
pub fn make(namespace: MountNamespace) !void {
    var last: sys.Error = error.NOENT;
    for (places) |place| {
        const before = Identity.of(place) catch continue;
        const flags = sys.MS.nosuid | sys.MS.nodev;
        namespace.mount("dockerc", place, "tmpfs", flags, "mode=755") catch |err| {
            last = err;
            continue;
        };
        try sys.do(.chdir, .{place.ptr});
        // Nothing is made in a directory of the machine, whatever mount(2) said.
        if ((try Identity.of(".")).is(before)) return error.PERM;
        for ([_][:0]const u8{ "lower", "changes", "root" }) |dir| try sys.mkdir(dir, 0o755);
        log.debug("workspace over {s}", .{place});
        return;
    }
    userns.explainAppArmor();
    log.die("cannot mount a tmpfs: {s}", .{errno.text(last)});
}

/// Back to the machine as it was, with what was mounted in the workspace, which is our working
/// directory, gone.
pub fn leave(namespace: MountNamespace) !void {
    try namespace.unmountWorkingDirectory();
    try sys.do(.chdir, .{"/"});
}
