// swiglu: y = silu(gate) * up, number by number; silu(g) = g / (1 + exp(-g)).
//
// Workgroup: 64 numbers. Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read> params: array<u32>; // [count]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

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
    // By the smaller of the two powers, which never overflows.
    let power = exp(-abs(gate[at]));
    let share = select(power, 1.0, gate[at] >= 0.0) / (1.0 + power);
    y[at] = gate[at] * share * up[at];
}
