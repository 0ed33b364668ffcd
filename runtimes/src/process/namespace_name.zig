//! Namespaces of processes, told apart by what their links in /proc say ("user:[4026531837]",
//! namespaces(7)). What the links lead to has no path, and AppArmor lets no confined process ask
//! for its attributes.
const sys = @import("../base/syscalls.zig");

pub const Name = [32]u8;

/// `link`, below `dir`: "self/ns/pid" in /proc.
pub fn of(dir: sys.fd_t, link: [*:0]const u8) sys.Error!Name {
    var name: Name = @splat(0);
    const len = try sys.call(.readlinkat, .{ dir, link, &name, name.len });
    return if (len < name.len) name else error.NAMETOOLONG;
}
