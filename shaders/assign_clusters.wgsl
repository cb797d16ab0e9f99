// Gives every patch to its nearest centre: features [N, C], selection [2 + k_max] -> labels [N], an index into the
// ascending centres. Equal distances go to the lower one; a centre belongs to itself.
// Workgroup: 64 invocations, one patch each; centres pass through workgroup memory 16 at a time. Memory: 10.1 KiB.
// Needs shared/far.wgsl.

@group(0) @binding(0) var<storage, read> features: array<f32>;    // [N, C]
@group(0) @binding(1) var<storage, read> params: array<u32>;      // [N, C, workgroups per dispatch row]
@group(0) @binding(2) var<storage, read> selection: array<u32>;   // [2 + k_max], see select_centers.wgsl
@group(0) @binding(3) var<storage, read_write> labels: array<u32>; // [N]

const PATCHES = 64u;
const CENTERS = 16u;
const DEPTH = 32u;

var<workgroup> sh_patches: array<f32, 2048>; // [DEPTH, PATCHES]
var<workgroup> sh_centers: array<f32, 512>;  // [CENTERS, DEPTH]

fn feature(index: u32, channel: u32) -> f32 {
    if index < params[0] && channel < params[1] {
        return features[index * params[1] + channel];
    }
    return 0.0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let n = params[0];
    let c = params[1];
    let count = selection[0];
    let patch0 = (group.y * params[2] + group.x) * PATCHES;
    if !(patch0 < n) {
        return;
    }
    let i = patch0 + local;
    var nearest = FAR;
    var label = 0u;
    for (var center0 = 0u; center0 < count; center0 += CENTERS) {
        var sums: array<f32, 16>;
        for (var t = 0u; t < CENTERS; t++) {
            sums[t] = 0.0;
        }
        for (var channel0 = 0u; channel0 < c; channel0 += DEPTH) {
            workgroupBarrier();
            for (var t = local; t < PATCHES * DEPTH; t += PATCHES) {
                sh_patches[(t % DEPTH) * PATCHES + t / DEPTH] = feature(patch0 + t / DEPTH, channel0 + t % DEPTH);
            }
            for (var t = local; t < CENTERS * DEPTH; t += PATCHES) {
                let slot = min(center0 + t / DEPTH, count - 1u);
                sh_centers[t] = feature(selection[2u + slot], channel0 + t % DEPTH);
            }
            workgroupBarrier();
            for (var d = 0u; d < DEPTH; d++) {
                let own = sh_patches[d * PATCHES + local];
                for (var t = 0u; t < CENTERS; t++) {
                    let e = own - sh_centers[t * DEPTH + d];
                    sums[t] += e * e;
                }
            }
        }
        for (var t = 0u; t < min(CENTERS, count - center0); t++) {
            if selection[2u + center0 + t] == i {
                nearest = -1.0; // nothing is nearer to a centre than itself, not even its exact copy
                label = center0 + t;
            } else if sums[t] < nearest {
                nearest = sums[t];
                label = center0 + t;
            }
        }
    }
    if i < n {
        labels[i] = label;
    }
}
