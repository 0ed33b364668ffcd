//! The workspace of a run: a tmpfs in our mount namespace only, so that it vanishes with us however
//! we end. In it: lower (the payload), changes (what the run writes), root.
const sys = @import("../base/syscalls.zig");
const errno = @import("../base/errno.zig");
const log = @import("../base/log.zig");
const Identity = @import("../namespaces/mount_namespace.zig").Identity;
const MountNamespace = @import("../namespaces/mount_namespace.zig").MountNamespace;
const userns = @import("../namespaces/userns.zig");

/// Directories of which every machine has one; it is covered in our namespace only.
const places = [_][:0]const u8{ "/tmp", "/run", "/var/tmp", "/mnt", "/var", "/usr" };

/// Mounts it and makes it the working directory.
pub noinline fn make(namespace: MountNamespace) !void {
    var last: sys.Error = error.NOENT;
    for (places) |place| {
        const before = Identity.of(place) catch continue;
        const flags = sys.MS.nosuid | sys.MS.nodev;
        namespace.mount("dockerc", place, "tmpfs", flags, "mode=755") catch |err| {
            last = err;
            continue;
        };
        try sys.do(.chdir, .{place.ptr});
        // Nothing is made in a directory of the machine, whatever mount(2) and chdir(2) said.
        const here = try Identity.of(".");
        if (here.is(before) or !here.is(try .of(place))) return error.PERM;
        for ([_][:0]const u8{ "lower", "changes", "root" }) |dir| try sys.mkdir(dir, 0o755);
        log.debug("workspace over {s}", .{place});
        return;
    }
    userns.explainAppArmor();
    log.die("cannot mount a tmpfs: {s}", .{errno.text(last)});
}

/// Unmounts the workspace, which is our working directory, with all that is mounted in it.
pub fn leave(namespace: MountNamespace) !void {
    try namespace.unmountWorkingDirectory();
    try sys.do(.chdir, .{"/"});
}
