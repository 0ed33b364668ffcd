//! Ed25519 signatures (RFC 8032), checked by the standard library's code: compiled for size, and
//! linked as libzstd is, since with the stub's other code it would be three times as large.
const std = @import("std");
const Ed25519 = std.crypto.sign.Ed25519;

pub const panic = std.debug.no_panic;

/// Whether `value` is a signature of `key` over the bytes.
export fn dockerc_ed25519_verify(
    key: *const [32]u8,
    value: *const [64]u8,
    bytes: [*]const u8,
    len: usize,
) bool {
    const public = Ed25519.PublicKey.fromBytes(key.*) catch return false;
    Ed25519.Signature.fromBytes(value.*).verify(bytes[0..len], public) catch return false;
    return true;
}
