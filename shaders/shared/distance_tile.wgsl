// Squared distances between 32 patches (rows) and 64 patches (columns), staged through workgroup memory, so that no
// kernel ever needs the N x N matrix. Joined in front of knn_density.wgsl and peak_distance.wgsl.
// Workgroup: 256 invocations, each owns a block of 2 rows x 4 columns. Memory: 14 KiB.

const ROWS = 32u;
const COLUMNS = 64u;
const DEPTH = 16u;
const WORKGROUP = 256u;
// Larger than any distance; WGSL has no infinity literal and drivers may assume there is none.
const FAR = 3.0e38;

@group(0) @binding(0) var<storage, read> features: array<f32>; // [N, C]
// [N, C, k, workgroups per dispatch row, first column, column after the last]: a pass over some of the columns.
@group(0) @binding(1) var<storage, read> params: array<u32>;

var<workgroup> sh_rows: array<f32, 512>;     // [DEPTH, ROWS]
var<workgroup> sh_columns: array<f32, 1024>; // [DEPTH, COLUMNS]
var<workgroup> sh_distance: array<f32, 2048>; // [ROWS, COLUMNS], what the tile leaves behind

fn feature(index: u32, channel: u32) -> f32 {
    if index < params[0] && channel < params[1] {
        return features[index * params[1] + channel];
    }
    return 0.0;
}

// Fills sh_distance with |x_i - x_j|^2 / C for i in row0.., j in column0... Pairs past N hold numbers without meaning.
// Every invocation of the workgroup must call this.
fn distance_tile(row0: u32, column0: u32, local: u32) {
    let row = (local / 16u) * 2u;
    let column = local % 16u; // and + 16, + 32, + 48: neighbours read neighbouring banks
    var sum0 = vec4f(0.0);
    var sum1 = vec4f(0.0);
    for (var channel0 = 0u; channel0 < params[1]; channel0 += DEPTH) {
        workgroupBarrier();
        for (var t = local; t < ROWS * DEPTH; t += WORKGROUP) {
            sh_rows[(t % DEPTH) * ROWS + t / DEPTH] = feature(row0 + t / DEPTH, channel0 + t % DEPTH);
        }
        for (var t = local; t < COLUMNS * DEPTH; t += WORKGROUP) {
            sh_columns[(t % DEPTH) * COLUMNS + t / DEPTH] = feature(column0 + t / DEPTH, channel0 + t % DEPTH);
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let at = d * COLUMNS + column;
            let other = vec4f(sh_columns[at], sh_columns[at + 16u], sh_columns[at + 32u], sh_columns[at + 48u]);
            let e0 = other - sh_rows[d * ROWS + row];
            let e1 = other - sh_rows[d * ROWS + row + 1u];
            sum0 += e0 * e0;
            sum1 += e1 * e1;
        }
    }
    for (var q = 0u; q < 4u; q++) {
        sh_distance[row * COLUMNS + column + 16u * q] = sum0[q] / f32(params[1]);
        sh_distance[(row + 1u) * COLUMNS + column + 16u * q] = sum1[q] / f32(params[1]);
    }
    workgroupBarrier();
}
