//! Threads in many ways, all with a result that does not depend on who runs when.
//!
//!     guests pipeline|barrier|sort|park|count|churn|grow|sleep SIZE [THREADS]
//!
//! Each prints what came of it, and fails (a trap) where something is not as it must be.

const std = @import("std");
const wasi = std.os.wasi;
const Thread = std.Thread;
const Io = std.Io;

pub const panic = std.debug.no_panic; // the usual one wants an allocator that there is not

const io = Io.Threaded.global_single_threaded.io();

// -- memory: one slot for each thread that lives -----------------------------------------------

const slots = 40;
const slot_size = 6 * 65536;
var memory: [slots][slot_size]u8 align(65536) = undefined;
var taken: [slots]std.atomic.Value(u32) = @splat(.init(0));

fn alloc(_: *anyopaque, len: usize, _: std.mem.Alignment, _: usize) ?[*]u8 {
    if (len > slot_size) return null;
    for (&taken, 0..) |*t, i| {
        if (t.cmpxchgStrong(0, 1, .seq_cst, .seq_cst) == null) return &memory[i];
    }
    return null;
}

fn free(_: *anyopaque, buffer: []u8, _: std.mem.Alignment, _: usize) void {
    const i = (@intFromPtr(buffer.ptr) - @intFromPtr(&memory)) / slot_size;
    taken[i].store(0, .seq_cst);
}

var nothing: u8 = 0;
const allocator: std.mem.Allocator = .{ .ptr = &nothing, .vtable = &.{
    .alloc = alloc,
    .resize = std.mem.Allocator.noResize,
    .remap = std.mem.Allocator.noRemap,
    .free = free,
} };
const config: Thread.SpawnConfig = .{ .stack_size = 65536, .allocator = allocator };

// -- threads, by number --------------------------------------------------------------------------

/// Zig's own join waits for ever if a thread ended before its creator had noted its number, and its
/// wait may be optimised into a loop: a thread waits at `go` for the first, we at `done` for the second.
const Task = struct {
    go: std.atomic.Value(u32) = .init(0),
    done: std.atomic.Value(u32) = .init(0),
    thread: Thread = undefined,
};
var tasks: [16]Task = @splat(.{});

fn wait(word: *std.atomic.Value(u32)) void {
    while (word.load(.seq_cst) == 0) io.futexWaitUncancelable(u32, &word.raw, 0);
}

fn set(word: *std.atomic.Value(u32)) void {
    word.store(1, .seq_cst);
    io.futexWake(u32, &word.raw, std.math.maxInt(u32));
}

fn start(i: usize, comptime f: anytype, arguments: anytype) void {
    const Body = struct {
        fn run(k: usize, values: @TypeOf(arguments)) void {
            wait(&tasks[k].go);
            @call(.auto, f, values);
            set(&tasks[k].done);
        }
    };
    tasks[i] = .{};
    tasks[i].thread = Thread.spawn(config, Body.run, .{ i, arguments }) catch unreachable;
    set(&tasks[i].go);
}

fn join(i: usize) void {
    wait(&tasks[i].done);
    tasks[i].thread.join();
}

fn joinAll(n: usize) void {
    for (0..n) |i| join(i);
}

// -- output, arguments -------------------------------------------------------------------------

fn print(comptime format: []const u8, values: anytype) void {
    var buffer: [256]u8 = undefined;
    const text = std.fmt.bufPrint(&buffer, format, values) catch unreachable;
    var written: usize = 0;
    const iovec = [_]wasi.ciovec_t{.{ .base = text.ptr, .len = text.len }};
    _ = wasi.fd_write(1, &iovec, 1, &written);
}

fn check(ok: bool) void {
    if (!ok) @trap();
}

fn mix(state: u64) u64 {
    var x = state +% 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) *% 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) *% 0x94D049BB133111EB;
    return x ^ (x >> 31);
}

// -- producers and consumers: a ring, a mutex, two conditions ------------------------------------

const Ring = struct {
    mutex: Io.Mutex = .init,
    filled: Io.Condition = .init,
    emptied: Io.Condition = .init,
    items: [16]u64 = undefined,
    head: usize = 0,
    count: usize = 0,

    fn put(r: *Ring, item: u64) void {
        r.mutex.lockUncancelable(io);
        while (r.count == r.items.len) r.emptied.waitUncancelable(io, &r.mutex);
        r.items[(r.head + r.count) % r.items.len] = item;
        r.count += 1;
        r.mutex.unlock(io);
        r.filled.signal(io);
    }

    fn take(r: *Ring) u64 {
        r.mutex.lockUncancelable(io);
        while (r.count == 0) r.filled.waitUncancelable(io, &r.mutex);
        const item = r.items[r.head];
        r.head = (r.head + 1) % r.items.len;
        r.count -= 1;
        r.mutex.unlock(io);
        r.emptied.signal(io);
        return item;
    }
};

var ring: Ring = .{};
var total: std.atomic.Value(u32) = .init(0);
var received: std.atomic.Value(u32) = .init(0);
const last: u64 = std.math.maxInt(u64);

fn produce(first: u64, size: u64) void {
    for (0..@intCast(size)) |i| ring.put(mix(first + i) >> 1);
}

fn consume() void {
    while (true) {
        const item = ring.take();
        if (item == last) return;
        _ = total.fetchAdd(@truncate(mix(item)), .seq_cst);
        _ = received.fetchAdd(1, .seq_cst);
    }
}

fn pipeline(size: u64, n: u32) void {
    for (0..n) |i| {
        start(i, produce, .{ i * size, size });
        start(8 + i, consume, .{});
    }
    joinAll(n);
    for (0..n) |_| ring.put(last);
    for (0..n) |i| join(8 + i);
    check(received.load(.seq_cst) == size * n);
    print("pipeline {} {x}\n", .{ received.load(.seq_cst), total.load(.seq_cst) });
}

// -- a barrier: rounds in which each reads what all wrote in the round before ----------------------

const Barrier = struct {
    mutex: Io.Mutex = .init,
    condition: Io.Condition = .init,
    waiting: u32 = 0,
    round: u32 = 0,

    fn wait(b: *Barrier, n: u32) void {
        b.mutex.lockUncancelable(io);
        defer b.mutex.unlock(io);
        const round = b.round;
        b.waiting += 1;
        if (b.waiting == n) {
            b.waiting = 0;
            b.round += 1;
            b.condition.broadcast(io);
            return;
        }
        while (b.round == round) b.condition.waitUncancelable(io, &b.mutex);
    }
};

var rounds: Barrier = .{};
var cells: [2][16]u64 = undefined;

fn cell(i: u32, size: u64, n: u32) void {
    cells[0][i] = mix(i);
    for (0..@intCast(size)) |round| {
        rounds.wait(n);
        var sum: u64 = 0;
        for (cells[round % 2][0..n]) |c| sum = sum *% 31 +% c;
        cells[(round + 1) % 2][i] = mix(sum +% i);
    }
}

fn barrier(size: u64, n: u32) void {
    for (0..n) |i| start(i, cell, .{ @as(u32, @intCast(i)), size, n });
    joinAll(n);
    check(rounds.round == size);
    var sum: u64 = 0;
    for (cells[@intCast(size % 2)][0..n]) |c| sum = sum *% 31 +% c;
    print("barrier {} {x}\n", .{ rounds.round, sum });
}

// -- a pool of threads that sorts: jobs in a queue, merged in order --------------------------------

const piece = 512;
var numbers: [1 << 17]u32 = undefined;
var scratch: [1 << 17]u32 = undefined;
var next_piece: std.atomic.Value(usize) = .init(0);

fn sortPieces(pieces: usize) void {
    while (true) {
        const i = next_piece.fetchAdd(1, .seq_cst);
        if (i >= pieces) return;
        const part = numbers[i * piece ..][0..piece];
        var k: usize = 1; // insertion sort: loops without calls
        while (k < part.len) : (k += 1) {
            const value = part[k];
            var j = k;
            while (j > 0 and part[j - 1] > value) : (j -= 1) part[j] = part[j - 1];
            part[j] = value;
        }
    }
}

fn mergePairs(width: usize, length: usize) void {
    while (true) {
        const at = next_piece.fetchAdd(2 * width, .seq_cst);
        if (at >= length) return;
        const middle = @min(at + width, length);
        const end = @min(at + 2 * width, length);
        var a = at;
        var b = middle;
        for (at..end) |k| {
            if (b >= end or (a < middle and numbers[a] <= numbers[b])) {
                scratch[k] = numbers[a];
                a += 1;
            } else {
                scratch[k] = numbers[b];
                b += 1;
            }
        }
        @memcpy(numbers[at..end], scratch[at..end]);
    }
}

fn sort(size: u64, n: u32) void {
    const pieces: usize = @intCast(@min(size, numbers.len / piece));
    const length = pieces * piece;
    for (numbers[0..length], 0..) |*x, i| x.* = @truncate(mix(i));
    for (0..n) |i| start(i, sortPieces, .{pieces});
    joinAll(n);
    var width: usize = piece;
    while (width < length) : (width *= 2) {
        next_piece.store(0, .seq_cst);
        for (0..n) |i| start(i, mergePairs, .{ width, length });
        joinAll(n);
    }
    var digest: u64 = 0;
    for (numbers[0..length], 0..) |x, i| {
        if (i > 0) check(numbers[i - 1] <= x);
        digest = digest *% 31 +% x;
    }
    print("sort {} {x}\n", .{ length, digest });
}

// -- threads that park: a token goes round, each waits at a word of its own --------------------------

var tokens: [16]std.atomic.Value(u32) = @splat(.init(0));
var laps: std.atomic.Value(u32) = .init(0);

fn passOn(i: u32, size: u64, n: u32) void {
    for (0..@intCast(size)) |_| {
        while (tokens[i].load(.seq_cst) == 0) io.futexWaitUncancelable(u32, &tokens[i].raw, 0);
        tokens[i].store(0, .seq_cst);
        const seen = laps.load(.seq_cst); // only who has the token
        laps.store(@truncate(mix(seen +% i)), .seq_cst);
        const following = (i + 1) % n;
        tokens[following].store(1, .seq_cst);
        io.futexWake(u32, &tokens[following].raw, 1);
    }
}

fn park(size: u64, n: u32) void {
    for (0..n) |i| start(i, passOn, .{ @as(u32, @intCast(i)), size, n });
    tokens[0].store(1, .seq_cst);
    io.futexWake(u32, &tokens[0].raw, 1);
    joinAll(n);
    print("park {x}\n", .{laps.load(.seq_cst)});
}

// -- counters: atomic, under a mutex, and of each thread's own --------------------------------------

var counter: std.atomic.Value(u32) = .init(0);
var guarded: u64 = 0;
var guard: Io.Mutex = .init;
threadlocal var own: u64 = 0;

fn addUp(size: u64) void {
    for (0..@intCast(size)) |i| {
        _ = counter.fetchAdd(@truncate(mix(i)), .seq_cst);
        own += 1;
        if (i % 8 == 0) {
            guard.lockUncancelable(io);
            guarded += 1;
            guard.unlock(io);
        }
    }
    check(own == size);
}

fn count(size: u64, n: u32) void {
    for (0..n) |i| start(i, addUp, .{size});
    joinAll(n);
    check(own == 0);
    print("count {x} {}\n", .{ counter.load(.seq_cst), guarded });
}

// -- many threads, one after the other, a few at a time ---------------------------------------------

fn short(i: u64) void {
    var x = i;
    for (0..200) |_| x = mix(x);
    _ = total.fetchAdd(@truncate(x), .seq_cst);
}

fn churn(size: u64, n: u32) void {
    var i: u64 = 0;
    while (i < size) : (i += n) {
        for (0..n) |k| start(k, short, .{i + k});
        joinAll(n);
    }
    print("churn {} {x}\n", .{ i, total.load(.seq_cst) });
}

// -- threads that grow the memory, and write to what is new -----------------------------------------

fn growAndUse(size: u64) void {
    for (0..@intCast(size)) |i| {
        const page = @wasmMemoryGrow(0, 1);
        check(page > 0);
        const words: [*]u64 = @ptrFromInt(@as(usize, @intCast(page)) * 65536);
        for (0..65536 / 8) |k| check(words[k] == 0);
        for (0..65536 / 8) |k| words[k] = mix(i + k);
        var sum: u64 = 0;
        for (0..65536 / 8) |k| sum +%= words[k];
        _ = total.fetchAdd(@truncate(sum), .seq_cst);
    }
}

fn grow(size: u64, n: u32) void {
    const before = @wasmMemorySize(0);
    for (0..n) |i| start(i, growAndUse, .{size});
    joinAll(n);
    print("grow {} {x}\n", .{ @wasmMemorySize(0) - before, total.load(.seq_cst) });
}

// -- waits that time out, and sleeps ------------------------------------------------------------------

var never: u32 = 0;

fn rest(size: u64) void {
    for (0..@intCast(size)) |_| {
        const before = now();
        const result = asm volatile (
            \\local.get %[ptr]
            \\i32.const 0
            \\local.get %[timeout]
            \\memory.atomic.wait32 0
            \\local.set %[ret]
            : [ret] "=r" (-> u32),
            : [ptr] "r" (&never),
              [timeout] "r" (@as(i64, 3_000_000)),
        );
        check(result == 2);
        check(now() - before >= 3_000_000);
        _ = total.fetchAdd(1, .seq_cst);
    }
}

fn now() u64 {
    var time: u64 = 0;
    _ = wasi.clock_time_get(.MONOTONIC, 1, &time);
    return time;
}

fn sleep(size: u64, n: u32) void {
    for (0..n) |i| start(i, rest, .{size});
    joinAll(n);
    print("sleep {}\n", .{total.load(.seq_cst)});
}

// -- two halves of a computation, in one thread or two (bench) ---------------------------------------

fn half(first: u64, size: u64) void {
    var x = first;
    for (0..@intCast(size)) |_| x = mix(x);
    _ = total.fetchAdd(@truncate(x), .seq_cst);
}

fn halves(size: u64, n: u32) void {
    if (n == 2) {
        start(0, half, .{ 1, size });
        half(2, size);
        join(0);
    } else {
        half(1, size);
        half(2, size);
    }
    print("halves {x}\n", .{total.load(.seq_cst)});
}

const all = .{
    .{ "pipeline", pipeline }, .{ "barrier", barrier }, .{ "sort", sort },
    .{ "park", park },         .{ "count", count },     .{ "churn", churn },
    .{ "grow", grow },         .{ "sleep", sleep },     .{ "halves", halves },
};

pub fn main() void {
    var argc: usize = 0;
    var bytes: usize = 0;
    _ = wasi.args_sizes_get(&argc, &bytes);
    var pointers: [8][*:0]u8 = undefined;
    var buffer: [256]u8 = undefined;
    check(argc >= 3 and argc <= 8 and bytes <= buffer.len);
    _ = wasi.args_get(&pointers, &buffer);
    const size = std.fmt.parseInt(u64, std.mem.span(pointers[2]), 10) catch unreachable;
    const n = if (argc > 3) std.fmt.parseInt(u32, std.mem.span(pointers[3]), 10) catch unreachable else 4;
    check(n <= 16);
    const name = std.mem.span(pointers[1]);
    inline for (all) |kind| {
        if (std.mem.eql(u8, kind[0], name)) return kind[1](size, n);
    }
    @trap();
}
