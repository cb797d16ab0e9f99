// A tile of 64 x 64 sums of a product of matrices, made by 64 invocations with 8 x 8 sums each: for every k an invocation
// reads 16 numbers and does 64 multiplications. Joined in front of tiled_product.wgsl and quant_matmul.wgsl.
// Written out, because sums that are found by a running index do not stay in registers. Workgroup memory: 8.2 KiB.

const TILE = 64u;
const SLICE = 16u; // of k at a time
const STRIDE = 65u; // one more than a tile, so that neighbours write to different banks

var<workgroup> sh_left: array<f32, 1040>;  // [SLICE, STRIDE]
var<workgroup> sh_right: array<f32, 1040>; // [SLICE, STRIDE]

// Row i is at [2 i] and [2 i + 1]: own_row(local) + 8 i, and columns own_column(local) + 0, 8, 16 .. 56.
alias Sums = array<vec4<f32>, 16>;

fn own_row(local: u32) -> u32 {
    return local / 8u;
}

fn own_column(local: u32) -> u32 {
    return local % 8u;
}

// Adds what a slice in workgroup memory gives.
fn add_slice(sums: ptr<function, Sums>, local: u32) {
    for (var k = 0u; k < SLICE; k++) {
        let l = k * STRIDE + own_row(local);
        let r = k * STRIDE + own_column(local);
        let a = vec4<f32>(sh_right[r], sh_right[r + 8u], sh_right[r + 16u], sh_right[r + 24u]);
        let b = vec4<f32>(sh_right[r + 32u], sh_right[r + 40u], sh_right[r + 48u], sh_right[r + 56u]);
        (*sums)[0] += sh_left[l] * a;
        (*sums)[1] += sh_left[l] * b;
        (*sums)[2] += sh_left[l + 8u] * a;
        (*sums)[3] += sh_left[l + 8u] * b;
        (*sums)[4] += sh_left[l + 16u] * a;
        (*sums)[5] += sh_left[l + 16u] * b;
        (*sums)[6] += sh_left[l + 24u] * a;
        (*sums)[7] += sh_left[l + 24u] * b;
        (*sums)[8] += sh_left[l + 32u] * a;
        (*sums)[9] += sh_left[l + 32u] * b;
        (*sums)[10] += sh_left[l + 40u] * a;
        (*sums)[11] += sh_left[l + 40u] * b;
        (*sums)[12] += sh_left[l + 48u] * a;
        (*sums)[13] += sh_left[l + 48u] * b;
        (*sums)[14] += sh_left[l + 56u] * a;
        (*sums)[15] += sh_left[l + 56u] * b;
    }
}
