// causal_attention: each new position looks at all positions of the cache up to itself; several query heads share a head of
// keys and values. One pass: scores are never stored, sums are corrected whenever a larger score comes.
//
// Shapes: heads and rotation as in append_kv, keys, values [KV, capacity, D], y [T, H, D]. D is a multiple of 4, at most 256.
// A single new position puts its own key and value into the cache; those of several are there already (append_kv).
// Workgroup: 64 invocations share a head of a position, or one of the spans that its positions are divided into: then y
// [T, H, spans, D + 4] has the sums, the largest score and the sum of the powers, for reduce_attention. Keys go by in tiles of
// 64, one to an invocation. Values are added up by D / 4 invocations side by side, and as many such teams as there is room
// for, each for its share of the tile.
// Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> heads: array<f32>;
@group(0) @binding(1) var<storage, read> rotation: array<f32>;
@group(0) @binding(2) var<storage, read> offset: array<u32>; // [1]: position of the first
// [T, H, KV, D, capacity, 1 / sqrt(D) as bits, spans, positions of a span]
@group(0) @binding(3) var<storage, read> params: array<u32>;
@group(0) @binding(4) var<storage, read_write> keys: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> values: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

const TILE: u32 = 64u;
const LOWEST: f32 = -1.0e30;

var<workgroup> sh_q: array<vec4<f32>, 64>;    // [D / 4]
var<workgroup> sh_key: array<vec4<f32>, 64>;  // of the one new position
var<workgroup> sh_tile: array<f32, 64>;       // scores of a tile, then their powers
var<workgroup> sh_sums: array<vec4<f32>, 64>; // of the teams

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let head_dim = params[3];
    let spans = params[6];
    let row = (group.y * groups.x + group.x) / spans;
    let span = (group.y * groups.x + group.x) % spans;
    if row >= params[0] * params[1] {
        return;
    }
    let token = row / params[1];
    let head = row % params[1];
    let queries = params[1] / params[2]; // that share a head of keys
    let parts = head_dim / 4u;
    let seen = min(offset[0] + token + 1u, params[4]);
    let first_key = head / queries * params[4] * parts;
    // Where the heads of this position begin, and its own key and value.
    let of_token = token * (params[1] + 2u * params[2]);
    let own_key = (of_token + params[1] + head / queries) * head_dim;
    let own_value = own_key + params[2] * head_dim;
    let is_alone = params[0] == 1u;

    if local < parts {
        sh_q[local] = turned((of_token + head) * head_dim, seen - 1u, local, head_dim) * bitcast<f32>(params[5]);
        if is_alone {
            sh_key[local] = turned(own_key, seen - 1u, local, head_dim);
            // Nobody reads this place of the cache in this launch, and one head of those that share it writes it.
            if span == 0u && head % queries == 0u {
                keys[first_key + (seen - 1u) * parts + local] = sh_key[local];
                values[first_key + (seen - 1u) * parts + local] = part_of(own_value, local);
            }
        }
    }
    workgroupBarrier();

    let teams = TILE / parts;
    let team = local / parts;
    let part = local % parts;
    let end = min(seen, (span + 1u) * params[7]);
    var largest = LOWEST;
    var powers = 0.0;
    var sums = vec4<f32>(0.0);
    for (var first = span * params[7]; first < end; first += TILE) {
        var score = LOWEST;
        let position = first + local;
        if is_alone && position == seen - 1u {
            score = 0.0;
            for (var i = 0u; i < parts; i++) {
                score += dot(sh_q[i], sh_key[i]);
            }
        } else if position < end {
            score = 0.0;
            let key = first_key + position * parts;
            for (var i = 0u; i < parts; i++) {
                score += dot(sh_q[i], keys[key + i]);
            }
        }
        sh_tile[local] = score;
        workgroupBarrier();
        var tile_largest = largest;
        for (var i = 0u; i < TILE; i++) {
            tile_largest = max(tile_largest, sh_tile[i]);
        }
        workgroupBarrier();
        let correction = exp(largest - tile_largest);
        largest = tile_largest;
        let power = exp(score - largest);
        powers = powers * correction + power;
        sums *= correction;
        sh_tile[local] = power;
        workgroupBarrier();
        if team < teams {
            for (var i = team; i < min(TILE, end - first); i += teams) {
                if is_alone && first + i == seen - 1u {
                    sums += sh_tile[i] * part_of(own_value, part);
                } else {
                    sums += sh_tile[i] * values[first_key + (first + i) * parts + part];
                }
            }
        }
        workgroupBarrier();
    }

    sh_tile[local] = powers;
    sh_sums[local] = sums;
    workgroupBarrier();
    var all_powers = 0.0;
    for (var i = 0u; i < TILE; i++) {
        all_powers += sh_tile[i];
    }
    let to = (row * spans + span) * select(parts + 1u, parts, spans == 1u);
    if local < parts {
        var all = vec4<f32>(0.0);
        for (var i = 0u; i < teams; i++) {
            all += sh_sums[i * parts + local];
        }
        y[to + local] = select(all, all / all_powers, spans == 1u);
    }
    if local == 0u && spans > 1u {
        y[to + parts] = vec4<f32>(largest, all_powers, 0.0, 0.0);
    }
}

fn part_of(first: u32, part: u32) -> vec4<f32> {
    let at = first + 4u * part;
    return vec4<f32>(heads[at], heads[at + 1u], heads[at + 2u], heads[at + 3u]);
}

// Four numbers of the head that begins at `first`, turned to a position.
fn turned(first: u32, position: u32, part: u32, head_dim: u32) -> vec4<f32> {
    let half = head_dim / 2u;
    var result = vec4<f32>(0.0);
    for (var i = 0u; i < 4u; i++) {
        let at = 4u * part + i;
        let pair = at % half;
        let cosine = rotation[position * head_dim + pair];
        let sine = rotation[position * head_dim + half + pair];
        let a = heads[first + pair];
        let b = heads[first + half + pair];
        result[i] = select(b * cosine + a * sine, a * cosine - b * sine, at < half);
    }
    return result;
}
