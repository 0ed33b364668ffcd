//! Public Ed25519 keys as words of base64: OpenSSH's, minisign's, and the body of a PEM file. Each
//! is a few fixed bytes and the key's 32.
const std = @import("std");
const Key = @import("signed_block.zig").Key;

const ssh = "\x00\x00\x00\x0bssh-ed25519\x00\x00\x00 ";
/// RFC 8410.
const pem = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// The algorithm; eight bytes of a key id follow.
const minisign = "Ed";
const decoded_max = ssh.len + 32;
const encoded_max = (decoded_max + 2) / 3 * 4;

/// With OpenSSH's word in front, and a comment behind it, or without.
pub fn parse(text: []const u8) error{Key}!Key {
    var words = std.mem.tokenizeAny(u8, text, " \t");
    var word = words.next() orelse return error.Key;
    if (std.mem.eql(u8, word, "ssh-ed25519"))
        word = words.next() orelse return error.Key
    else if (words.next() != null) return error.Key;
    return decode(word);
}

fn decode(word: []const u8) error{Key}!Key {
    if (word.len > encoded_max) return error.Key;
    const decoder = std.base64.standard.Decoder;
    const len = decoder.calcSizeForSlice(word) catch return error.Key;
    var buf: [decoded_max + 2]u8 = undefined;
    const data = buf[0..len];
    decoder.decode(data, word) catch return error.Key;
    for ([_][]const u8{ ssh, pem, minisign }, [_]usize{ ssh.len, pem.len, 10 }) |start, at|
        if (len == at + 32 and std.mem.startsWith(u8, data, start)) return data[at..][0..32].*;
    return error.Key;
}

test "three forms of one key" {
    const key: Key = @splat(0xa5);
    var word: [encoded_max]u8 = undefined;
    const encoder = std.base64.standard.Encoder;
    for ([_][]const u8{ ssh, pem, "Ed\x01\x02\x03\x04\x05\x06\x07\x08" }) |start| {
        var data: [decoded_max]u8 = undefined;
        @memcpy(data[0..start.len], start);
        @memcpy(data[start.len..][0..32], &key);
        const encoded = encoder.encode(&word, data[0 .. start.len + 32]);
        try std.testing.expectEqual(key, try parse(encoded));
        try std.testing.expectError(error.Key, parse(encoded[1..]));
        var text: [120]u8 = undefined;
        const line = try std.fmt.bufPrint(&text, "ssh-ed25519 {s} a b", .{encoded});
        try std.testing.expectEqual(key, try parse(line));
    }
    const wrong = [_][]const u8{
        "",
        "ssh-ed25519",
        "A",
        "====",
        "RWQ*",
        "RWQBAgMEBQYHCKWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWl x",
        "A" ++ "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    };
    for (wrong) |text| try std.testing.expectError(error.Key, parse(text));
}
