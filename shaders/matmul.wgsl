// matmul: y = plus(a b), each matrix of a batch with its own. Needs shared/gelu.wgsl, shared/epilogue.wgsl,
// shared/tile.wgsl, shared/register_tile.wgsl and shared/tiled_product.wgsl.
//
// Shapes: a [B1, B2, M, K], b [B1, B2, K, N], bias [N], residual and y [B1, B2, M, N]; a and b with any strides, 0 where one
// matrix serves a whole dimension of the batch.
// params: [tiles, B2, M, K, N, flags, strides of a, strides of b]
// Tiles past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const STRIDES_A = 6u;
const STRIDES_B = 10u;

// Where element (row, column) of a matrix lies.
fn offset(strides: u32, batch: u32, row: u32, column: u32) -> u32 {
    let outer = batch / params[1];
    let inner = batch % params[1];
    return outer * params[strides] + inner * params[strides + 1u] + row * params[strides + 2u]
        + column * params[strides + 3u];
}

fn left(batch: u32, row: u32, k: u32) -> f32 {
    return a[offset(STRIDES_A, batch, row, k)];
}

fn right(batch: u32, k: u32, column: u32) -> f32 {
    return b[offset(STRIDES_B, batch, k, column)];
}

fn store(batch: u32, row: u32, column: u32, sum: f32) {
    let at = (batch * params[2] + row) * params[4] + column;
    y[at] = plus(sum, column, at);
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
    let product =
        Product(params[2], params[4], params[3], params[STRIDES_A + 3u] == 1u, params[STRIDES_B + 2u] == 1u);
    make_tile(product, tile, local);
}
