// silu(g) = g / (1 + exp(-g)). Joined in front of swiglu.wgsl and quant_swiglu.wgsl.

fn silu(gate: f32) -> f32 {
    // By the smaller of the two powers, which never overflows.
    let power = exp(-abs(gate));
    return gate * select(power, 1.0, gate >= 0.0) / (1.0 + power);
}
