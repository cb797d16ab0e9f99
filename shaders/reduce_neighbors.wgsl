// Local density of each patch: features [N, C], nearest [spans, N, k] of knn_density -> density [N] = exp(-mean of the k
// smallest squared distances). A patch with a NaN or infinite feature gets density -1, which no real density is.
// Workgroup: 64 invocations for a patch; needs shared/far.wgsl and shared/nearest.wgsl.

@group(0) @binding(0) var<storage, read> features: array<f32>; // [N, C]
@group(0) @binding(1) var<storage, read> params: array<u32>;   // [N, C, k, spans]
@group(0) @binding(2) var<storage, read> nearest: array<f32>;
@group(0) @binding(3) var<storage, read_write> density: array<f32>;

var<workgroup> sh_not_finite: array<atomic<u32>, 1>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = params[0];
    let c = params[1];
    let k = params[2];
    let row = group.y * groups.x + group.x;
    if row >= n {
        return;
    }
    // burn asks for workgroup memory that is not cleared.
    if local == 0u {
        atomicStore(&sh_not_finite[0], 0u);
    }
    workgroupBarrier();
    // Looked at as bits: arithmetic tests for NaN may be optimised away.
    for (var i = local; i < c; i += 64u) {
        if (bitcast<u32>(features[row * c + i]) & 0x7f800000u) == 0x7f800000u {
            atomicStore(&sh_not_finite[0], 1u);
        }
    }
    workgroupBarrier();
    if local > 0u {
        return;
    }
    if atomicLoad(&sh_not_finite[0]) != 0u {
        density[row] = -1.0;
        return;
    }
    var best: Nearest;
    forget(&best);
    for (var span = 0u; span < params[3]; span++) {
        let first = (span * n + row) * k;
        // A span's are in ascending order, so that the first which is too far ends it.
        for (var i = 0u; i < k && nearest[first + i] < best[k - 1u]; i++) {
            keep(&best, k, nearest[first + i]);
        }
    }
    var sum = 0.0;
    for (var t = 0u; t < k; t++) {
        sum += best[t];
    }
    density[row] = exp(-sum / f32(k));
}
