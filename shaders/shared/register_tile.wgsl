// A tile of sums of a product of matrices: for every k an invocation reads 16 numbers and does 64 multiplications. Joined in
// front of tiled_product.wgsl and quant_matmul.wgsl; needs shared/tile.wgsl.

// Adds what a slice in workgroup memory gives.
fn add_slice(sums: ptr<function, Sums>, local: u32) {
    for (var k = 0u; k < SLICE; k++) {
        let l = k * STRIDE + own_row(local);
        let r = COLUMNS + k * STRIDE + own_column(local);
        let a = vec4<f32>(sh_slices[r], sh_slices[r + 8u], sh_slices[r + 16u], sh_slices[r + 24u]);
        let b = vec4<f32>(sh_slices[r + 32u], sh_slices[r + 40u], sh_slices[r + 48u], sh_slices[r + 56u]);
        (*sums)[0] += sh_slices[l] * a;
        (*sums)[1] += sh_slices[l] * b;
        (*sums)[2] += sh_slices[l + 8u] * a;
        (*sums)[3] += sh_slices[l + 8u] * b;
        (*sums)[4] += sh_slices[l + 16u] * a;
        (*sums)[5] += sh_slices[l + 16u] * b;
        (*sums)[6] += sh_slices[l + 24u] * a;
        (*sums)[7] += sh_slices[l + 24u] * b;
        (*sums)[8] += sh_slices[l + 32u] * a;
        (*sums)[9] += sh_slices[l + 32u] * b;
        (*sums)[10] += sh_slices[l + 40u] * a;
        (*sums)[11] += sh_slices[l + 40u] * b;
        (*sums)[12] += sh_slices[l + 48u] * a;
        (*sums)[13] += sh_slices[l + 48u] * b;
        (*sums)[14] += sh_slices[l + 56u] * a;
        (*sums)[15] += sh_slices[l + 56u] * b;
    }
}
