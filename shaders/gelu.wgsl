// gelu: y = x (1 + erf(x / sqrt 2)) / 2, or its form with tanh, number by number.
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
    if at >= params[0] {
        return;
    }
    let value = x[at];
    if params[1] == 0u {
        y[at] = 0.5 * value * (1.0 + erf(value * 0.70710678));
    } else {
        // Far out it is 0 or x, and a third power would overflow.
        let near = clamp(value, -20.0, 20.0);
        let slope = 1.5957691 * (near + 0.044715 * near * near * near);
        let power = exp(-abs(slope));
        y[at] = value * select(power, 1.0, slope >= 0.0) / (1.0 + power);
    }
}

// Within 5e-7: a quotient of two polynomials, as in src/kernels/gelu.rs.
fn erf(far: f32) -> f32 {
    let x = clamp(far, -4.0, 4.0);
    let s = x * x;
    let above = ((((((-2.7261423e-10 * s + 2.7706814e-8) * s - 2.101024e-6) * s - 5.6925064e-5) * s
        - 7.3499063e-4) * s - 2.9546e-3) * s - 1.6096033e-2);
    let below = ((((-1.4566072e-5 * s - 2.1337406e-4) * s - 1.682827e-3) * s - 7.3733292e-3) * s - 1.4264739e-2);
    return x * above / below;
}
