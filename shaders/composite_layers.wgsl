// Small pictures on top of an image, each in a square of its own; bilinear, and clear outside of the square. All lie at the
// same height: where several meet, their colours mix by opacity.
//
// Shapes: image, pasted [3, S, S]; pictures [L, 4, G, G]: colour, and opacity before the sigmoid; boxes [L, 3]: middle
// across, middle down and side, as shares of S. A box whose side is not positive shows nothing.
// Workgroup: 64 invocations, a pixel each. Workgroups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> image: array<f32>;
@group(0) @binding(1) var<storage, read> pictures: array<f32>;
@group(0) @binding(2) var<storage, read> boxes: array<f32>;
@group(0) @binding(3) var<storage, read> params: array<u32>; // [S, L, G]
@group(0) @binding(4) var<storage, read_write> pasted: array<f32>;

const PIXELS = 64u;

// A pixel of picture `layer`: colour times opacity, and opacity; nothing outside of it.
fn texel(layer: u32, x: i32, y: i32) -> vec4<f32> {
    let g = i32(params[2]);
    if x < 0 || y < 0 || x >= g || y >= g {
        return vec4<f32>(0.0);
    }
    let plane = params[2] * params[2];
    let at = layer * 4u * plane + u32(y * g + x);
    let opacity = 1.0 / (1.0 + exp(-pictures[at + 3u * plane]));
    return opacity * vec4<f32>(pictures[at], pictures[at + plane], pictures[at + 2u * plane], 1.0);
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = params[0];
    let g = f32(params[2]);
    let pixel = (group.y * groups.x + group.x) * PIXELS + local;
    if pixel >= s * s {
        return;
    }
    let offset = (vec2<f32>(f32(pixel % s), f32(pixel / s)) + 0.5) / f32(s);
    var laid = vec4<f32>(0.0);
    var clear = 1.0;
    for (var layer = 0u; layer < params[1]; layer++) {
        let side = boxes[layer * 3u + 2u];
        if !(side > 0.0) {
            continue;
        }
        let middle = vec2<f32>(boxes[layer * 3u], boxes[layer * 3u + 1u]);
        let at = ((offset - middle) / max(side, 1e-3) + 0.5) * g - 0.5;
        if !(at.x > -1.0 && at.y > -1.0 && at.x < g && at.y < g) {
            continue;
        }
        let corner = vec2<i32>(floor(at));
        let share = at - floor(at);
        let top = mix(texel(layer, corner.x, corner.y), texel(layer, corner.x + 1, corner.y), share.x);
        let bottom = mix(texel(layer, corner.x, corner.y + 1), texel(layer, corner.x + 1, corner.y + 1), share.x);
        let seen = mix(top, bottom, share.y);
        laid += seen;
        clear *= 1.0 - seen.w;
    }
    for (var channel = 0u; channel < 3u; channel++) {
        let at = channel * s * s + pixel;
        pasted[at] = clear * image[at] + (1.0 - clear) * laid[channel] / max(laid.w, 1e-6);
    }
}
