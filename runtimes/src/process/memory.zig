//! Memory of another thread, which we may trace (process_vm_readv(2)).
const std = @import("std");
const sys = @import("../base/syscalls.zig");
const text = @import("../base/text.zig");
const iovec = std.posix.iovec;

const page = 4096;

/// A string that ends with a zero byte, in `buf`.
pub fn readText(tid: i32, address: u64, buf: []u8) sys.Error![:0]u8 {
    // A page that follows may not be there, and most strings are short.
    var done: usize = 0;
    while (done < buf.len) {
        const at = address + done;
        const short: usize = 256;
        const part = @min(buf.len - done, page - at % page, if (done == 0) short else page);
        const got = try transfer(.process_vm_readv, tid, at, buf[done..][0..part]);
        if (std.mem.findScalar(u8, buf[done..][0..got], 0)) |end| return buf[0 .. done + end :0];
        done += got;
    }
    return error.NAMETOOLONG;
}

pub fn read(tid: i32, address: u64, buf: []u8) sys.Error!void {
    if (try transfer(.process_vm_readv, tid, address, buf) != buf.len) return error.FAULT;
}

pub fn write(tid: i32, address: u64, bytes: []const u8) sys.Error!void {
    const done = try transfer(.process_vm_writev, tid, address, @constCast(bytes));
    if (done != bytes.len) return error.FAULT;
}

fn transfer(comptime call: sys.SYS, tid: i32, address: u64, buf: []u8) sys.Error!usize {
    if (buf.len == 0) return 0;
    const ours: iovec = .{ .base = buf.ptr, .len = buf.len };
    const theirs = [2]u64{ address, buf.len };
    const done = sys.call(call, .{ tid, &ours, 1, &theirs, 1, 0 }) catch |err| switch (err) {
        error.PERM, error.NOSYS => try byFile(call == .process_vm_writev, tid, address, buf),
        else => return err,
    };
    return if (done == 0) error.FAULT else done;
}

/// Docker's filter refuses these two calls, and not ptrace(2), which allows the same by a file.
noinline fn byFile(writes: bool, tid: i32, address: u64, buf: []u8) sys.Error!usize {
    var path: [32]u8 = undefined;
    const name = text.print(&path, "/proc/{d}/mem\x00", .{tid});
    const flags: sys.O = .{ .ACCMODE = .RDWR, .CLOEXEC = true };
    const file = try sys.openat(sys.at_fdcwd, @ptrCast(name.ptr), flags, 0);
    defer sys.close(file);
    const done = if (writes)
        sys.call(.pwrite64, .{ file, buf.ptr, buf.len, address })
    else
        sys.call(.pread64, .{ file, buf.ptr, buf.len, address });
    return done catch |err| if (err == error.IO) error.FAULT else err;
}
