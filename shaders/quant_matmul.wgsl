// quant_matmul: y = plus(x W^T) for several tokens, with W packed. Needs shared/gelu.wgsl, shared/epilogue.wgsl,
// shared/tile.wgsl, shared/register_tile.wgsl and shared/quant_weights.wgsl.
//
// Shapes: W [N, K] packed in words, x [T, K], bias [N], residual and y [T, N].
// params: [kind, N, K, words before the scales, T, flags]
// Workgroup: 64 invocations make a tile of 64 tokens x 64 rows of W, whose slice is unpacked once into workgroup memory.
// Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = params[1];
    let groups_per_row = params[2] / 4u;
    let tokens = params[4];
    let row_tiles = (rows + TILE - 1u) / TILE;
    let tile = group_id.y * group_count.x + group_id.x;
    let first_row = (tile % row_tiles) * TILE;
    let first_token = (tile / row_tiles) * TILE;

    var sums: Sums;
    for (var first_group = 0u; first_group < groups_per_row; first_group += SLICE / 4u) {
        for (var at = local; at < TILE * SLICE / 4u; at += 64u) {
            let group = first_group + at / TILE;
            let row = first_row + at % TILE;
            let token = first_token + at % TILE;
            var w_value = vec4<f32>(0.0);
            var x_value = vec4<f32>(0.0);
            if group < groups_per_row && row < rows {
                w_value = weights4(row * groups_per_row + group);
            }
            if group < groups_per_row && token < tokens {
                x_value = x[token * groups_per_row + group];
            }
            let offset = at / TILE * 4u * STRIDE + at % TILE;
            sh_slices[offset] = x_value.x;
            sh_slices[offset + STRIDE] = x_value.y;
            sh_slices[offset + 2u * STRIDE] = x_value.z;
            sh_slices[offset + 3u * STRIDE] = x_value.w;
            sh_slices[COLUMNS + offset] = w_value.x;
            sh_slices[COLUMNS + offset + STRIDE] = w_value.y;
            sh_slices[COLUMNS + offset + 2u * STRIDE] = w_value.z;
            sh_slices[COLUMNS + offset + 3u * STRIDE] = w_value.w;
        }
        workgroupBarrier();
        add_slice(&sums, local);
        workgroupBarrier();
    }

    for (var i = 0u; i < 8u; i++) {
        let token = first_token + own_row(local) + 8u * i;
        for (var j = 0u; j < 8u; j++) {
            let row = first_row + own_column(local) + 8u * j;
            if row < rows && token < tokens {
                let at = token * rows + row;
                y[at] = plus(sums[2u * i + j / 4u][j % 4u], row, at);
            }
        }
    }
}
