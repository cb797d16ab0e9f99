// depthwise_conv2d: a convolution over pixels in which every channel has a filter of its own, with a bias and, where it is
// asked for, ReLU6.
//
// Shapes: x [H, W, C], weight [K, K, C], bias [C], y [H', W', C], C in groups of four. Pixels outside x are 0.
// params: [H, W, C / 4, W', K, stride, zeros before the first pixel, H' W' C / 4, 1 for ReLU6]
// Workgroup: 64 groups of four channels of y, neighbours in memory.
// Workgroups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> params: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = (group.y * groups.x + group.x) * 64u + local;
    if at >= params[7] {
        return;
    }
    let height = params[0];
    let width = params[1];
    let channels = params[2];
    let size = params[4];
    let channel = at % channels;
    let pixel = at / channels;
    // Both wrap around to a large number above and left of x.
    let top = pixel / params[3] * params[5] - params[6];
    let left = pixel % params[3] * params[5] - params[6];

    var sum = bias[channel];
    for (var below = 0u; below < size; below++) {
        let row = top + below;
        if row < height {
            for (var beside = 0u; beside < size; beside++) {
                let column = left + beside;
                if column < width {
                    sum += x[(row * width + column) * channels + channel] * weight[(below * size + beside) * channels + channel];
                }
            }
        }
    }
    if params[8] == 1u {
        // Not `clamp`, which may make a number of NaN.
        sum = select(sum, vec4<f32>(0.0), sum < vec4<f32>(0.0));
        sum = select(sum, vec4<f32>(6.0), sum > vec4<f32>(6.0));
    }
    y[at] = sum;
}
