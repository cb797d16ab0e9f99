// quant_matvec: y = W x + bias + stream for one token, with W packed. Needs
// shared/quant_weights.wgsl and shared/quant_plus.wgsl.
//
// Shapes: W [N, K] packed in words, x [K], bias, stream and y [N].
// Workgroup: 64 invocations = 4 rows x 16 lanes. The lanes of a row read neighbouring words, then add up their sums.
// Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const ROWS: u32 = 4u;
const LANES: u32 = 16u;

var<workgroup> sh_sums: array<f32, 64>;

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

    var sum = 0.0;
    if row < rows {
        for (var group = lane; group < groups_per_row; group += LANES) {
            sum += dot(weights4(row * groups_per_row + group), x[group]);
        }
    }
    sh_sums[local] = sum;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            sh_sums[local] += sh_sums[local + width];
        }
    }
    if lane == 0u && row < rows {
        y[row] = sh_sums[local] + added(row, row);
    }
}
