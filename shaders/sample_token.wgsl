// sample_token: a token drawn from the best of some logits [V], the lower id first among equals: each as likely as
// exp(logit / temperature) says, of the fewest that together have the probability top_p. As `src/kernels/sampling.rs` draws.
//
// Workgroup: 256 invocations of one workgroup. A logit's place in the order is a number of eight digits, four of the logit and
// four of the id; the last of the best is found digit by digit, by counting.

@group(0) @binding(0) var<storage, read> logits: array<f32>;      // [V]
@group(0) @binding(1) var<storage, read> draw: array<u32>;        // [20]: top_k; temperature, top_p; a position; 16 numbers
@group(0) @binding(2) var<storage, read> offset: array<u32>;       // [1]: the position, whose number is used
@group(0) @binding(3) var<storage, read> params: array<u32>;      // [V]
@group(0) @binding(4) var<storage, read_write> found: array<u32>; // [6]: the token drawn, then as top2

const LANES = 256u;
const MOST = 64u;
const MAX_RUN_AHEAD = 16u;

var<workgroup> sh_counts: array<atomic<u32>, 256>; // logits by their next digit
var<workgroup> sh_sums: array<u32, 16>;            // of sixteen digits
var<workgroup> sh_digit: array<vec2<u32>, 1>;      // of the last of the best; how many are wanted of those that have it
var<workgroup> sh_bad: array<atomic<u32>, 1>;      // the first NaN
var<workgroup> sh_taken: array<atomic<u32>, 1>;
var<workgroup> sh_orders: array<vec2<u32>, 64>;    // of the best
var<workgroup> sh_best: array<vec2<u32>, 64>;      // the same, sorted
var<workgroup> sh_weights: array<f32, 64>;

// The order of logits and ids as that of whole numbers. A NaN is below all, and both zeros are equal.
fn order_of(id: u32) -> vec2<u32> {
    var bits = bitcast<u32>(logits[id]);
    if bits == 0x80000000u {
        bits = 0u;
    }
    let is_number = (bits & 0x7fffffffu) <= 0x7f800000u;
    let rising = select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
    return vec2<u32>(select(0u, rising, is_number), ~id);
}

fn is_after(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x > b.x || (a.x == b.x && a.y > b.y);
}

// One of the best.
fn logit_at(rank: u32) -> f32 {
    return logits[~sh_best[rank].y];
}

// The digit that the last of `wanted` logits has, of those counted, and how many are wanted of those that have it.
fn find_digit(wanted: u32) -> vec2<u32> {
    var left = wanted;
    var group = 15u;
    while left > sh_sums[group] {
        left -= sh_sums[group];
        group -= 1u;
    }
    var digit = 16u * group + 15u;
    while left > atomicLoad(&sh_counts[digit]) {
        left -= atomicLoad(&sh_counts[digit]);
        digit -= 1u;
    }
    return vec2<u32>(digit, left);
}

// The order of the last of the `k` best, or one between it and the next.
fn find_last(local: u32, k: u32) -> vec2<u32> {
    var last = vec2<u32>(0u);
    var known = vec2<u32>(0u); // bits
    var left = k;
    for (var step = 0u; step < 8u; step++) {
        let shift = 24u - 8u * (step % 4u);
        let is_logit = step < 4u;
        atomicStore(&sh_counts[local], 0u);
        workgroupBarrier();
        for (var id = local; id < params[0]; id += LANES) {
            let order = order_of(id);
            if all((order & known) == last) {
                atomicAdd(&sh_counts[(select(order.y, order.x, is_logit) >> shift) & 255u], 1u);
            }
        }
        workgroupBarrier();
        if local < 16u {
            var sum = 0u;
            for (var i = 0u; i < 16u; i++) {
                sum += atomicLoad(&sh_counts[16u * local + i]);
            }
            sh_sums[local] = sum;
        }
        workgroupBarrier();
        if local == 0u {
            let found = find_digit(left);
            let is_all = found.y == atomicLoad(&sh_counts[found.x]);
            sh_digit[0] = vec2<u32>(found.x, select(found.y, 0u, is_all));
        }
        let digit = workgroupUniformLoad(&sh_digit[0]);
        let word = select(vec2<u32>(0u, 1u), vec2<u32>(1u, 0u), is_logit);
        last |= word * (digit.x << shift);
        known |= word * (255u << shift);
        left = digit.y;
        if left == 0u {
            break;
        }
    }
    return last;
}

// The `k` best in their order; k >= 1.
fn sort_best(local: u32, last: vec2<u32>, k: u32) {
    for (var id = local; id < params[0]; id += LANES) {
        let order = order_of(id);
        if order.x == 0u {
            atomicMin(&sh_bad[0], id);
        }
        if !is_after(last, order) {
            sh_orders[atomicAdd(&sh_taken[0], 1u)] = order;
        }
    }
    workgroupBarrier();
    if local < k {
        var rank = 0u;
        for (var i = 0u; i < k; i++) {
            rank += u32(is_after(sh_orders[i], sh_orders[local]));
        }
        sh_best[rank] = sh_orders[local];
    }
    workgroupBarrier();
}

// Which of the `count` best.
fn draw_rank(count: u32) -> u32 {
    var sum = 0.0;
    for (var i = 0u; i < count; i++) {
        sum += sh_weights[i];
    }
    let enough = bitcast<f32>(draw[2]) * sum;
    var kept = 0u;
    sum = sh_weights[0];
    while sum < enough && kept + 1u < count {
        kept += 1u;
        sum += sh_weights[kept];
    }
    let drawn = bitcast<f32>(draw[4u + (offset[0] - draw[3]) % MAX_RUN_AHEAD]) * sum;
    var rank = 0u;
    sum = sh_weights[0];
    while sum <= drawn && rank < kept {
        rank += 1u;
        sum += sh_weights[rank];
    }
    return rank;
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) local: u32) {
    let v = params[0];
    let count = clamp(draw[0], 1u, min(MOST, v));
    let k = min(max(count, 2u), v);
    if local == 0u {
        atomicStore(&sh_bad[0], v);
        atomicStore(&sh_taken[0], 0u);
    }
    let last = find_last(local, k);
    sort_best(local, last, k);
    if local < count {
        // The best by themselves, as two infinities have no difference.
        let is_best = sh_best[local].x == sh_best[0].x;
        sh_weights[local] = select(exp((logit_at(local) - logit_at(0u)) / bitcast<f32>(draw[1])), 1.0, is_best);
    }
    workgroupBarrier();
    if local == 0u {
        found[0] = ~sh_best[draw_rank(count)].y;
        for (var i = 0u; i < 2u; i++) {
            found[1u + 2u * i] = v;
            found[2u + 2u * i] = 0u;
            if i < k && sh_best[i].x > 0u {
                found[1u + 2u * i] = ~sh_best[i].y;
                found[2u + 2u * i] = bitcast<u32>(logit_at(i));
            }
        }
        found[5] = atomicLoad(&sh_bad[0]);
    }
}
