//! One open /dev/fuse: receives requests, sends replies.
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const log = @import("../base/log.zig");
const protocol = @import("protocol.zig");

/// Bytes of a READ. A short reply would mean the end of the file. The kernel's readahead is limited
/// to this, too.
pub const read_max = 128 << 10;

pub const Channel = struct {
    device: sys.fd_t,
    /// Buffers for a request (at least FUSE_MIN_READ_BUFFER) and for a small reply.
    request_buffer: []align(4096) u8,
    answer: []u8,
    /// A page, for holes of files.
    zeros: []const u8,

    const request_max = 16384;
    const answer_max = 128 * 1024;
    const page = 4096;
    const memory_len = request_max + answer_max + page;

    pub const Request = struct {
        header: *const protocol.InHeader,
        body: []const u8,
    };

    pub fn init(device: sys.fd_t) !Channel {
        const memory = try sys.anonymous(memory_len);
        return .{
            .device = device,
            .request_buffer = memory[0..request_max],
            .answer = memory[request_max..][0..answer_max],
            .zeros = memory[request_max + answer_max ..],
        };
    }

    /// What `init` took.
    pub fn deinit(self: *Channel) void {
        sys.release(self.request_buffer.ptr[0..memory_len]);
    }

    /// Gives the calling thread a descriptor table with only this device, `others`, and the log if
    /// there is one. Other descriptors would stay open as long as the mount: the app's standard
    /// streams, and other threads' devices. If the runtime is killed while a thread waits for pages
    /// that a request has locked, the device of the thread that replies must be closed although
    /// this one still waits: that aborts the request, and so ends the wait.
    pub fn isolateFdTable(self: *const Channel, others: [2]sys.fd_t) void {
        sys.do(.unshare, .{sys.CLONE.files}) catch return;
        sys.closeAllBut(
            &.{ if (log.speaksLate()) 2 else self.device, self.device, others[0], others[1] },
        );
    }

    pub fn receive(self: *Channel) sys.Error!Request {
        while (true) {
            const n = sys.call(
                .read,
                .{ self.device, self.request_buffer.ptr, self.request_buffer.len },
            ) catch |err| switch (err) {
                // The request was interrupted before it was read.
                error.INTR, error.NOENT, error.AGAIN => continue,
                else => return err,
            };
            if (n < @sizeOf(protocol.InHeader)) continue;
            const header: *const protocol.InHeader = @ptrCast(self.request_buffer.ptr);
            return .{
                .header = header,
                .body = self.request_buffer[@sizeOf(protocol.InHeader)..n],
            };
        }
    }

    pub fn send(self: *Channel, unique: u64, payload: []const u8) void {
        var parts = [2]std.posix.iovec_const{
            undefined,
            .{ .base = payload.ptr, .len = payload.len },
        };
        self.sendParts(unique, &parts, payload.len);
    }

    /// `parts[0]` is for the header.
    pub fn sendParts(self: *Channel, unique: u64, parts: []std.posix.iovec_const, len: usize) void {
        const header: protocol.OutHeader = .{
            .len = @intCast(@sizeOf(protocol.OutHeader) + len),
            .err = 0,
            .unique = unique,
        };
        parts[0] = .{ .base = @ptrCast(&header), .len = @sizeOf(protocol.OutHeader) };
        // An error means that the request was aborted.
        _ = sys.raw(.writev, .{ self.device, parts.ptr, parts.len });
    }

    /// Pushes a part of a file into the kernel's page cache; false if the kernel has no such inode.
    /// Waits for pages that a pending request has locked: a thread that replies to requests must
    /// not call this.
    pub fn store(self: *const Channel, nodeid: u64, offset: u64, content: []const u8) bool {
        const head: extern struct { out: protocol.OutHeader, store: protocol.StoreOut } = .{
            .out = .{
                .len = @intCast(
                    @sizeOf(protocol.OutHeader) + @sizeOf(protocol.StoreOut) + content.len,
                ),
                .err = protocol.notify_store,
                .unique = 0,
            },
            .store = .{ .nodeid = nodeid, .offset = offset, .size = @intCast(content.len) },
        };
        const parts = [_]std.posix.iovec_const{
            .{ .base = std.mem.asBytes(&head), .len = @sizeOf(@TypeOf(head)) },
            .{ .base = content.ptr, .len = content.len },
        };
        sys.do(.writev, .{ self.device, &parts, parts.len }) catch return false;
        return true;
    }

    pub fn fail(self: *Channel, unique: u64, errno: std.os.linux.E) void {
        const header: protocol.OutHeader = .{
            .len = @sizeOf(protocol.OutHeader),
            .err = -@as(i32, @backingInt(errno)),
            .unique = unique,
        };
        _ = sys.raw(.write, .{ self.device, &header, @sizeOf(protocol.OutHeader) });
    }
};
