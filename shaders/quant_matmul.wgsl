// quant_matmul: y = x W^T for several tokens, with W packed (layout: src/kernels/quant_matmul.rs).
//
// Shapes: W [N, K] packed in words, x [T, K], y [T, N]. K is a multiple of 4.
// Workgroup: 64 invocations make a tile of 32 tokens x 32 rows, 4 x 4 sums each. The columns go by in slices of 32:
// the slice of W is unpacked once into workgroup memory and used by all 32 tokens.
// Groups past 65,535 continue in the second dimension of the dispatch.

@group(0) @binding(0) var<storage, read> words: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> params: array<u32>; // [kind, N, K, words before the scales, T]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const TILE: u32 = 32u;
// Groups of four columns in a slice.
const SLICE: u32 = 8u;

var<workgroup> sh_w: array<vec4<f32>, 256>; // [TILE rows, SLICE]
var<workgroup> sh_x: array<vec4<f32>, 256>; // [TILE tokens, SLICE]

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
    let tokens = params[4];
    let row_tiles = (rows + TILE - 1u) / TILE;
    let tile = group_id.y * group_count.x + group_id.x;
    let first_row = (tile % row_tiles) * TILE;
    let first_token = (tile / row_tiles) * TILE;
    // This invocation makes the sums of rows local_row + 8 i and tokens local_token + 8 j of the tile.
    let local_row = local % 8u;
    let local_token = local / 8u;

    var sums: array<vec4<f32>, 4>;
    for (var first_group = 0u; first_group < groups_per_row; first_group += SLICE) {
        for (var at = local; at < TILE * SLICE; at += 64u) {
            let group = first_group + at % SLICE;
            let row = first_row + at / SLICE;
            let token = first_token + at / SLICE;
            var w_value = vec4<f32>(0.0);
            var x_value = vec4<f32>(0.0);
            if group < groups_per_row && row < rows {
                w_value = weights4(row * groups_per_row + group);
            }
            if group < groups_per_row && token < tokens {
                x_value = x[token * groups_per_row + group];
            }
            sh_w[at] = w_value;
            sh_x[at] = x_value;
        }
        workgroupBarrier();
        for (var group = 0u; group < SLICE; group++) {
            let x0 = sh_x[local_token * SLICE + group];
            let x1 = sh_x[(local_token + 8u) * SLICE + group];
            let x2 = sh_x[(local_token + 16u) * SLICE + group];
            let x3 = sh_x[(local_token + 24u) * SLICE + group];
            for (var i = 0u; i < 4u; i++) {
                let w = sh_w[(local_row + 8u * i) * SLICE + group];
                sums[i] += vec4<f32>(dot(w, x0), dot(w, x1), dot(w, x2), dot(w, x3));
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 4u; i++) {
        let row = first_row + local_row + 8u * i;
        for (var j = 0u; j < 4u; j++) {
            let token = first_token + local_token + 8u * j;
            if row < rows && token < tokens {
                y[token * rows + row] = sums[i][j];
            }
        }
    }
}
