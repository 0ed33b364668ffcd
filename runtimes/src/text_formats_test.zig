//! Parsers of text (config.json with its seccomp profile and lists of words, the image's passwd and
//! group, CDI specifications) and of footers, with randomly damaged input: they must return a value
//! or an error.
const std = @import("std");
const config = @import("config/spec.zig");
const footer = @import("payload/footer.zig");
const fuzzing = @import("base/fuzzing.zig");
const passwd = @import("config/passwd.zig");
const seccomp = @import("container/seccomp/filter.zig");
const bpf = @import("base/bpf.zig");
const seccomp_profile = @import("container/seccomp/profile.zig");
const yaml = @import("config/yaml.zig");
const Superblock = @import("squashfs/superblock.zig").Superblock;

pub const document =
    \\{"ociVersion": "1.0.0", "process": {"user": {"uid": 101, "gid": 4294967295,
    \\  "umask": 18, "additionalGids": [4, 27]},
    \\ "args": ["/bin/sh", "-c", "echo \"\u00e9\ud83d\ude00\\\t\""],
    \\  "env": ["PATH=/bin", "A="], "cwd": "/srv",
    \\ "capabilities": {"bounding": ["CAP_CHOWN"], "effective": [], "ambient": null},
    \\  "oomScoreAdj": -500,
    \\ "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 18446744073709551615}],
    \\  "noNewPrivileges": true},
    \\ "root": {"path": "rootfs", "readonly": false}, "hostname": "h",
    \\ "mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
    \\  "options": ["nosuid", "mode=755"]}],
    \\ "annotations": {"dev.dockerc.entrypoint": "[\"/bin/sh\", \"-c\"]",
    \\  "dev.dockerc.cmd": "null"},
    \\ "linux": {"namespaces": [{"type": "pid"}, {"type": "user"}], "maskedPaths": ["/proc/kcore"],
    \\  "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
    \\  "architectures": ["SCMP_ARCH_X86_64"],
    \\   "syscalls": [{"names": ["read", "kill"], "action": "SCMP_ACT_ALLOW",
    \\    "args": [{"index": 1, "value": 9, "valueTwo": 15, "op": "SCMP_CMP_MASKED_EQ"}],
    \\  "includes": {"caps": ["CAP_KILL"]}}]}}}
;
const accounts = "root:x:0:0:root:/root:/bin/sh\n" ++
    "postgres:x:101:103::/var/lib/postgresql:/bin/bash\n" ++
    "group:x:7:a,postgres,b\n";
pub const devices =
    \\---
    \\kind: vendor.com/gpu
    \\containerEdits:
    \\  env: ["A=b", "C='d'"]
    \\  mounts:
    \\  - hostPath: '/usr/lib/it''s' # a comment
    \\    options:
    \\      - ro
    \\devices:
    \\- name: "0"
    \\  containerEdits:
    \\    deviceNodes:
    \\    -
    \\      path: /dev/null
;

/// Changes, drops or repeats a few bytes; the result is in `out`.
fn damage(out: []u8, whole: []const u8, random: std.Random) []const u8 {
    @memcpy(out[0..whole.len], whole);
    var len = whole.len;
    for (0..random.uintLessThan(usize, 4) + 1) |_| {
        const at = random.uintLessThan(usize, len);
        switch (random.uintLessThan(u8, 4)) {
            0 => out[at] = random.int(u8),
            1 => out[at] = "\"\\{}[],:0-9euntf\x00"[random.uintLessThan(usize, 18)],
            2 => {
                const count = @min(random.uintLessThan(usize, 64), len - at - 1);
                std.mem.copyForwards(u8, out[at..], out[at + count .. len]);
                len -= count;
            },
            else => {
                const count = @min(random.uintLessThan(usize, 64), @min(out.len - len, len - at));
                std.mem.copyBackwards(u8, out[at + count ..], out[at..len]);
                len += count;
            },
        }
    }
    return out[0..len];
}

pub fn readConfig(arena: std.mem.Allocator, text: []const u8) !void {
    const spec = try config.parse(arena, text);
    _ = config.command(arena, &spec, null, &.{"word"}) catch {};
    const program = try seccomp_profile.compile(arena, spec.linux.seccomp, 1);
    _ = bpf.judge(&program, bpf.tables[0].arch, 1, &.{ 1, 9 });
}

test "damaged texts" {
    var state = std.heap.ArenaAllocator.init(std.heap.page_allocator);
    defer state.deinit();
    const arena = state.allocator();
    try readConfig(arena, document);
    var prng = std.Random.DefaultPrng.init(fuzzing.seed());
    const random = prng.random();
    var buf: [2 * document.len]u8 = undefined;
    for (0..fuzzing.rounds(20_000)) |_| {
        _ = state.reset(.retain_capacity);
        readConfig(arena, damage(&buf, document, random)) catch {};
        _ = yaml.parse(arena, damage(&buf, devices, random)) catch {};
        const table = damage(&buf, accounts, random);
        _ = passwd.find(table, .{ .name = "postgres" });
        _ = passwd.find(table, .{ .id = 101 });
        _ = passwd.findGroup(table, "group");
        _ = try passwd.memberships(arena, table, "postgres");
    }
}

test "damaged footers" {
    var file: [512]u8 = @splat(0);
    @memcpy(file[64..][0..96], &Superblock.example);
    std.mem.writeInt(u64, file[64 + 40 ..][0..8], 400, .little);
    std.mem.writeInt(u64, file[496..][0..8], 64, .little);
    var prng = std.Random.DefaultPrng.init(fuzzing.seed());
    const random = prng.random();
    var buf: [1024]u8 = undefined;
    for (0..fuzzing.rounds(20_000)) |_| {
        const damaged = damage(&buf, &file, random);
        var compressor: []const u8 = "";
        const held: footer.Memory = .{ .bytes = damaged };
        const payload = footer.find(held, damaged.len, &compressor) catch continue;
        try std.testing.expect(payload.offset + payload.superblock.bytes_used <= damaged.len);
    }
}
