// append_keys: turns the keys of new positions and writes them, and the values, behind those of a cache.
//
// Shapes: k, v [T, KV, D], keys, values [KV, capacity, D]. A row of rotation [T, D] has the cosines of the D / 2 pairs, then
// their sines; a pair is (i, i + D / 2).
// Workgroup: 64 pairs. Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> k: array<f32>;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read> rotation: array<f32>;
@group(0) @binding(3) var<storage, read> params: array<u32>; // [T, KV, D, capacity, position of the first]
@group(0) @binding(4) var<storage, read_write> keys: array<f32>;
@group(0) @binding(5) var<storage, read_write> values: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let heads = params[1];
    let head_dim = params[2];
    let half = head_dim / 2u;
    let at = (group.y * groups.x + group.x) * 64u + local;
    if at >= params[0] * heads * half {
        return;
    }
    let pair = at % half;
    let head = at / half % heads;
    let token = at / (half * heads);
    let source = (token * heads + head) * head_dim + pair;
    let place = (head * params[3] + params[4] + token) * head_dim + pair;
    let cosine = rotation[token * head_dim + pair];
    let sine = rotation[token * head_dim + half + pair];
    keys[place] = k[source] * cosine - k[source + half] * sine;
    keys[place + half] = k[source + half] * cosine + k[source] * sine;
    values[place] = v[source];
    values[place + half] = v[source + half];
}
