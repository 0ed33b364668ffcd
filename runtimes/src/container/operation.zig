//! One step of the container's set-up, as data: plan.zig makes the list of them, perform.zig does
//! them, and DOCKERC_LOG=debug shows them.
const std = @import("std");
const mount_options = @import("../config/mount_options.zig");
const text = @import("../base/text.zig");
const Sysctl = @import("../config/sysctls.zig").Sysctl;
const Source = @import("../config/source.zig").Source;

pub const Operation = struct {
    what: What,
    /// The container is of use without it: if it fails, the start goes on.
    optional: bool = false,

    pub const What = union(enum) {
        mount: Mount,
        bind: Bind,
        /// A device or a directory of devices of the machine, bound at its own path, if nothing is
        /// there.
        show: []const u8,
        copy: Copy,
        directory: Directory,
        device: Device,
        link: Link,
        write: Write,
        /// Hides what is there.
        mask: []const u8,
        read_only: []const u8,
        sysctl: Sysctl,
        /// The root, with other flags of mount(2).
        remount: usize,
    };

    /// Without a newline, as in "mount proc on /proc".
    pub noinline fn describe(self: *const Operation, arena: std.mem.Allocator) ![]const u8 {
        const parts: [5][]const u8 = switch (self.what) {
            .mount => |*mount| .{
                "mount ",
                mount.fstype,
                " on ",
                mount.target,
                try mount_options.describe(arena, mount.flags, mount.data),
            },
            .bind => |*bind| .{
                "bind ",
                switch (bind.source) {
                    .opened => |source| source.name,
                    .path => |path| path,
                },
                " on ",
                bind.target,
                try mount_options.describe(arena, bind.flags, ""),
            },
            .show => |path| .{ "show ", path, ", if nothing is there", "", "" },
            .copy => |copy| .{ "copy ", copy.source.name, " to ", copy.target, "" },
            .directory => |directory| .{
                "make directory ",
                directory.path,
                if (directory.owner) |owner|
                    try text.alloc(arena, " of {d}:{d}", .{ owner.uid, owner.gid })
                else
                    "",
                "",
                "",
            },
            .device => |device| .{
                "make device ",
                device.path,
                try text.alloc(arena, " {d}:{d}", .{ device.major, device.minor }),
                "",
                "",
            },
            .link => |link| .{ "link ", link.path, " to ", link.to, "" },
            .write => |write| .{
                "write ",
                write.path,
                try text.alloc(arena, ", {d} bytes", .{write.content.len}),
                "",
                "",
            },
            .mask => |path| .{ "mask ", path, "", "", "" },
            .read_only => |path| .{ "make ", path, " read-only", "", "" },
            .sysctl => |sysctl| .{ "set ", sysctl.path, " to ", sysctl.value, "" },
            .remount => |flags| .{
                "remount /",
                try mount_options.describe(arena, flags, ""),
                "",
                "",
                "",
            },
        };
        return std.mem.concat(arena, u8, &parts);
    }
};

/// A new file system.
pub const Mount = struct {
    fstype: []const u8,
    target: []const u8,
    flags: usize = 0,
    /// The file system's own options.
    data: []const u8 = "",
    /// What of the machine is bound where the kernel refuses a new one.
    instead: ?struct {
        path: [:0]const u8,
        flags: usize,
        /// What of it is not for the container.
        hidden: []const u8 = "",
    } = null,
};

/// A file or directory of the machine, with all that is mounted in it.
pub const Bind = struct {
    /// Opened before our mounts hide it, or a path on the machine.
    source: union(enum) { opened: Source, path: [:0]const u8 },
    directory: bool,
    target: []const u8,
    /// Restrictions, as in mount(2).
    flags: usize = 0,
    /// A volume: others may change what is in it meanwhile.
    shared: bool = false,
};

/// The content that a file of the machine has now, where nothing can be mounted.
pub const Copy = struct { source: Source, target: []const u8 };

/// Where there is none.
pub const Directory = struct {
    path: []const u8,
    /// Null: the container's root.
    owner: ?struct { uid: u32, gid: u32 } = null,
};

pub const Device = struct { path: []const u8, major: u32, minor: u32 };

/// A symbolic link, where there is nothing.
pub const Link = struct { path: []const u8, to: [:0]const u8 };

/// A file of the run, not of the machine.
pub const Write = struct {
    path: []const u8,
    content: []const u8,
    /// Only where root has one id, and the directory is there.
    for_single_root: bool = false,
};
