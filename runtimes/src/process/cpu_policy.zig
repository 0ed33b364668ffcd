//! Which processors threads run on during a start, and which of them wait for others. The threads
//! that send FUSE requests and those that reply share one: waking an idle processor takes longer
//! than a reply. The thread that decodes the program (the loader) runs on the others: the scheduler
//! would let it finish its time slice, milliseconds, while the others wait.
const std = @import("std");
const futex = @import("../base/futex.zig");
const sys = @import("../base/syscalls.zig");

pub const Affinity = struct {
    mask: [128]u64 = @splat(0),
    /// Bytes of the mask that the kernel uses; 0 when it is not known.
    len: usize = 0,

    /// The calling thread's.
    pub fn get() Affinity {
        return of(0);
    }

    /// Another thread's.
    fn of(thread: i32) Affinity {
        var self: Affinity = .{};
        self.len = sys.call(
            .sched_getaffinity,
            .{ thread, @sizeOf(@TypeOf(self.mask)), &self.mask },
        ) catch 0;
        return self;
    }

    pub fn set(self: *const Affinity) void {
        self.setOf(0);
    }

    /// Of another thread.
    pub fn setOf(self: *const Affinity, thread: i32) void {
        if (self.len > 0) _ = sys.raw(.sched_setaffinity, .{ thread, self.len, &self.mask });
    }

    /// The processor that the calling thread runs on, and the others; both are all of them if there
    /// is only one.
    fn divide(self: *const Affinity) struct { Affinity, Affinity } {
        var cpu: u32 = undefined;
        sys.do(.getcpu, .{ &cpu, 0, 0 }) catch return .{ self.*, self.* };
        if (cpu / 8 >= self.len) return .{ self.*, self.* };
        var one: Affinity = .{ .len = self.len };
        one.mask[cpu / 64] = @as(u64, 1) << @intCast(cpu % 64);
        var others = self.*;
        others.mask[cpu / 64] &= ~one.mask[cpu / 64];
        if (std.mem.allEqual(u64, &others.mask, 0)) return .{ self.*, self.* };
        return .{ one, others };
    }
};

/// While this thread waits for a thread of the program, and that for this one: they take turns on
/// one processor, for to wake another takes longer than their work. The other thread must not come
/// to itself before the end: what it starts would stay on that processor.
pub const Turns = struct {
    thread: i32,
    own: Affinity,
    theirs: Affinity,
    one: Affinity,

    pub fn begin(thread: i32) Turns {
        const own: Affinity = .get();
        const one, _ = own.divide();
        const self: Turns = .{ .thread = thread, .own = own, .theirs = .of(thread), .one = one };
        one.set();
        one.setOf(thread);
        return self;
    }

    /// What the program has changed meanwhile stays.
    pub fn end(self: *const Turns) void {
        if (std.meta.eql(Affinity.of(self.thread), self.one)) self.theirs.setOf(self.thread);
        self.own.set();
    }
};

/// Requests of a start that reads nothing else than its program and libraries.
const start_max = 300;
const servers_max = @import("../squashfs/blocks.zig").threads_max;

/// Shared by all threads of a start; it outlives them.
pub const CpuPolicy = struct {
    /// The processors that the caller may run on.
    caller_mask: Affinity,
    /// The one that the start and the app run on. Not known before `divide`.
    foreground_cpu: Affinity = .{},
    background_cpus: Affinity = .{},
    /// Threads that serve.
    servers: [servers_max]i32 = undefined,
    server_count: usize = 0,
    /// While the start list is worked through.
    listing: std.atomic.Value(bool) = .init(false),
    /// While the loader is at work 1, or 2 if others need not wait for its end. A futex.
    loading: std.atomic.Value(u32) = .init(0),
    /// 1 while the app for which there was a loader starts, as far as requests tell. A futex.
    starting: std.atomic.Value(u32) = .init(0),
    /// Requests answered since then.
    answered: u32 = 0,
    /// Until the app is executed. The container's mounts have to wait for kernel threads
    /// (synchronize_rcu_expedited), and those for the end of the loader's time slice.
    setting_up: std.atomic.Value(bool) = .init(true),

    pub fn init() CpuPolicy {
        return .{ .caller_mask = .get() };
    }

    /// Before the loader is started, and by it at its end.
    pub fn loadingBegins(self: *CpuPolicy) void {
        self.loading.store(1, .monotonic);
        self.starting.store(1, .monotonic);
    }

    /// By the loader, when it has found a start list, which others work through.
    pub fn listFound(self: *CpuPolicy) void {
        self.loading.store(2, .release);
        futex.wake(&self.loading, std.math.maxInt(i32));
    }

    pub fn loadingEnds(self: *CpuPolicy) void {
        self.loading.store(0, .release);
        futex.wake(&self.loading, std.math.maxInt(i32));
    }

    fn isLoading(self: *const CpuPolicy) bool {
        return self.loading.load(.monotonic) != 0;
    }

    /// By the thread that starts the app: it stays on its processor, and what it starts from now on
    /// begins there, too; the loader leaves it. Not earlier than the ids are mapped: newuidmap and
    /// newgidmap need the processors.
    pub fn divide(self: *CpuPolicy, loader: ?i32) void {
        self.foreground_cpu, self.background_cpus = self.caller_mask.divide();
        if (loader) |thread| if (self.isLoading()) self.background_cpus.setOf(thread);
        self.foreground_cpu.set();
    }

    pub fn addServer(self: *CpuPolicy, thread: i32) void {
        self.servers[self.server_count] = thread;
        self.server_count += 1;
    }

    /// By the thread that works through the start list.
    pub fn beginList(self: *CpuPolicy) void {
        self.listing.store(true, .monotonic);
        self.background_cpus.set();
    }

    /// While that thread looks names up, those that serve run where it runs, for the app asks for
    /// hardly any; else they run where the app does.
    pub fn serveList(self: *CpuPolicy, names: bool) void {
        const where = if (names) &self.background_cpus else &self.foreground_cpu;
        for (self.servers[0..self.server_count]) |thread| where.setOf(thread);
    }

    pub fn endList(self: *CpuPolicy) void {
        self.listing.store(false, .monotonic);
        self.caller_mask.set();
        for (self.servers[0..self.server_count]) |thread| self.caller_mask.setOf(thread);
    }

    /// The app's process, while it is set up.
    pub fn placeApp(self: *const CpuPolicy, pid: i32) void {
        self.foreground_cpu.setOf(pid);
    }

    /// For a thread that does not work in turn with the app: one that unpacks, for example.
    pub fn useAll(self: *const CpuPolicy) void {
        self.caller_mask.set();
    }

    /// A thread that prefetches works for the same reader as the loader.
    pub fn waitForLoader(self: *CpuPolicy) void {
        while (self.loading.load(.acquire) == 1) futex.wait(&self.loading, 1);
    }

    /// A second thread that serves would take turns with the first while the app is started, which
    /// costs one more wake-up for each request.
    pub fn waitForStart(self: *CpuPolicy) void {
        while (self.starting.load(.acquire) == 1) futex.wait(&self.starting, 1);
    }

    /// By the thread that serves, on the app's processor, after each reply: nothing is read before
    /// the app is executed, and its start is over when it reads what had to be `decoded` for that,
    /// or after many requests. Returns whether it is; then the thread has left that processor.
    pub fn afterReply(self: *CpuPolicy, is_read: bool, decoded: bool) bool {
        if (is_read) self.setting_up.store(false, .monotonic);
        if (self.starting.load(.monotonic) == 1) {
            self.answered += 1;
            if (self.isLoading() or self.listing.load(.monotonic)) return false;
            if (!decoded and self.answered < start_max) return false;
        }
        self.useAll();
        self.starting.store(0, .release);
        futex.wake(&self.starting, std.math.maxInt(i32));
        return true;
    }
};

test "a start is over when something is read that was not decoded before, or after many requests" {
    var policy: CpuPolicy = .init();
    // No app, as for a mount.
    try std.testing.expect(policy.afterReply(false, false));

    policy.loadingBegins();
    try std.testing.expect(!policy.afterReply(false, false));
    try std.testing.expect(policy.setting_up.load(.monotonic));
    // The loader is at work, whatever is read.
    try std.testing.expect(!policy.afterReply(true, true));
    try std.testing.expect(!policy.setting_up.load(.monotonic));
    policy.loadingEnds();
    try std.testing.expect(!policy.afterReply(true, false));
    try std.testing.expectEqual(1, policy.starting.load(.monotonic));
    try std.testing.expect(policy.afterReply(true, true));
    policy.waitForStart();

    policy.starting.store(1, .monotonic);
    policy.answered = 0;
    for (1..start_max) |_| try std.testing.expect(!policy.afterReply(false, false));
    try std.testing.expect(policy.afterReply(false, false));
}
