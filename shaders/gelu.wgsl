// gelu: y = x (1 + erf(x / sqrt 2)) / 2, or its form with tanh, number by number. Needs shared/gelu.wgsl.
//
// Workgroup: 64 numbers. Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> params: array<u32>; // [count, 1 for the form with tanh]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = (group.y * groups.x + group.x) * 64u + local;
    if at < params[0] {
        y[at] = gelu(x[at], params[1] == 1u);
    }
}
