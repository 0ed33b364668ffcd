//! The names of the runtime's options: `docker run`'s, and a few of its own.
const std = @import("std");

pub const Flag = enum {
    add_host,
    cap_add,
    cap_drop,
    cpus,
    cwd,
    detach,
    device,
    dns,
    dns_option,
    dns_search,
    entrypoint,
    env,
    env_file,
    env_host,
    expose,
    gpus,
    group_add,
    home,
    hostname,
    init,
    linger,
    log,
    memory,
    mount,
    name,
    network,
    no_hosts,
    no_root_emulation,
    overlay,
    pids_limit,
    privileged,
    privileged_files,
    publish,
    publish_all,
    read_only,
    read_only_tmpfs,
    security_opt,
    share,
    shm_size,
    sysctl,
    tmpfs,
    ulimit,
    user,
    userns,
    volume,
    workdir,
    doctor,
    exec,
    extract,
    help,
    inspect,
    licenses,
    mount_image,
    ps,
    record,
    stop,
    verify,
    version,
    /// Accepted, for command lines written for docker, and ignored.
    nothing,
};

pub const Known = struct {
    name: []const u8,
    short: u8 = 0,
    flag: Flag,
    /// Whether it takes a value; if not, only `=true` or `=false` may follow.
    value: bool = true,
};

pub const table = [_]Known{
    .{ .name = "add-host", .flag = .add_host },
    .{ .name = "cap-add", .flag = .cap_add },
    .{ .name = "cap-drop", .flag = .cap_drop },
    .{ .name = "cpus", .flag = .cpus },
    .{ .name = "cwd", .flag = .cwd, .value = false },
    .{ .name = "detach", .short = 'd', .flag = .detach, .value = false },
    .{ .name = "device", .flag = .device },
    .{ .name = "dns", .flag = .dns },
    .{ .name = "dns-option", .flag = .dns_option },
    .{ .name = "dns-search", .flag = .dns_search },
    .{ .name = "entrypoint", .flag = .entrypoint },
    .{ .name = "env", .short = 'e', .flag = .env },
    .{ .name = "env-file", .flag = .env_file },
    .{ .name = "env-host", .flag = .env_host, .value = false },
    .{ .name = "expose", .flag = .expose },
    .{ .name = "gpus", .flag = .gpus },
    .{ .name = "group-add", .flag = .group_add },
    .{ .name = "home", .flag = .home, .value = false },
    .{ .name = "hostname", .short = 'h', .flag = .hostname },
    .{ .name = "init", .flag = .init, .value = false },
    .{ .name = "interactive", .short = 'i', .flag = .nothing, .value = false },
    .{ .name = "label", .short = 'l', .flag = .nothing },
    .{ .name = "linger", .flag = .linger },
    .{ .name = "log", .flag = .log },
    .{ .name = "memory", .short = 'm', .flag = .memory },
    .{ .name = "mount", .flag = .mount },
    .{ .name = "name", .flag = .name },
    .{ .name = "net", .flag = .network },
    .{ .name = "network", .flag = .network },
    .{ .name = "no-hosts", .flag = .no_hosts, .value = false },
    .{ .name = "no-root-emulation", .flag = .no_root_emulation, .value = false },
    .{ .name = "overlay", .flag = .overlay },
    .{ .name = "pids-limit", .flag = .pids_limit },
    .{ .name = "privileged", .flag = .privileged, .value = false },
    .{ .name = "publish", .short = 'p', .flag = .publish },
    .{ .name = "publish-all", .short = 'P', .flag = .publish_all, .value = false },
    .{ .name = "pull", .flag = .nothing },
    .{ .name = "read-only", .flag = .read_only, .value = false },
    .{ .name = "read-only-tmpfs", .flag = .read_only_tmpfs, .value = false },
    .{ .name = "rm", .flag = .nothing, .value = false },
    .{ .name = "security-opt", .flag = .security_opt },
    .{ .name = "share", .flag = .share, .value = false },
    .{ .name = "shm-size", .flag = .shm_size },
    .{ .name = "sysctl", .flag = .sysctl },
    .{ .name = "tmpfs", .flag = .tmpfs },
    .{ .name = "tty", .short = 't', .flag = .nothing, .value = false },
    .{ .name = "ulimit", .flag = .ulimit },
    .{ .name = "user", .short = 'u', .flag = .user },
    .{ .name = "userns", .flag = .userns },
    .{ .name = "volume", .short = 'v', .flag = .volume },
    .{ .name = "workdir", .short = 'w', .flag = .workdir },
    .{ .name = "dockerc-doctor", .flag = .doctor, .value = false },
    .{ .name = "dockerc-exec", .flag = .exec, .value = false },
    .{ .name = "dockerc-extract", .flag = .extract },
    .{ .name = "dockerc-help", .flag = .help, .value = false },
    .{ .name = "dockerc-inspect", .flag = .inspect, .value = false },
    .{ .name = "dockerc-licenses", .flag = .licenses, .value = false },
    .{ .name = "dockerc-mount", .flag = .mount_image },
    .{ .name = "dockerc-privileged-files", .flag = .privileged_files, .value = false },
    .{ .name = "dockerc-ps", .flag = .ps, .value = false },
    .{ .name = "dockerc-record", .flag = .record },
    .{ .name = "dockerc-stop", .flag = .stop, .value = false },
    .{ .name = "dockerc-verify", .flag = .verify, .value = false },
    .{ .name = "dockerc-version", .flag = .version, .value = false },
};

/// Whether it is about the file and its runs, and not of a run (which may be
/// recorded or verified).
pub fn isAboutFile(flag: Flag) bool {
    if (flag == .record or flag == .verify) return false;
    for (&table) |*known| if (known.flag == flag)
        return std.mem.startsWith(u8, known.name, about_file);
    return false;
}

/// What the names of such options begin with, which no program has.
pub const about_file = "dockerc-";

/// Options of docker run that are not supported, and what to use instead.
pub const substitutes = [_]struct { name: []const u8, instead: []const u8 }{
    .{ .name = "init-path", .instead = "the init is a part of the runtime: --init" },
    .{ .name = "restart", .instead = "a supervisor (systemd, runit) restarts programs" },
    .{ .name = "stop-signal", .instead = "signals are passed on: kill -s SIGNAL PID" },
    .{ .name = "stop-timeout", .instead = "signals are passed on: timeout -k SECONDS TIME FILE" },
};

pub fn substituteOf(name: []const u8) ?[]const u8 {
    for (&substitutes) |each| if (std.mem.eql(u8, each.name, name)) return each.instead;
    return null;
}
