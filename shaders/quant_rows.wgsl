// quant_rows: rows of a packed W, unpacked: the embedding lookup. Needs shared/quant_weights.wgsl.
//
// Shapes: W [N, K] packed in words, ids [T], out [T, K]. An id past the last row gives the last.
// Workgroup: 64 invocations, one for every four columns of a row.
// Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> params: array<u32>; // [kind, N, K, words before the scales, T]
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let groups_per_row = params[2] / 4u;
    let at = (group_id.y * group_count.x + group_id.x) * 64u + local;
    if at < params[4] * groups_per_row {
        let row = min(ids[at / groups_per_row], params[1] - 1u);
        out[at] = weights4(row * groups_per_row + at % groups_per_row);
    }
}
