// How far each patch is from a denser one: features [N, C], density [N] -> peaks [2, N].
// Row 0: delta_i = smallest distance to a higher patch, or -1 where there is none (the global peak).
// Row 1: the largest distance from i to any patch; the largest of these is the global peak's delta.
// j is higher than i when its density is greater, or equal with a lower index. Densities are read as knn_density stored
// them, never computed again, so both kernels agree on every tie. Many columns take several passes; `peaks` holds squared
// distances from one to the next.
// Workgroup: 256 invocations for 32 patches; needs shared/distance_tile.wgsl.

@group(0) @binding(2) var<storage, read> density: array<f32>;     // [N]
@group(0) @binding(3) var<storage, read_write> peaks: array<f32>; // [2, N]

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let n = params[0];
    let row0 = (group.y * params[3] + group.x) * ROWS;
    if !(row0 < n) {
        return;
    }
    let i = row0 + local;
    let owns_row = local < ROWS && i < n;
    let first_column = params[4];
    let end_column = params[5];
    var own = 0.0;
    var to_higher = FAR;
    var farthest = 0.0;
    if owns_row {
        own = density[i];
        if first_column > 0u {
            to_higher = peaks[i];
            farthest = peaks[n + i];
        }
    }
    for (var column0 = first_column; column0 < end_column; column0 += COLUMNS) {
        distance_tile(row0, column0, local);
        if owns_row {
            for (var t = 0u; t < min(COLUMNS, end_column - column0); t++) {
                let j = column0 + t;
                let distance = sh_distance[local * COLUMNS + t];
                farthest = max(farthest, distance);
                let other = density[j];
                if other > own || (other == own && j < i) {
                    to_higher = min(to_higher, distance);
                }
            }
        }
    }
    if owns_row && end_column < n {
        peaks[i] = to_higher;
        peaks[n + i] = farthest;
    } else if owns_row {
        peaks[i] = select(-1.0, sqrt(to_higher), to_higher < FAR);
        peaks[n + i] = sqrt(farthest);
    }
}
