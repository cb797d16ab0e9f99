// Squared distances between 64 patches (rows) and 64 patches (columns), staged through workgroup memory, so that no kernel
// ever needs the N x N matrix: for every channel an invocation reads 16 numbers and adds 64 squares. Joined in front of
// knn_density.wgsl and peak_distance.wgsl; needs shared/tile.wgsl.

@group(0) @binding(0) var<storage, read> features: array<f32>; // [N, C]
// [N, C, k, first workgroup, workgroups of the whole, patches of a span]
@group(0) @binding(1) var<storage, read> params: array<u32>;

fn row_tiles() -> u32 {
    return (params[0] + TILE - 1u) / TILE;
}

fn feature(index: u32, channel: u32) -> f32 {
    if index < params[0] && channel < params[1] {
        return features[index * params[1] + channel];
    }
    return 0.0;
}

// |x_i - x_j|^2 / C for i in row0.., j in column0... Pairs past N hold numbers without meaning. Every invocation of the
// workgroup must call this.
fn distance_tile(row0: u32, column0: u32, local: u32, sums: ptr<function, Sums>) {
    for (var i = 0u; i < 16u; i++) {
        (*sums)[i] = vec4<f32>(0.0);
    }
    for (var channel0 = 0u; channel0 < params[1]; channel0 += SLICE) {
        workgroupBarrier();
        for (var t = local; t < TILE * SLICE; t += 64u) {
            let offset = (t % SLICE) * STRIDE + t / SLICE;
            sh_slices[offset] = feature(row0 + t / SLICE, channel0 + t % SLICE);
            sh_slices[COLUMNS + offset] = feature(column0 + t / SLICE, channel0 + t % SLICE);
        }
        workgroupBarrier();
        for (var d = 0u; d < SLICE; d++) {
            let r = d * STRIDE + own_row(local);
            let c = COLUMNS + d * STRIDE + own_column(local);
            let a = vec4<f32>(sh_slices[c], sh_slices[c + 8u], sh_slices[c + 16u], sh_slices[c + 24u]);
            let b = vec4<f32>(sh_slices[c + 32u], sh_slices[c + 40u], sh_slices[c + 48u], sh_slices[c + 56u]);
            let x0 = sh_slices[r];
            (*sums)[0] += (a - x0) * (a - x0);
            (*sums)[1] += (b - x0) * (b - x0);
            let x1 = sh_slices[r + 8u];
            (*sums)[2] += (a - x1) * (a - x1);
            (*sums)[3] += (b - x1) * (b - x1);
            let x2 = sh_slices[r + 16u];
            (*sums)[4] += (a - x2) * (a - x2);
            (*sums)[5] += (b - x2) * (b - x2);
            let x3 = sh_slices[r + 24u];
            (*sums)[6] += (a - x3) * (a - x3);
            (*sums)[7] += (b - x3) * (b - x3);
            let x4 = sh_slices[r + 32u];
            (*sums)[8] += (a - x4) * (a - x4);
            (*sums)[9] += (b - x4) * (b - x4);
            let x5 = sh_slices[r + 40u];
            (*sums)[10] += (a - x5) * (a - x5);
            (*sums)[11] += (b - x5) * (b - x5);
            let x6 = sh_slices[r + 48u];
            (*sums)[12] += (a - x6) * (a - x6);
            (*sums)[13] += (b - x6) * (b - x6);
            let x7 = sh_slices[r + 56u];
            (*sums)[14] += (a - x7) * (a - x7);
            (*sums)[15] += (b - x7) * (b - x7);
        }
    }
    let width = f32(params[1]);
    for (var i = 0u; i < 16u; i++) {
        (*sums)[i] /= width;
    }
    workgroupBarrier(); // the slices have been read
}
