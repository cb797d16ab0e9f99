// What is added to a product: a number for each row of W, and what stands at the same place of a stream [T, N].
// Joined in front of quant_matvec.wgsl and quant_matmul.wgsl.

@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> stream: array<f32>;

// params[5] and params[6] say whether they are there.
fn added(row: u32, at: u32) -> f32 {
    var sum = 0.0;
    if params[5] != 0u {
        sum += bias[row];
    }
    if params[6] != 0u {
        sum += stream[at];
    }
    return sum;
}
