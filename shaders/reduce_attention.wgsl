// reduce_attention: what the spans of an attention found, as one: spans [R, S, D + 4] of causal_attention -> y [R, D].
//
// Workgroup: 64 invocations, four numbers of a row each. Rows past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> spans: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> params: array<u32>; // [R, S, D]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = group.y * groups.x + group.x;
    let parts = params[2] / 4u;
    if row >= params[0] || local >= parts {
        return;
    }
    let first = row * params[1] * (parts + 1u);
    var largest = spans[first + parts].x;
    for (var i = 1u; i < params[1]; i++) {
        largest = max(largest, spans[first + i * (parts + 1u) + parts].x);
    }
    var powers = 0.0;
    var sums = vec4<f32>(0.0);
    for (var i = 0u; i < params[1]; i++) {
        let at = first + i * (parts + 1u);
        let share = exp(spans[at + parts].x - largest);
        powers += share * spans[at + parts].y;
        sums += share * spans[at + local];
    }
    y[row * parts + local] = sums / powers;
}
