// softmax: y = softmax(scale x) over the last dimension of x [R, U].
//
// Workgroup: 64 invocations share a row: its maximum, the sum of its exponentials, then the quotients.
// Rows past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> x: array<f32>;      // [R, U]
@group(0) @binding(1) var<storage, read> params: array<u32>; // [R, U, scale as bits]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> sh_partial: array<f32, 64>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = group.y * groups.x + group.x;
    let width = params[1];
    let scale = bitcast<f32>(params[2]);
    if row >= params[0] {
        return;
    }
    var largest = -3.0e38;
    for (var i = local; i < width; i += 64u) {
        largest = max(largest, scale * x[row * width + i]);
    }
    sh_partial[local] = largest;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if local < half {
            sh_partial[local] = max(sh_partial[local], sh_partial[local + half]);
        }
        workgroupBarrier();
    }
    largest = sh_partial[0];
    workgroupBarrier();

    var sum = 0.0;
    for (var i = local; i < width; i += 64u) {
        sum += exp(scale * x[row * width + i] - largest);
    }
    sh_partial[local] = sum;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if local < half {
            sh_partial[local] += sh_partial[local + half];
        }
        workgroupBarrier();
    }
    sum = sh_partial[0];
    for (var i = local; i < width; i += 64u) {
        y[row * width + i] = exp(scale * x[row * width + i] - largest) / sum;
    }
}
