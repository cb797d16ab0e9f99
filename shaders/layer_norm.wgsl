// layer_norm: y = (x - mean) / sqrt(variance + eps) * weight + bias, row by row of x [R, W].
//
// `repeat` numbers in a row share a weight and a bias: 1 for a LayerNorm over W features, the pixels of a channel for a
// GroupNorm with one group.
// Workgroup: 256 invocations share a row: its mean, its variance, then the quotients.
// Rows past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> params: array<u32>; // [R, W, repeat, eps as bits]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

var<workgroup> sh_partial: array<f32, 256>;

@compute @workgroup_size(256, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= params[0] {
        return;
    }
    let width = params[1];
    let first = row * width;
    var sum = 0.0;
    for (var i = local; i < width; i += 256u) {
        sum += x[first + i];
    }
    let mean = sum_of_all(sum, local) / f32(width);
    // A pass of its own: squares less the squared mean would cancel.
    var squares = 0.0;
    for (var i = local; i < width; i += 256u) {
        let distance = x[first + i] - mean;
        squares += distance * distance;
    }
    let deviation = sqrt(sum_of_all(squares, local) / f32(width) + bitcast<f32>(params[3]));
    for (var i = local; i < width; i += 256u) {
        let feature = i / params[2];
        y[first + i] = (x[first + i] - mean) / deviation * weight[feature] + bias[feature];
    }
}

fn sum_of_all(mine: f32, local: u32) -> f32 {
    workgroupBarrier(); // the sum before has been read
    sh_partial[local] = mine;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if local < half {
            sh_partial[local] += sh_partial[local + half];
        }
        workgroupBarrier();
    }
    return sh_partial[0];
}
