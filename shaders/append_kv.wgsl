// append_kv: turns the keys of new positions and writes them, and the values, behind those of a cache.
//
// Shapes: a row of heads [T, (H + 2 KV) D] has the queries, the keys, then the values; keys, values [KV, capacity, D]. A row of
// rotation [positions, D] has the cosines of the D / 2 pairs, then their sines; a pair is (i, i + D / 2).
// Workgroup: 64 pairs. Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> heads: array<f32>;
@group(0) @binding(1) var<storage, read> rotation: array<f32>;
@group(0) @binding(2) var<storage, read> offset: array<u32>;  // [1]: position of the first
@group(0) @binding(3) var<storage, read> params: array<u32>; // [T, H, KV, D, capacity]
@group(0) @binding(4) var<storage, read_write> keys: array<f32>;
@group(0) @binding(5) var<storage, read_write> values: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let key_heads = params[2];
    let head_dim = params[3];
    let half = head_dim / 2u;
    let at = (group.y * groups.x + group.x) * 64u + local;
    if at >= params[0] * key_heads * half {
        return;
    }
    let pair = at % half;
    let head = at / half % key_heads;
    let token = at / (half * key_heads);
    let position = offset[0] + token;
    if position >= params[4] {
        return;
    }
    let k = (token * (params[1] + 2u * key_heads) + params[1] + head) * head_dim + pair;
    let v = k + key_heads * head_dim;
    let to = (head * params[4] + position) * head_dim + pair;
    let cosine = rotation[position * head_dim + pair];
    let sine = rotation[position * head_dim + half + pair];
    keys[to] = heads[k] * cosine - heads[k + half] * sine;
    keys[to + half] = heads[k + half] * cosine + heads[k] * sine;
    values[to] = heads[v];
    values[to + half] = heads[v + half];
}
