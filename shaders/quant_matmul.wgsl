// quant_matmul: y = x W^T + bias + stream for several tokens, with W packed. Needs
// shared/quant_weights.wgsl and shared/quant_plus.wgsl.
//
// Shapes: W [N, K] packed in words, x [T, K], bias [N], stream and y [T, N].
// Workgroup: 64 invocations make a tile of 32 tokens x 32 rows, 4 x 4 sums each. The columns go by in slices of 32:
// the slice of W is unpacked once into workgroup memory and used by all 32 tokens.
// Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const TILE: u32 = 32u;
// Groups of four columns in a slice.
const SLICE: u32 = 8u;

var<workgroup> sh_w: array<vec4<f32>, 256>; // [TILE rows, SLICE]
var<workgroup> sh_x: array<vec4<f32>, 256>; // [TILE tokens, SLICE]

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
    // This invocation makes the sums of rows local_row + 8 i and tokens local_token + 8 j of the tile.
    let local_row = local % 8u;
    let local_token = local / 8u;

    var sums: array<vec4<f32>, 4>;
    for (var first_group = 0u; first_group < groups_per_row; first_group += SLICE) {
        for (var at = local; at < TILE * SLICE; at += 64u) {
            let group = first_group + at % SLICE;
            let row = first_row + at / SLICE;
            let token = first_token + at / SLICE;
            var w_value = vec4<f32>(0.0);
            var x_value = vec4<f32>(0.0);
            if group < groups_per_row && row < rows {
                w_value = weights4(row * groups_per_row + group);
            }
            if group < groups_per_row && token < tokens {
                x_value = x[token * groups_per_row + group];
            }
            sh_w[at] = w_value;
            sh_x[at] = x_value;
        }
        workgroupBarrier();
        for (var group = 0u; group < SLICE; group++) {
            let x0 = sh_x[local_token * SLICE + group];
            let x1 = sh_x[(local_token + 8u) * SLICE + group];
            let x2 = sh_x[(local_token + 16u) * SLICE + group];
            let x3 = sh_x[(local_token + 24u) * SLICE + group];
            for (var i = 0u; i < 4u; i++) {
                let w = sh_w[(local_row + 8u * i) * SLICE + group];
                sums[i] += vec4<f32>(dot(w, x0), dot(w, x1), dot(w, x2), dot(w, x3));
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 4u; i++) {
        let row = first_row + local_row + 8u * i;
        for (var j = 0u; j < 4u; j++) {
            let token = first_token + local_token + 8u * j;
            if row < rows && token < tokens {
                y[token * rows + row] = sums[i][j] + added(row, token * rows + row);
            }
        }
    }
}
