// swiglu: y = silu(gate) * up, where a row of x [T, 2 I] is I gates, then I numbers that they let through; y [T, I].
// Needs shared/silu.wgsl.
//
// Workgroup: 64 numbers. Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> params: array<u32>; // [T * I, I]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = (group.y * groups.x + group.x) * 64u + local;
    if at >= params[0] {
        return;
    }
    let width = params[1];
    let gate = at / width * 2u * width + at % width;
    y[at] = silu(x[gate]) * x[gate + width];
}
