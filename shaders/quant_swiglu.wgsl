// quant_swiglu: one token through the gate of a feed-forward layer, y = silu(gates norm(x)) * (rest norm(x)), with packed
// weights. Needs shared/silu.wgsl and shared/quant_weights.wgsl.
//
// Shapes: W [2 N, K] packed in words, the rows of the gates, then those that they let through; x and norm [K], y [N].
// Workgroup: 64 invocations = 4 gates x 16 lanes, as in quant_matvec.wgsl.
// Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
// [kind, 2 N, K, words before the scales, eps of the norm as bits]
@group(0) @binding(2) var<storage, read> params: array<u32>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const GATES: u32 = 4u;
const LANES: u32 = 16u;

// Of a lane: the products of a gate, those of what it lets through, and the squares of x.
var<workgroup> sh_sums: array<vec4<f32>, 64>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let gates = params[1] / 2u;
    let groups_per_row = params[2] / 4u;
    let lane = local % LANES;
    let gate = (group_id.y * group_count.x + group_id.x) * GATES + local / LANES;

    var sums = vec4<f32>(0.0);
    if gate < gates {
        for (var group = lane; group < groups_per_row; group += LANES) {
            let value = x[group];
            let normal = value * norm[group];
            sums.x += dot(weights4(gate * groups_per_row + group), normal);
            sums.y += dot(weights4((gates + gate) * groups_per_row + group), normal);
            sums.z += dot(value, value);
        }
    }
    sh_sums[local] = sums;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            sh_sums[local] += sh_sums[local + width];
        }
    }
    if lane == 0u && gate < gates {
        sums = sh_sums[local];
        sums /= sqrt(sums.z / f32(params[2]) + bitcast<f32>(params[4]));
        y[gate] = silu(sums.x) * sums.y;
    }
}
