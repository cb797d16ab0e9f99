// The nearest patches of each among those of a span: features [N, C] -> nearest [spans, N, k], the k smallest squared
// distances in ascending order, which reduce_neighbors makes a density of. The patch itself, at distance 0, is one of them.
// Workgroup: 64 invocations for 64 patches and a span; needs shared/far.wgsl, shared/nearest.wgsl,
// shared/tile.wgsl and shared/distance_tile.wgsl.

@group(0) @binding(2) var<storage, read_write> nearest: array<f32>; // FAR where a span has fewer than k patches

const HALF = 32u; // columns that change hands at a time

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
    forget(&own);
    let to = own_column(local) * STRIDE + own_row(local);
    for (var column0 = span * params[5]; column0 < end_column; column0 += TILE) {
        var sums: Sums;
        distance_tile(row0, column0, local, &sums);
        give(to, sums[0], sums[2], sums[4], sums[6], sums[8], sums[10], sums[12], sums[14]);
        look(column0, end_column, k, local, &own);
        give(to, sums[1], sums[3], sums[5], sums[7], sums[9], sums[11], sums[13], sums[15]);
        look(column0 + HALF, end_column, k, local, &own);
    }
    if row0 + local < n {
        for (var t = 0u; t < k; t++) {
            nearest[(span * n + row0 + local) * k + t] = own[t];
        }
    }
}

// What 8 invocations know of a row goes to one of them: four columns of each of 8 rows.
fn give(
    to: u32,
    row0: vec4<f32>,
    row1: vec4<f32>,
    row2: vec4<f32>,
    row3: vec4<f32>,
    row4: vec4<f32>,
    row5: vec4<f32>,
    row6: vec4<f32>,
    row7: vec4<f32>,
) {
    put(to, row0);
    put(to + 8u, row1);
    put(to + 16u, row2);
    put(to + 24u, row3);
    put(to + 32u, row4);
    put(to + 40u, row5);
    put(to + 48u, row6);
    put(to + 56u, row7);
}

// Four columns of a row, 8 apart.
fn put(offset: u32, distances: vec4<f32>) {
    sh_slices[offset] = distances.x;
    sh_slices[offset + 8u * STRIDE] = distances.y;
    sh_slices[offset + 16u * STRIDE] = distances.z;
    sh_slices[offset + 24u * STRIDE] = distances.w;
}

// Half a tile's columns from `first` on, of the row `local`.
fn look(first: u32, end: u32, k: u32, local: u32, own: ptr<function, Nearest>) {
    workgroupBarrier();
    for (var j = 0u; j < HALF && first + j < end; j++) {
        keep(own, k, sh_slices[j * STRIDE + local]);
    }
    workgroupBarrier();
}
