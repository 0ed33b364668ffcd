//! Errors of system calls, named after the errno (errno(3)), and what they mean.
const std = @import("std");
const linux = std.os.linux;

pub const Error = error{
    PERM,
    NOENT,
    INTR,
    IO,
    NXIO,
    TOOBIG,
    NOEXEC,
    AGAIN,
    NOMEM,
    ACCES,
    FAULT,
    BUSY,
    EXIST,
    XDEV,
    NODEV,
    NOTDIR,
    ISDIR,
    INVAL,
    NFILE,
    MFILE,
    NOTTY,
    TXTBSY,
    FBIG,
    NOSPC,
    ROFS,
    PIPE,
    RANGE,
    NAMETOOLONG,
    NOSYS,
    LOOP,
    NOTEMPTY,
    NODATA,
    OVERFLOW,
    OPNOTSUPP,
    USERS,
    CHILD,
    SRCH,
    BADF,
    NOLCK,
    ADDRINUSE,
    ADDRNOTAVAIL,
    AFNOSUPPORT,
    CONNREFUSED,
    CONNRESET,
    NOTCONN,
    CONNABORTED,
    Unexpected,
};

const Named = struct { errno: linux.E, err: Error, text: []const u8 };
const names = [_]Named{
    .{ .errno = .PERM, .err = error.PERM, .text = "operation not permitted" },
    .{ .errno = .NOENT, .err = error.NOENT, .text = "no such file or directory" },
    .{ .errno = .SRCH, .err = error.SRCH, .text = "no such process" },
    .{ .errno = .INTR, .err = error.INTR, .text = "interrupted" },
    .{ .errno = .IO, .err = error.IO, .text = "input/output error" },
    .{ .errno = .NXIO, .err = error.NXIO, .text = "no such device" },
    .{ .errno = .@"2BIG", .err = error.TOOBIG, .text = "argument list too long" },
    .{ .errno = .NOEXEC, .err = error.NOEXEC, .text = "not in an executable format of this " ++
        "machine" },
    .{ .errno = .BADF, .err = error.BADF, .text = "bad file descriptor" },
    .{ .errno = .NOTCONN, .err = error.NOTCONN, .text = "not connected" },
    .{ .errno = .CHILD, .err = error.CHILD, .text = "no child process" },
    .{ .errno = .AGAIN, .err = error.AGAIN, .text = "resource temporarily unavailable" },
    .{ .errno = .NOMEM, .err = error.NOMEM, .text = "out of memory (or ulimit -v)" },
    .{ .errno = .ACCES, .err = error.ACCES, .text = "permission denied" },
    .{ .errno = .FAULT, .err = error.FAULT, .text = "bad address" },
    .{ .errno = .BUSY, .err = error.BUSY, .text = "device or resource busy" },
    .{ .errno = .EXIST, .err = error.EXIST, .text = "file exists" },
    .{ .errno = .XDEV, .err = error.XDEV, .text = "on another file system" },
    .{ .errno = .NODEV, .err = error.NODEV, .text = "not known to this kernel" },
    .{ .errno = .NOTDIR, .err = error.NOTDIR, .text = "not a directory" },
    .{ .errno = .ISDIR, .err = error.ISDIR, .text = "is a directory" },
    .{ .errno = .INVAL, .err = error.INVAL, .text = "invalid argument" },
    .{ .errno = .NFILE, .err = error.NFILE, .text = "too many open files in the system" },
    .{ .errno = .MFILE, .err = error.MFILE, .text = "too many open files (ulimit -n)" },
    .{ .errno = .NOTTY, .err = error.NOTTY, .text = "not a terminal" },
    .{ .errno = .TXTBSY, .err = error.TXTBSY, .text = "text file busy" },
    .{ .errno = .FBIG, .err = error.FBIG, .text = "file too large" },
    .{ .errno = .NOSPC, .err = error.NOSPC, .text = "no space left, or a limit of the kernel " ++
        "reached" },
    .{ .errno = .ROFS, .err = error.ROFS, .text = "read-only file system" },
    .{ .errno = .PIPE, .err = error.PIPE, .text = "broken pipe" },
    .{ .errno = .RANGE, .err = error.RANGE, .text = "out of range" },
    .{ .errno = .NAMETOOLONG, .err = error.NAMETOOLONG, .text = "file name too long" },
    .{ .errno = .NOSYS, .err = error.NOSYS, .text = "not implemented by this kernel" },
    .{ .errno = .LOOP, .err = error.LOOP, .text = "too many levels of symbolic links" },
    .{ .errno = .NOTEMPTY, .err = error.NOTEMPTY, .text = "directory not empty" },
    .{ .errno = .NODATA, .err = error.NODATA, .text = "no data" },
    .{ .errno = .OVERFLOW, .err = error.OVERFLOW, .text = "value too large" },
    .{ .errno = .OPNOTSUPP, .err = error.OPNOTSUPP, .text = "operation not supported" },
    .{ .errno = .NOLCK, .err = error.NOLCK, .text = "no locks on this file system" },
    .{ .errno = .ADDRINUSE, .err = error.ADDRINUSE, .text = "address already in use" },
    .{ .errno = .ADDRNOTAVAIL, .err = error.ADDRNOTAVAIL, .text = "not an address of this " ++
        "machine" },
    .{ .errno = .AFNOSUPPORT, .err = error.AFNOSUPPORT, .text = "address family not supported" },
    .{ .errno = .CONNABORTED, .err = error.CONNABORTED, .text = "connection aborted" },
    .{ .errno = .CONNREFUSED, .err = error.CONNREFUSED, .text = "connection refused" },
    .{ .errno = .CONNRESET, .err = error.CONNRESET, .text = "connection reset" },
    .{ .errno = .USERS, .err = error.USERS, .text = "too many users" },
};

/// What an error means, in words.
pub fn text(err: anyerror) []const u8 {
    for (names) |n| if (n.err == err) return n.text;
    return "unexpected error";
}

/// An error as a process's exit status, and what such a status means.
pub fn numberOf(err: anyerror) u8 {
    for (names) |n| if (n.err == err) return @intCast(@backingInt(n.errno));
    return std.math.maxInt(u8);
}

pub fn textOf(number: u8) []const u8 {
    for (names) |n| if (@backingInt(n.errno) == number) return n.text;
    return "no";
}

/// Of a system call's result, the negative errno. Once, and not in every kind of call: its jump
/// table takes a kilobyte.
pub noinline fn of(result: usize) Error {
    const number = 0 -% result;
    for (names) |n| if (@backingInt(n.errno) == number) return n.err;
    return error.Unexpected;
}

test "errors have texts" {
    try std.testing.expectEqualStrings("permission denied", text(error.ACCES));
    const result = 0 -% @as(usize, @backingInt(linux.E.BADF));
    try std.testing.expectError(error.BADF, @as(Error!void, of(result)));
}
