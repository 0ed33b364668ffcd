//! The bytes of the payload inside the executable. Read, not mapped: a mapping would count every
//! page touched as the stub's own memory, and turn a read error into a SIGBUS.
const sys = @import("../base/syscalls.zig");

pub const Image = struct {
    fd: sys.fd_t,
    /// Where the payload starts in the file, and its length.
    start: u64,
    len: u64,

    /// As much of `buf` as the image has at `at`.
    pub fn read(self: *const Image, buf: []u8, at: u64) sys.Error![]u8 {
        if (at >= self.len) return buf[0..0];
        const want: usize = @intCast(@min(buf.len, self.len - at));
        return buf[0..try sys.preadAll(self.fd, buf[0..want], self.start + at)];
    }
};
