// What the spans of peak_distance found, as one: found [spans, 2, N] -> peaks [2, N].
// Row 0: delta_i = smallest distance to a higher patch, or -1 where there is none (the global peak).
// Row 1: the largest distance from i to any patch; the largest of these is the global peak's delta.
// Workgroup: 64 invocations, a patch each; needs shared/far.wgsl.

@group(0) @binding(0) var<storage, read> found: array<f32>;
@group(0) @binding(1) var<storage, read> params: array<u32>; // [N, spans]
@group(0) @binding(2) var<storage, read_write> peaks: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = params[0];
    let i = (group.y * groups.x + group.x) * 64u + local;
    if i >= n {
        return;
    }
    var to_higher = FAR;
    var farthest = 0.0;
    for (var span = 0u; span < params[1]; span++) {
        to_higher = min(to_higher, found[2u * span * n + i]);
        farthest = max(farthest, found[(2u * span + 1u) * n + i]);
    }
    peaks[i] = select(-1.0, sqrt(to_higher), to_higher < FAR);
    peaks[n + i] = sqrt(farthest);
}
