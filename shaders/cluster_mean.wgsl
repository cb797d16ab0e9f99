// Mean of the patches of each cluster: features [N, C], labels [N] -> means [L, C]; a cluster without patches gives 0.
// Workgroup: 64 invocations, one channel each, of one cluster. Patches are added in ascending order.

@group(0) @binding(0) var<storage, read> features: array<f32>;    // [N, C]
@group(0) @binding(1) var<storage, read> labels: array<u32>;      // [N]
@group(0) @binding(2) var<storage, read> params: array<u32>;      // [N, C]
@group(0) @binding(3) var<storage, read_write> means: array<f32>; // [L, C]

const CHANNELS = 64u;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = params[1];
    let channel = group.x * CHANNELS + local;
    let cluster = group.y;
    if !(channel < c) {
        return;
    }
    var sum = 0.0;
    var patches = 0.0;
    for (var i = 0u; i < params[0]; i++) {
        if labels[i] == cluster {
            sum += features[i * c + channel];
            patches += 1.0;
        }
    }
    means[cluster * c + channel] = sum / max(patches, 1.0);
}
