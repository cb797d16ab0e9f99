// Reads a packed matrix W [N, K] four weights at a time (layout: src/kernels/quant_matmul.rs). K is a multiple of 4.
// Joined in front of quant_matvec.wgsl, quant_swiglu.wgsl, quant_matmul.wgsl and quant_rows.wgsl, which
// declare `params`: [kind, N, K, words before the scales, ...].

@group(0) @binding(0) var<storage, read> words: array<u32>;

const KIND_F32 = 0u;
const KIND_F16 = 1u;
const KIND_BF16 = 2u;
const KIND_Q8_0 = 3u;
const KIND_Q4_0 = 4u;

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
