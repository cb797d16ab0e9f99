// What follows a product x W^T at once: a number for each row of W, a GELU or ReLU6, and what stands at the same place of a residual
// [T, N]. Joined in front of matmul.wgsl, quant_matvec.wgsl and quant_matmul.wgsl; needs shared/gelu.wgsl.

@group(0) @binding(2) var<storage, read> params: array<u32>; // what the kernel says; params[5] are the flags below
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;

// As in src/kernels/epilogue.rs.
const HAS_BIAS = 1u;
const HAS_GELU = 2u;
const GELU_IS_TANH = 4u;
const HAS_STREAM = 8u;
const HAS_NORM = 16u;
const HAS_RELU6 = 32u;

fn has(flag: u32) -> bool {
    return (params[5] & flag) != 0u;
}

// `row` of W, and where the result goes.
fn plus(product: f32, row: u32, at: u32) -> f32 {
    var sum = product;
    if has(HAS_BIAS) {
        sum += bias[row];
    }
    if has(HAS_GELU) {
        sum = gelu(sum, has(GELU_IS_TANH));
    }
    if has(HAS_RELU6) {
        // Not `clamp`, which may make a number of NaN.
        sum = select(sum, 0.0, sum < 0.0);
        sum = select(sum, 6.0, sum > 6.0);
    }
    if has(HAS_STREAM) {
        sum += residual[at];
    }
    return sum;
}
