// Local density of each patch: features [N, C] -> density [N] = exp(-mean of the k smallest squared distances).
// The patch itself, at distance 0, is one of the k. A patch with a NaN or infinite feature gets density -1, which no
// real density is. Many columns take several passes, which hand the neighbours found so far on in `found`.
// Workgroup: 256 invocations for 32 patches; needs shared/distance_tile.wgsl.

@group(0) @binding(2) var<storage, read_write> found: array<f32>;   // [N, k], or one number when one pass does
@group(0) @binding(3) var<storage, read_write> density: array<f32>; // [N], written by the last pass

const MAX_K = 32u;

var<workgroup> sh_not_finite: array<atomic<u32>, 32>; // [ROWS]

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let n = params[0];
    let k = params[2];
    let first_column = params[4];
    let end_column = params[5];
    let row0 = (group.y * params[3] + group.x) * ROWS;
    if !(row0 < n) {
        return;
    }
    // burn asks for workgroup memory that is not cleared.
    if local < ROWS {
        atomicStore(&sh_not_finite[local], 0u);
    }
    workgroupBarrier();
    // Looked at as bits: arithmetic tests for NaN may be optimised away.
    for (var t = local; t < ROWS * params[1]; t += WORKGROUP) {
        let bits = bitcast<u32>(feature(row0 + t / params[1], t % params[1]));
        if (bits & 0x7f800000u) == 0x7f800000u {
            atomicStore(&sh_not_finite[t / params[1]], 1u);
        }
    }
    let owns_row = local < ROWS && row0 + local < n;
    var nearest: array<f32, 32>; // ascending, k in use
    for (var t = 0u; t < MAX_K; t++) {
        nearest[t] = FAR;
        if owns_row && first_column > 0u && t < k {
            nearest[t] = found[(row0 + local) * k + t];
        }
    }
    for (var column0 = first_column; column0 < end_column; column0 += COLUMNS) {
        distance_tile(row0, column0, local);
        if local < ROWS {
            for (var j = 0u; j < min(COLUMNS, end_column - column0); j++) {
                let distance = sh_distance[local * COLUMNS + j];
                if distance < nearest[k - 1u] {
                    var t = k - 1u;
                    while t > 0u && nearest[max(t, 1u) - 1u] > distance {
                        nearest[t] = nearest[t - 1u];
                        t--;
                    }
                    nearest[t] = distance;
                }
            }
        }
    }
    if owns_row && end_column < n {
        for (var t = 0u; t < k; t++) {
            found[(row0 + local) * k + t] = nearest[t];
        }
    } else if owns_row {
        var sum = 0.0;
        for (var t = 0u; t < k; t++) {
            sum += nearest[t];
        }
        let finite = atomicLoad(&sh_not_finite[local]) == 0u;
        density[row0 + local] = select(-1.0, exp(-sum / f32(k)), finite);
    }
}
