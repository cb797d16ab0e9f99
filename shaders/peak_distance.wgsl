// How far each patch is from a denser one among those of a span, and from any of them: features [N, C], density [N] ->
// found [spans, 2, N], which reduce_peaks makes one of. Row 0: the smallest squared distance to a higher patch, FAR where
// there is none. Row 1: the largest.
// j is higher than i when its density is greater, or equal with a lower index. Densities are read as reduce_neighbors stored
// them, never computed again, so all kernels agree on every tie.
// Workgroup: 64 invocations for 64 patches and a span; needs shared/far.wgsl, shared/tile.wgsl and
// shared/distance_tile.wgsl.

@group(0) @binding(2) var<storage, read> density: array<f32>;
@group(0) @binding(3) var<storage, read_write> found: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = params[0];
    let at = params[3] + group.y * groups.x + group.x;
    if at >= params[4] {
        return;
    }
    let row0 = at % row_tiles() * TILE;
    let span = at / row_tiles();
    let end_column = min(n, (span + 1u) * params[5]);

    // Of rows own_row(local) + 8 i, and of the columns that this invocation sees: (to a higher one, farthest).
    let row = row0 + own_row(local);
    var peaks0 = vec2<f32>(FAR, 0.0);
    var peaks1 = peaks0;
    var peaks2 = peaks0;
    var peaks3 = peaks0;
    var peaks4 = peaks0;
    var peaks5 = peaks0;
    var peaks6 = peaks0;
    var peaks7 = peaks0;
    for (var column0 = span * params[5]; column0 < end_column; column0 += TILE) {
        var sums: Sums;
        distance_tile(row0, column0, local, &sums);
        let a = seen(column0 + own_column(local), end_column);
        let b = seen(column0 + own_column(local) + 32u, end_column);
        peaks0 = with_columns(with_columns(peaks0, row, sums[0], a), row, sums[1], b);
        peaks1 = with_columns(with_columns(peaks1, row + 8u, sums[2], a), row + 8u, sums[3], b);
        peaks2 = with_columns(with_columns(peaks2, row + 16u, sums[4], a), row + 16u, sums[5], b);
        peaks3 = with_columns(with_columns(peaks3, row + 24u, sums[6], a), row + 24u, sums[7], b);
        peaks4 = with_columns(with_columns(peaks4, row + 32u, sums[8], a), row + 32u, sums[9], b);
        peaks5 = with_columns(with_columns(peaks5, row + 40u, sums[10], a), row + 40u, sums[11], b);
        peaks6 = with_columns(with_columns(peaks6, row + 48u, sums[12], a), row + 48u, sums[13], b);
        peaks7 = with_columns(with_columns(peaks7, row + 56u, sums[14], a), row + 56u, sums[15], b);
    }

    // What 8 invocations know of a row goes to one of them.
    give(local, 0u, peaks0);
    give(local, 8u, peaks1);
    give(local, 16u, peaks2);
    give(local, 24u, peaks3);
    give(local, 32u, peaks4);
    give(local, 40u, peaks5);
    give(local, 48u, peaks6);
    give(local, 56u, peaks7);
    workgroupBarrier();
    if row0 + local < n {
        var to_higher = FAR;
        var farthest = 0.0;
        for (var i = 0u; i < 8u; i++) {
            to_higher = min(to_higher, sh_slices[i * STRIDE + local]);
            farthest = max(farthest, sh_slices[COLUMNS + i * STRIDE + local]);
        }
        let offset = span * 2u * n + row0 + local;
        found[offset] = to_higher;
        found[offset + n] = farthest;
    }
}

// Four columns, 8 apart: their numbers, densities, and which of them are of this span.
struct Seen {
    columns: vec4<u32>,
    densities: vec4<f32>,
    is_there: vec4<bool>,
}

fn seen(first: u32, end: u32) -> Seen {
    let columns = first + vec4<u32>(0u, 8u, 16u, 24u);
    let last = params[0] - 1u;
    let at = min(columns, vec4<u32>(last));
    let densities = vec4<f32>(density[at.x], density[at.y], density[at.z], density[at.w]);
    return Seen(columns, densities, columns < vec4<u32>(end));
}

fn with_columns(peaks: vec2<f32>, row: u32, distances: vec4<f32>, others: Seen) -> vec2<f32> {
    let own = density[min(row, params[0] - 1u)];
    let is_tie = others.densities == vec4<f32>(own);
    let is_higher = (others.densities > vec4<f32>(own)) | (is_tie & (others.columns < vec4<u32>(row)));
    let higher = select(vec4<f32>(FAR), distances, is_higher & others.is_there);
    let far = select(vec4<f32>(0.0), distances, others.is_there);
    let nearest = min(min(higher.x, higher.y), min(higher.z, higher.w));
    let farthest = max(max(far.x, far.y), max(far.z, far.w));
    return vec2<f32>(min(peaks.x, nearest), max(peaks.y, farthest));
}

fn give(local: u32, row: u32, peaks: vec2<f32>) {
    let offset = own_column(local) * STRIDE + own_row(local) + row;
    sh_slices[offset] = peaks.x;
    sh_slices[COLUMNS + offset] = peaks.y;
}
