// Gives every patch to its nearest centre: features [N, C], selection [2 + k_max] -> labels [N], an index into the
// ascending centres. Equal distances go to the lower one; a centre belongs to itself. A launch looks at the centres from
// `first` to `end`; those after it go on from its labels and distances.
// Workgroup: 64 invocations, one patch each; centres pass through workgroup memory 16 at a time. Memory: 10.1 KiB.
// Needs shared/far.wgsl.

@group(0) @binding(0) var<storage, read> features: array<f32>;      // [N, C]
@group(0) @binding(1) var<storage, read> params: array<u32>;        // [N, C, workgroups per dispatch row, first, end]
@group(0) @binding(2) var<storage, read> selection: array<u32>;     // [2 + k_max], see select_centers.wgsl
@group(0) @binding(3) var<storage, read_write> labels: array<u32>;  // [N]
@group(0) @binding(4) var<storage, read_write> nearest: array<f32>; // [N], to the centre of the label; below 0 for a centre

const PATCHES = 64u;
const CENTERS = 16u;
const DEPTH = 32u;

var<workgroup> sh_patches: array<f32, 2048>;      // [DEPTH, PATCHES]
var<workgroup> sh_centers: array<vec4<f32>, 128>; // [CENTERS / 4, DEPTH], four centres each

struct Found {
    label: u32,
    distance: f32,
}

fn feature(index: u32, channel: u32) -> f32 {
    if index < params[0] && channel < params[1] {
        return features[index * params[1] + channel];
    }
    return 0.0;
}

// Of a centre of the tile; the last one again past the end, which no distance is kept of.
fn center_feature(slot: u32, channel: u32) -> f32 {
    return feature(selection[2u + min(slot, selection[0] - 1u)], channel);
}

// Keeps the nearer one.
fn consider(found: ptr<function, Found>, slot: u32, own: u32, distance: f32) {
    if slot >= min(selection[0], params[4]) {
        return;
    }
    if selection[2u + slot] == own {
        *found = Found(slot, -1.0); // nothing is nearer to a centre than itself, not even its exact copy
    } else if distance < (*found).distance {
        *found = Found(slot, distance);
    }
}

fn consider_four(found: ptr<function, Found>, slot: u32, own: u32, distances: vec4<f32>) {
    consider(found, slot, own, distances.x);
    consider(found, slot + 1u, own, distances.y);
    consider(found, slot + 2u, own, distances.z);
    consider(found, slot + 3u, own, distances.w);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let n = params[0];
    let first = params[3];
    let end = min(selection[0], params[4]);
    let patch0 = (group.y * params[2] + group.x) * PATCHES;
    if !(patch0 < n) {
        return;
    }
    let i = patch0 + local;
    var found = Found(0u, FAR);
    if first > 0u && i < n {
        found = Found(labels[i], nearest[i]);
    }
    for (var center0 = first; center0 < end; center0 += CENTERS) {
        var sums0 = vec4<f32>(0.0);
        var sums1 = vec4<f32>(0.0);
        var sums2 = vec4<f32>(0.0);
        var sums3 = vec4<f32>(0.0);
        for (var channel0 = 0u; channel0 < params[1]; channel0 += DEPTH) {
            workgroupBarrier();
            for (var t = local; t < PATCHES * DEPTH; t += PATCHES) {
                sh_patches[(t % DEPTH) * PATCHES + t / DEPTH] = feature(patch0 + t / DEPTH, channel0 + t % DEPTH);
            }
            for (var t = local; t < CENTERS / 4u * DEPTH; t += PATCHES) {
                let slot = center0 + t / DEPTH * 4u;
                let channel = channel0 + t % DEPTH;
                sh_centers[t] = vec4<f32>(
                    center_feature(slot, channel),
                    center_feature(slot + 1u, channel),
                    center_feature(slot + 2u, channel),
                    center_feature(slot + 3u, channel),
                );
            }
            workgroupBarrier();
            for (var d = 0u; d < DEPTH; d++) {
                let own = sh_patches[d * PATCHES + local];
                let from0 = own - sh_centers[d];
                let from1 = own - sh_centers[DEPTH + d];
                let from2 = own - sh_centers[2u * DEPTH + d];
                let from3 = own - sh_centers[3u * DEPTH + d];
                sums0 += from0 * from0;
                sums1 += from1 * from1;
                sums2 += from2 * from2;
                sums3 += from3 * from3;
            }
        }
        consider_four(&found, center0, i, sums0);
        consider_four(&found, center0 + 4u, i, sums1);
        consider_four(&found, center0 + 8u, i, sums2);
        consider_four(&found, center0 + 12u, i, sums3);
    }
    if i < n {
        labels[i] = found.label;
        nearest[i] = found.distance;
    }
}
