// rms_norm: y = x / sqrt(mean(x^2) + eps) * weight, row by row of x [T, H].
//
// Workgroup: 64 invocations share a row: the sum of its squares, then the products.
// Rows past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> x: array<f32>;      // [T, H]
@group(0) @binding(1) var<storage, read> weight: array<f32>; // [H]
@group(0) @binding(2) var<storage, read> params: array<u32>; // [T, H, eps as bits]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> sh_partial: array<f32, 64>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = group.y * groups.x + group.x;
    let width = params[1];
    if row >= params[0] {
        return;
    }
    var squares = 0.0;
    for (var i = local; i < width; i += 64u) {
        let value = x[row * width + i];
        squares += value * value;
    }
    sh_partial[local] = squares;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if local < half {
            sh_partial[local] += sh_partial[local + half];
        }
        workgroupBarrier();
    }
    let size = sqrt(sh_partial[0] / f32(width) + bitcast<f32>(params[2]));
    for (var i = local; i < width; i += 64u) {
        y[row * width + i] = x[row * width + i] / size * weight[i];
    }
}
