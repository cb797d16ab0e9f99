// causal_attention: each new position looks at all positions of the cache up to itself; several query heads share a head of
// keys and values. One pass: scores are never stored, sums are corrected whenever a larger score comes.
//
// Shapes: q [T, heads, D] before its turn, rotation [T, D] as in append_keys, keys, values [KV, capacity, D],
// y [T, heads, D]. D is a multiple of 4, at most 256.
// Workgroup: 64 invocations share a head of a position. Keys go by in tiles of 64, one to an invocation. Values are added
// up by D / 4 invocations side by side, and as many such teams as there is room for, each for its share of the tile.
// Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> rotation: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> values: array<vec4<f32>>;
// [T, heads, KV, D, capacity, position of the first, 1 / sqrt(D) as bits]
@group(0) @binding(4) var<storage, read> params: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

const TILE: u32 = 64u;
const LOWEST: f32 = -1.0e30;

var<workgroup> sh_q: array<vec4<f32>, 64>;   // [D / 4]
var<workgroup> sh_tile: array<f32, 64>;      // scores of a tile, then their powers
var<workgroup> sh_sums: array<vec4<f32>, 64>; // of the teams

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let heads = params[1];
    let head_dim = params[3];
    let row = group.y * groups.x + group.x;
    if row >= params[0] * heads {
        return;
    }
    let token = row / heads;
    let parts = head_dim / 4u;
    let seen = params[5] + token + 1u;
    let first_key = (row % heads) / (heads / params[2]) * params[4] * parts;

    if local < parts {
        var turned = vec4<f32>(0.0);
        for (var i = 0u; i < 4u; i++) {
            turned[i] = turned_query(row, token, 4u * local + i, head_dim);
        }
        sh_q[local] = turned * bitcast<f32>(params[6]);
    }
    workgroupBarrier();

    let teams = TILE / parts;
    let team = local / parts;
    let part = local % parts;
    var largest = LOWEST;
    var powers = 0.0;
    var sums = vec4<f32>(0.0);
    for (var first = 0u; first < seen; first += TILE) {
        var score = LOWEST;
        if first + local < seen {
            score = 0.0;
            let key = first_key + (first + local) * parts;
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
            for (var i = team; i < min(TILE, seen - first); i += teams) {
                sums += sh_tile[i] * values[first_key + (first + i) * parts + part];
            }
        }
        workgroupBarrier();
    }

    sh_tile[local] = powers;
    sh_sums[local] = sums;
    workgroupBarrier();
    if local < parts {
        var all_powers = 0.0;
        for (var i = 0u; i < TILE; i++) {
            all_powers += sh_tile[i];
        }
        var all = vec4<f32>(0.0);
        for (var i = 0u; i < teams; i++) {
            all += sh_sums[i * parts + local];
        }
        y[row * parts + local] = all / all_powers;
    }
}

// One number of a query head, turned to its position.
fn turned_query(row: u32, token: u32, at: u32, head_dim: u32) -> f32 {
    let half = head_dim / 2u;
    let pair = at % half;
    let cosine = rotation[token * head_dim + pair];
    let sine = rotation[token * head_dim + half + pair];
    let first = q[row * head_dim + pair];
    let second = q[row * head_dim + half + pair];
    return select(second * cosine + first * sine, first * cosine - second * sine, at < half);
}
