//! placeholder
const std = @import("std");
pub fn install(arena: std.mem.Allocator, capabilities: u64) void {
    _ = arena;
    _ = capabilities;
}
