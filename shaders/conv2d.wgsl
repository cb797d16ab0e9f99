// conv2d: a convolution over pixels as a product of patches of x with the weights. Needs
// shared/tile.wgsl, shared/register_tile.wgsl and shared/tiled_product.wgsl.
//
// Shapes: x [B, I, H, W], weight [O, I, K, K], bias [O], y [B, O, H', W']; rows of the product are pixels of y, its
// columns are output channels. Pixels outside x are 0.
// Tiles past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> params: array<u32>; // [tiles, I, H, W, O, H', W', K, stride, padding]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

fn left(batch: u32, pixel: u32, k: u32) -> f32 {
    let size = params[7];
    let channel = k / (size * size);
    let within = k % (size * size);
    // Wraps around to a large number above and left of the picture.
    let row = (pixel / params[6]) * params[8] + within / size - params[9];
    let column = (pixel % params[6]) * params[8] + within % size - params[9];
    if row >= params[2] || column >= params[3] {
        return 0.0;
    }
    return x[((batch * params[1] + channel) * params[2] + row) * params[3] + column];
}

fn right(batch: u32, k: u32, channel: u32) -> f32 {
    return weight[channel * params[1] * params[7] * params[7] + k];
}

fn store(batch: u32, pixel: u32, channel: u32, sum: f32) {
    y[(batch * params[4] + channel) * params[5] * params[6] + pixel] = sum + bias[channel];
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = group.y * groups.x + group.x;
    if tile >= params[0] {
        return;
    }
    make_tile(Product(params[5] * params[6], params[4], params[1] * params[7] * params[7], false, true), tile, local);
}
