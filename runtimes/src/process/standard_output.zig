//! Standard output or error that is a file, where the app runs as another user of the machine (its
//! caller is root): the app could not open it again by /dev/stdout, as images of servers do, and
//! the file is the caller's, so its owner must not change. The app writes to a pipe of its own, and
//! the supervisor copies that to the file.
const std = @import("std");
const linux = std.os.linux;
const sys = @import("../base/syscalls.zig");

const nobody: linux.pollfd = .{ .fd = -1, .events = 0, .revents = 0 };

/// By stream: 1 and 2.
pub const Outputs = struct {
    /// What becomes the app's stream.
    ends: [2]?sys.fd_t = .{ null, null },
    relays: [2]Relay = .{ .{}, .{} },

    /// For an app whose user is `uid`.
    pub fn open(uid: u32) sys.Error!Outputs {
        var self: Outputs = .{};
        var first: ?std.os.linux.Statx = null;
        for ([_]sys.fd_t{ 1, 2 }, 0..) |stream, i| {
            const st = sys.stat(stream, "") catch continue;
            const for_others = 0o002;
            if (st.mode & 0o170000 != 0o100000) continue;
            if (st.uid == uid or st.mode & for_others != 0) continue;
            // `2>&1`: one pipe keeps the order of what is written.
            if (first) |other| if (other.ino == st.ino and other.dev_minor == st.dev_minor and
                other.dev_major == st.dev_major)
            {
                self.ends[i] = self.ends[0];
                continue;
            };
            first = st;
            const cloexec: u32 = @bitCast(sys.O{ .CLOEXEC = true });
            var pipe: [2]sys.fd_t = undefined;
            try sys.do(.pipe2, .{ &pipe, cloexec });
            self.ends[i] = try sys.dupAbove(pipe[1]);
            self.relays[i] = .{ .from = try sys.dupAbove(pipe[0]), .to = try sys.dupAbove(stream) };
            for (pipe) |end| sys.close(end);
        }
        return self;
    }

    /// In the app's process.
    pub fn replaceStreams(self: *const Outputs) sys.Error!void {
        for (self.ends, 0..) |end, i| if (end) |own| {
            const stream: sys.fd_t = @intCast(1 + i);
            try sys.do(.dup3, .{ own, stream, 0 });
        };
    }

    /// Once the app's process has them.
    pub fn closeEnds(self: *const Outputs) void {
        for (self.ends, self.relays) |end, each| if (each.from >= 0) sys.close(end.?);
    }

    pub fn interests(self: *const Outputs) [2]linux.pollfd {
        var polled: [2]linux.pollfd = .{ nobody, nobody };
        for (self.relays, &polled) |each, *poll| {
            poll.fd = each.from;
            poll.events = linux.POLL.IN;
        }
        return polled;
    }

    pub fn relay(self: *Outputs, polled: [2]linux.pollfd) void {
        for (&self.relays, polled) |*each, poll| if (poll.revents != 0) each.pass();
    }

    /// What the app has written before its end.
    pub fn finish(self: *Outputs) void {
        while (true) {
            var polled = self.interests();
            const at_once: linux.timespec = .{ .sec = 0, .nsec = 0 };
            _ = sys.raw(.ppoll, .{ &polled, polled.len, &at_once, 0, 0 });
            if (polled[0].revents | polled[1].revents == 0) return;
            self.relay(polled);
        }
    }
};

const Relay = struct {
    from: sys.fd_t = -1,
    to: sys.fd_t = -1,

    /// At the end, or where the file can take no more, the app's pipe has no reader.
    fn pass(self: *Relay) void {
        var buf: [1 << 16]u8 = undefined;
        const got = sys.call(.read, .{ self.from, &buf, buf.len }) catch 0;
        if (got > 0) if (sys.writeAll(self.to, buf[0..got])) |_| return else |_| {};
        sys.close(self.from);
        self.from = -1;
    }
};
