// The nearest patches of each among those of a span: features [N, C] -> nearest [spans, N, k], the k smallest squared
// distances in ascending order, which join_neighbors makes a density of. The patch itself, at distance 0, is one of them.
// Workgroup: 64 invocations for 64 patches and a span; needs shared/distance_tile.wgsl.

@group(0) @binding(2) var<storage, read_write> nearest: array<f32>; // FAR where a span has fewer than k patches

const MAX_K = 32u;
const HALF = 32u; // columns that change hands at a time

alias Nearest = array<f32, 32>; // ascending, k in use

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = params[0];
    let k = params[2];
    let at = params[3] + group.y * groups.x + group.x;
    if at >= params[4] {
        return;
    }
    let row0 = at % row_tiles() * TILE;
    let span = at / row_tiles();
    let end_column = min(n, (span + 1u) * params[5]);

    var own: Nearest;
    for (var t = 0u; t < MAX_K; t++) {
        own[t] = FAR;
    }
    let to = own_column(local) * STRIDE + own_row(local);
    for (var column0 = span * params[5]; column0 < end_column; column0 += TILE) {
        var sums: Distances;
        distance_tile(row0, column0, local, &sums);
        // What 8 invocations know of a row goes to one of them.
        give(to, sums[0]);
        give(to + 8u, sums[2]);
        give(to + 16u, sums[4]);
        give(to + 24u, sums[6]);
        give(to + 32u, sums[8]);
        give(to + 40u, sums[10]);
        give(to + 48u, sums[12]);
        give(to + 56u, sums[14]);
        look(column0, end_column, k, local, &own);
        give(to, sums[1]);
        give(to + 8u, sums[3]);
        give(to + 16u, sums[5]);
        give(to + 24u, sums[7]);
        give(to + 32u, sums[9]);
        give(to + 40u, sums[11]);
        give(to + 48u, sums[13]);
        give(to + 56u, sums[15]);
        look(column0 + HALF, end_column, k, local, &own);
    }
    if row0 + local < n {
        for (var t = 0u; t < k; t++) {
            nearest[(span * n + row0 + local) * k + t] = own[t];
        }
    }
}

// Four columns of a row, 8 apart.
fn give(place: u32, distances: vec4<f32>) {
    sh_slices[place] = distances.x;
    sh_slices[place + 8u * STRIDE] = distances.y;
    sh_slices[place + 16u * STRIDE] = distances.z;
    sh_slices[place + 24u * STRIDE] = distances.w;
}

// Half a tile's columns from `first` on, of the row `local`.
fn look(first: u32, end: u32, k: u32, local: u32, own: ptr<function, Nearest>) {
    workgroupBarrier();
    for (var j = 0u; j < HALF && first + j < end; j++) {
        let distance = sh_slices[j * STRIDE + local];
        if distance < (*own)[k - 1u] {
            var t = k - 1u;
            while t > 0u && (*own)[max(t, 1u) - 1u] > distance {
                (*own)[t] = (*own)[t - 1u];
                t--;
            }
            (*own)[t] = distance;
        }
    }
    workgroupBarrier();
}
