// The GELU. Joined in front of gelu.wgsl, and with plus.wgsl of the products.

// x (1 + erf(x / sqrt 2)) / 2, or its form with tanh.
fn gelu(value: f32, with_tanh: bool) -> f32 {
    if !with_tanh {
        return 0.5 * value * (1.0 + erf(value * 0.70710678));
    }
    // Far out it is 0 or x, and a third power would overflow.
    let near = clamp(value, -20.0, 20.0);
    let slope = 1.5957691 * (near + 0.044715 * near * near * near);
    let power = exp(-abs(slope));
    return value * select(power, 1.0, slope >= 0.0) / (1.0 + power);
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
