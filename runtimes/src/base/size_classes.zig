//! An allocator for one thread that frees what it has allocated: blocks of a power of two, in lists
//! of free ones. The standard library's larger ones would make the stub larger, too.
const std = @import("std");
const Alignment = std.mem.Alignment;

const smallest = 5;
const classes = 8;
const chunk = 1 << 16;

pub const SizeClasses = struct {
    free: [classes]?*Block = @splat(null),
    rest: []u8 = &.{},

    const Block = struct { next: ?*Block };

    pub fn allocator(self: *SizeClasses) std.mem.Allocator {
        return .{ .ptr = self, .vtable = &.{
            .alloc = alloc,
            .resize = std.mem.Allocator.noResize,
            .remap = std.mem.Allocator.noRemap,
            .free = release,
        } };
    }

    /// Null for blocks of whole pages.
    fn classOf(len: usize, alignment: Alignment) ?usize {
        const size = @max(len, alignment.toByteUnits());
        for (0..classes) |class| if (size <= @as(usize, 1) << @intCast(smallest + class))
            return class;
        return null;
    }

    fn alloc(context: *anyopaque, len: usize, alignment: Alignment, from: usize) ?[*]u8 {
        const self: *SizeClasses = @ptrCast(@alignCast(context));
        const pages = std.heap.page_allocator;
        const class = classOf(len, alignment) orelse return pages.rawAlloc(len, alignment, from);
        if (self.free[class]) |block| {
            self.free[class] = block.next;
            return @ptrCast(block);
        }
        const size = @as(usize, 1) << @intCast(smallest + class);
        // What is left over is less than the largest block, once in a chunk.
        if (self.rest.len < size or @intFromPtr(self.rest.ptr) % size != 0) {
            const aligned = std.mem.alignForward(usize, @intFromPtr(self.rest.ptr), size);
            const skipped = aligned - @intFromPtr(self.rest.ptr);
            self.rest = if (self.rest.len >= skipped + size)
                self.rest[skipped..]
            else
                (pages.rawAlloc(chunk, .fromByteUnits(4096), from) orelse return null)[0..chunk];
        }
        defer self.rest = self.rest[size..];
        return self.rest.ptr;
    }

    fn release(context: *anyopaque, memory: []u8, alignment: Alignment, from: usize) void {
        const self: *SizeClasses = @ptrCast(@alignCast(context));
        const class = classOf(memory.len, alignment) orelse
            return std.heap.page_allocator.rawFree(memory, alignment, from);
        const block: *Block = @ptrCast(@alignCast(memory.ptr));
        block.next = self.free[class];
        self.free[class] = block;
    }
};

test "blocks are used again" {
    var classes_of_sizes: SizeClasses = .{};
    const memory = classes_of_sizes.allocator();
    const first = try memory.alloc(u8, 100);
    const second = try memory.alloc(u64, 9);
    @memset(first, 1);
    try std.testing.expect(first.ptr != @as([*]u8, @ptrCast(second.ptr)));
    memory.free(first);
    const third = try memory.alloc(u8, 128);
    try std.testing.expectEqual(first.ptr, third.ptr);
    const large = try memory.alloc(u8, 1 << 20);
    large[large.len - 1] = 1;
    memory.free(large);
}
