//! Working directories of threads. The tracer knows them and the kernel does not, for only a thread
//! itself could change its own, which would take two stops.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");

/// Open for its path alone; several processes may be in it.
const File = struct { fd: sys.fd_t, users: u32 };

/// Threads that share one (CLONE_FS, clone(2)) go together.
pub const WorkingDirectory = struct {
    /// Null until the first chdir(2): the kernel's.
    file: ?*File = null,
    threads: u32 = 1,

    pub fn make(memory: std.mem.Allocator) !*WorkingDirectory {
        const made = try memory.create(WorkingDirectory);
        made.* = .{};
        return made;
    }

    /// For another thread.
    pub fn share(self: *WorkingDirectory) *WorkingDirectory {
        self.threads += 1;
        return self;
    }

    /// For a process that may go elsewhere.
    pub fn copy(self: *const WorkingDirectory, memory: std.mem.Allocator) !*WorkingDirectory {
        const made = try make(memory);
        made.file = self.file;
        if (made.file) |file| file.users += 1;
        return made;
    }

    /// By a thread: the last one frees it.
    pub fn leave(self: *WorkingDirectory, memory: std.mem.Allocator) void {
        self.threads -= 1;
        if (self.threads > 0) return;
        self.release(memory);
        memory.destroy(self);
    }

    /// `fd` is closed when nobody is there any more.
    pub fn go(self: *WorkingDirectory, memory: std.mem.Allocator, fd: sys.fd_t) !void {
        const file = try memory.create(File);
        file.* = .{ .fd = fd, .users = 1 };
        self.release(memory);
        self.file = file;
    }

    fn release(self: *WorkingDirectory, memory: std.mem.Allocator) void {
        const file = self.file orelse return;
        file.users -= 1;
        if (file.users > 0) return;
        sys.close(file.fd);
        memory.destroy(file);
    }

    /// Its link in the machine's /proc.
    pub fn link(self: *const WorkingDirectory, memory: std.mem.Allocator, tid: i32) ![:0]const u8 {
        const file = self.file orelse return text.alloc(memory, "{d}/cwd", .{tid});
        return text.alloc(memory, "self/fd/{d}", .{file.fd});
    }
};
