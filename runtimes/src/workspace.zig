//! The private place of a run: a tmpfs that only our mount namespace has, so that it vanishes with
//! us whatever ends us. In it: lower (the payload), upper and work (what the run writes), root.
const std = @import("std");
const sys = @import("sys.zig");
const log = @import("log.zig");
const userns = @import("userns.zig");
const Ids = userns.Ids;
const Reader = @import("squashfs/reader.zig").Reader;

/// Some directory that every machine has; it is covered in our namespace only.
const places = [_][:0]const u8{ "/tmp", "/run", "/var/tmp", "/mnt", "/var", "/usr" };

/// Mounts it and goes there.
pub fn make(reader: *Reader, root_path: []const u8, ids: Ids) !void {
    var last: sys.Error = error.NOENT;
    for (places) |place| {
        sys.mount("dockerc", place, "tmpfs", sys.MS.nosuid | sys.MS.nodev, "mode=755") catch |err| {
            last = err;
            continue;
        };
        try sys.do(.chdir, .{place.ptr});
        for ([_][:0]const u8{ "lower", "upper", "work", "root" }) |dir| try sys.mkdir(dir, 0o755);
        try dress(reader, root_path, ids);
        log.debug("workspace over {s}", .{place});
        return;
    }
    userns.explainAppArmor();
    log.die("cannot mount a tmpfs: {s}", .{sys.text(last)});
}

/// An overlay's root has the attributes of its upper directory: give that those of the image's.
fn dress(reader: *Reader, root_path: []const u8, ids: Ids) !void {
    const root = try reader.find(try reader.newDecoder(), root_path) orelse
        log.die("the payload holds no {s}", .{root_path});
    if (ids != .single) try sys.do(.fchownat, .{ sys.at_fdcwd, "upper", root.uid, root.gid, 0 });
    try sys.do(.fchmodat, .{ sys.at_fdcwd, "upper", root.permissions });
    const time: std.os.linux.timespec = .{ .sec = root.mtime, .nsec = 0 };
    try sys.do(.utimensat, .{ sys.at_fdcwd, "upper", &[2]std.os.linux.timespec{ time, time }, 0 });
}
