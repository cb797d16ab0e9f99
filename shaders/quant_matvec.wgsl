// quant_matvec: y = W x for one token, with W packed (layout: src/kernels/quant_matmul.rs).
//
// Shapes: W [N, K] packed in words, x [K], y [N]. K is a multiple of 4.
// Workgroup: 64 invocations = 4 rows x 16 lanes. The lanes of a row read neighbouring words, then add up their sums.
// Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> words: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> params: array<u32>; // [kind, N, K, words before the scales]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const ROWS: u32 = 4u;
const LANES: u32 = 16u;

var<workgroup> sh_sums: array<f32, 64>;

// decode begin (the same text in every quant_*.wgsl; a test holds them equal)
const KIND_F32: u32 = 0u;
const KIND_F16: u32 = 1u;
const KIND_BF16: u32 = 2u;
const KIND_Q8_0: u32 = 3u;
const KIND_Q4_0: u32 = 4u;

// f16 as f32 by integer steps: a GPU may flush small f16 numbers to zero in unpack2x16float.
fn f32_from_f16(bits: u32) -> f32 {
    let sign = (bits & 0x8000u) << 16u;
    let magnitude = bits & 0x7fffu;
    let small = bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8);
    let value = select((magnitude << 13u) + 0x38000000u, small, magnitude < 0x400u);
    return bitcast<f32>(sign | value);
}

fn half_at(index: u32) -> f32 {
    return f32_from_f16((words[index / 2u] >> (16u * (index % 2u))) & 0xffffu);
}

// Four signed bytes of a word as numbers.
fn signed_bytes(word: u32) -> vec4<f32> {
    let bits = vec4<i32>(bitcast<i32>(word));
    return vec4<f32>((bits << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

// Weights 4 * group .. 4 * group + 3 of the whole matrix, groups counted row by row.
fn weights4(group: u32) -> vec4<f32> {
    let kind = params[0];
    if kind == KIND_F32 {
        let at = 4u * group;
        return bitcast<vec4<f32>>(vec4<u32>(words[at], words[at + 1u], words[at + 2u], words[at + 3u]));
    }
    if kind == KIND_F16 || kind == KIND_BF16 {
        let pairs = vec2<u32>(words[2u * group], words[2u * group + 1u]);
        let bits = vec4<u32>(pairs.x & 0xffffu, pairs.x >> 16u, pairs.y & 0xffffu, pairs.y >> 16u);
        if kind == KIND_BF16 {
            return bitcast<vec4<f32>>(bits << vec4<u32>(16u));
        }
        return vec4<f32>(f32_from_f16(bits.x), f32_from_f16(bits.y), f32_from_f16(bits.z), f32_from_f16(bits.w));
    }
    let block = group / 8u;
    let first_scale = 2u * params[3];
    if kind == KIND_Q8_0 {
        return half_at(first_scale + block) * signed_bytes(words[group]);
    }
    // Groups 0-3 of a block are the low nibbles of its four words, groups 4-7 the high ones.
    let word = words[4u * block + group % 4u] >> (4u * ((group / 4u) % 2u));
    let quants = vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u));
    if kind == KIND_Q4_0 {
        return half_at(first_scale + block) * (quants - 8.0);
    }
    return half_at(first_scale + 2u * block) * quants + half_at(first_scale + 2u * block + 1u);
}
// decode end

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = params[1];
    let groups_per_row = params[2] / 4u;
    let lane = local % LANES;
    let row = (group_id.y * group_count.x + group_id.x) * ROWS + local / LANES;

    var sum = 0.0;
    if row < rows {
        for (var group = lane; group < groups_per_row; group += LANES) {
            sum += dot(weights4(row * groups_per_row + group), x[group]);
        }
    }
    sh_sums[local] = sum;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            sh_sums[local] += sh_sums[local + width];
        }
    }
    if lane == 0u && row < rows {
        y[row] = sh_sums[local];
    }
}
