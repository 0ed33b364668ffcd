//! The private place of a run: a tmpfs that only our mount namespace has, so that it vanishes with
//! us whatever ends us. In it: lower (the payload), changes (what the run writes), root.
const std = @import("std");
const sys = @import("sys.zig");
const log = @import("log.zig");
const userns = @import("userns.zig");

/// Some directory that every machine has; it is covered in our namespace only.
const places = [_][:0]const u8{ "/tmp", "/run", "/var/tmp", "/mnt", "/var", "/usr" };

/// Mounts it and goes there.
pub fn make() !void {
    var last: sys.Error = error.NOENT;
    for (places) |place| {
        sys.mount("dockerc", place, "tmpfs", sys.MS.nosuid | sys.MS.nodev, "mode=755") catch |err| {
            last = err;
            continue;
        };
        try sys.do(.chdir, .{place.ptr});
        for ([_][:0]const u8{ "lower", "changes", "root" }) |dir| try sys.mkdir(dir, 0o755);
        log.debug("workspace over {s}", .{place});
        return;
    }
    userns.explainAppArmor();
    log.die("cannot mount a tmpfs: {s}", .{sys.text(last)});
}

/// Back to the machine as it was, with what was mounted in the workspace gone.
pub fn leave() !void {
    var buf: [std.posix.PATH_MAX:0]u8 = undefined;
    const len = try sys.call(.getcwd, .{ &buf, buf.len });
    std.debug.assert(buf[len - 1] == 0);
    try sys.do(.chdir, .{"/"});
    try sys.unmount(&buf);
}
