//! -p and -P: ports of the program, and those of the machine that they are published on, in
//! docker's syntax: [IP:][HOST:]PORT[/tcp|/udp], with ranges.
const std = @import("std");
const config = @import("spec.zig");
const json = @import("json.zig");
const log = @import("../base/log.zig");
const quantity = @import("../cli/quantity.zig");
const Ip = @import("../base/ip.zig").Ip;
const Options = @import("../cli/options.zig").Options;

pub const Protocol = enum(u8) {
    tcp,
    udp,

    pub fn name(self: Protocol) []const u8 {
        return @tagName(self);
    }
};

pub const Port = struct {
    protocol: Protocol,
    /// The program's.
    inside: u16,
    /// The machine's: one of these; 0 and 0 for any that is free.
    first: u16,
    last: u16,
    /// The machine's address; null for all.
    ip: ?Ip,
    /// The same as text, without brackets; empty for all.
    address: []const u8,
    /// As it was given.
    text: []const u8,
};

/// For each of them the runtime may hold a port of the machine, an open file. In docs/limits.md.
pub const ports_max = 256;

const Range = struct { first: u16, last: u16 };

const Given = struct {
    protocol: Protocol,
    inside: Range,
    outside: Range,
    ip: ?Ip,
    address: []const u8,
};

const Parsed = union(enum) { given: Given, wrong: []const u8 };

fn parse(word: []const u8) Parsed {
    const range_of = "a port is a number from 1 to 65535, or a range of such numbers (8000-8005)";
    const addresses, const kind = std.mem.cutScalar(u8, word, '/') orelse .{ word, "tcp" };
    const protocol: Protocol = if (std.ascii.eqlIgnoreCase(kind, "tcp"))
        .tcp
    else if (std.ascii.eqlIgnoreCase(kind, "udp"))
        .udp
    else
        return .{ .wrong = "the protocol is tcp or udp" };
    const before, const program = cutLast(addresses) orelse .{ "", addresses };
    const address, const machine = cutLast(before) orelse .{ "", before };
    const inside = range(program) orelse return .{ .wrong = range_of };
    if (inside.first == 0) return .{ .wrong = range_of };
    // Any that are free.
    var outside: Range = .{ .first = 0, .last = 0 };
    if (machine.len > 0) outside = range(machine) orelse return .{ .wrong = range_of };
    const count = inside.last - inside.first;
    const fits = outside.last - outside.first == count or count == 0;
    if (outside.last != 0 and (outside.first == 0 or !fits))
        return .{ .wrong = "the ranges of the machine and of the program are of different sizes" };
    const ip = parseIp(address) catch
        return .{ .wrong = "the address is no IPv4 address, nor an IPv6 address in brackets" };
    return .{ .given = .{
        .protocol = protocol,
        .inside = inside,
        .outside = outside,
        .ip = ip,
        .address = if (ip == null) "" else std.mem.trim(u8, address, "[]"),
    } };
}

/// At the last colon.
fn cutLast(word: []const u8) ?struct { []const u8, []const u8 } {
    const at = std.mem.findScalarLast(u8, word, ':') orelse return null;
    return .{ word[0..at], word[at + 1 ..] };
}

/// All addresses of both families are none in particular.
fn parseIp(word: []const u8) error{Ip}!?Ip {
    if (word.len == 0) return null;
    const bracketed = word[0] == '[';
    if (bracketed and word[word.len - 1] != ']') return error.Ip;
    const ip = Ip.parse(if (bracketed) word[1 .. word.len - 1] else word) orelse return error.Ip;
    // As docker: without brackets, a part of the address could be taken for a port.
    if (bracketed != (std.mem.findScalar(u8, word, ':') != null)) return error.Ip;
    return if (ip.to4() == null and ip.isAny()) null else ip;
}

fn range(word: []const u8) ?Range {
    const first, const last = std.mem.cutScalar(u8, word, '-') orelse .{ word, word };
    const found: Range = .{
        .first = quantity.number(u16, first) orelse return null,
        .last = quantity.number(u16, last) orelse return null,
    };
    return if (found.first <= found.last) found else null;
}

/// Of all options, those given at build and the caller's: the last counts for a port.
pub const List = struct {
    arena: std.mem.Allocator,
    ports: std.ArrayList(Port) = .empty,

    pub fn of(
        arena: std.mem.Allocator,
        spec: *const config.Spec,
        options: *const Options,
    ) ![]const Port {
        var self: List = .{ .arena = arena };
        for (try options.all(arena, .publish)) |word| switch (parse(word)) {
            .given => |given| try self.add(given, word),
            .wrong => |why| log.die("--publish {s}: {s}", .{ word, why }),
        };
        if (!options.has(.publish_all)) return self.ports.items;
        for (try options.all(arena, .expose)) |word| if (!try self.addExposed(word))
            log.die("--expose {s}: write PORT or PORT/udp", .{word});
        const exposed = spec.annotation("org.opencontainers.image.exposedPorts") orelse "";
        var words = std.mem.tokenizeScalar(u8, exposed, ',');
        while (words.next()) |word| if (!try self.addExposed(word))
            log.note("the image's port {s} is not published: neither TCP nor UDP", .{word});
        if (self.ports.items.len == 0) log.note("--publish-all: the image exposes no ports", .{});
        return self.ports.items;
    }

    fn add(self: *List, given: Given, word: []const u8) !void {
        const one_of = given.inside.first == given.inside.last;
        for (given.inside.first..@as(usize, given.inside.last) + 1) |number| {
            const inside: u16 = @intCast(number);
            const chosen = if (given.outside.first == 0)
                0
            else
                given.outside.first + (inside - given.inside.first);
            const port: Port = .{
                .protocol = given.protocol,
                .inside = inside,
                .first = chosen,
                .last = if (one_of) given.outside.last else chosen,
                .ip = given.ip,
                .address = given.address,
                .text = word,
            };
            if (self.find(port.protocol, inside)) |other| {
                if (!std.mem.eql(u8, other.text, word)) log.note("--publish {s} replaces {s}: a " ++
                    "port of the program is one port of the machine", .{ word, other.text });
                other.* = port;
                continue;
            }
            if (self.ports.items.len == ports_max)
                log.die("--publish {s}: at most {d} ports can be published", .{
                    word,
                    @as(u32, ports_max),
                });
            try self.ports.append(self.arena, port);
        }
    }

    /// False for what is no port.
    fn addExposed(self: *List, word: []const u8) !bool {
        const exposed = switch (parse(word)) {
            .given => |given| given,
            .wrong => return false,
        };
        if (std.mem.findScalar(u8, word, ':') != null) return false;
        for (exposed.inside.first..@as(usize, exposed.inside.last) + 1) |number| {
            const inside: u16 = @intCast(number);
            if (self.find(exposed.protocol, inside) != null) continue;
            var one = exposed;
            one.inside = .{ .first = inside, .last = inside };
            try self.add(one, word);
        }
        return true;
    }

    fn find(self: *List, protocol: Protocol, inside: u16) ?*Port {
        for (self.ports.items) |*port|
            if (port.protocol == protocol and port.inside == inside) return port;
        return null;
    }
};

test "ports, as the builder has them" {
    var arena_state = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena_state.deinit();
    const cases = try json.parse(arena_state.allocator(), @import("build_options").ports);
    for (try cases.items()) |case| {
        const given = switch (parse(try case.get("text").?.text())) {
            .given => |given| given,
            .wrong => {
                try std.testing.expect(case.get("error") != null);
                continue;
            },
        };
        try std.testing.expect(case.get("error") == null);
        const protocol = try case.get("protocol").?.text();
        try std.testing.expectEqualStrings(protocol, given.protocol.name());
        const inside = try case.get("inside").?.decode([]const u16, arena_state.allocator());
        const outside = try case.get("outside").?.decode([]const u16, arena_state.allocator());
        try std.testing.expectEqual(Range{ .first = inside[0], .last = inside[1] }, given.inside);
        try std.testing.expectEqual(
            Range{ .first = outside[0], .last = outside[1] },
            given.outside,
        );
        const ip = case.get("ip");
        try std.testing.expectEqual(ip == null, given.ip == null);
        if (ip) |written| try std.testing.expectEqual(Ip.parse(try written.text()), given.ip);
    }
}
