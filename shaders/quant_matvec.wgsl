// quant_matvec: one token through a packed W, y = plus(W norm(x)). Needs shared/gelu.wgsl, shared/epilogue.wgsl and
// shared/quant_weights.wgsl.
//
// Shapes: W [N, K] packed in words, x and norm [K], bias, residual and y [N].
// params: [kind, N, K, words before the scales, 1, flags, eps of the norm as bits]
// Workgroup: 64 invocations = 4 rows x 16 lanes. The lanes of a row read neighbouring words, then add up their sums. A
// norm divides everything by the same number, so it is found on the way and divides the sum.
// Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read> norm: array<vec4<f32>>; // read where there is one

const ROWS: u32 = 4u;
const LANES: u32 = 16u;

var<workgroup> sh_sums: array<vec2<f32>, 64>; // of a lane: the products, and the squares of x

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = params[1];
    let groups_per_row = params[2] / 4u;
    let lane = local % LANES;
    let row = (group_id.y * group_count.x + group_id.x) * ROWS + local / LANES;

    var sums = vec2<f32>(0.0);
    if row < rows {
        for (var group = lane; group < groups_per_row; group += LANES) {
            var value = x[group];
            if has(HAS_NORM) {
                sums.y += dot(value, value);
                value *= norm[group];
            }
            sums.x += dot(weights4(row * groups_per_row + group), value);
        }
    }
    sh_sums[local] = sums;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            sh_sums[local] += sh_sums[local + width];
        }
    }
    if lane == 0u && row < rows {
        sums = sh_sums[local];
        if has(HAS_NORM) {
            sums.x /= sqrt(sums.y / f32(params[2]) + bitcast<f32>(params[6]));
        }
        y[row] = plus(sums.x, row, row);
    }
}
