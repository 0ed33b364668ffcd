//! What a run wants to share, as its keeper needs it.
const std = @import("std");
const Environment = @import("../cli/environment.zig").Environment;
const Ids = @import("address.zig").Ids;
const Program = @import("../fuse/prefetch/startup.zig").Program;
const Reader = @import("../squashfs/reader.zig").Reader;

pub const Request = struct {
    arena: std.mem.Allocator,
    reader: *Reader,
    callers: *const Environment,
    ids: Ids,
    /// Of the run that starts the keeper.
    program: Program,
    /// Seconds for which the keeper stays after this run.
    linger: u32,
};
