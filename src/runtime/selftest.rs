//! A known-answer test of every WGSL kernel on the device at hand. A driver that compiles a shader wrongly gives wrong
//! answers without an error; so before a model is put on a GPU, each kernel does a small piece of work whose answer the
//! plain reference of the same name knows.
//!
//! All kernels are launched first and read back at once: a browser may take 100 ms for each wait.

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData, Transaction};
use serde::Serialize;
use web_time::Instant;

use crate::formats::blocks::WeightKind;
use crate::kernels::composite_layers::composite_layers;
use crate::kernels::decoder::{Cache, Next, cached_attention, rms_norm, swiglu, top2};
use crate::kernels::dense::{attention, conv2d, depthwise_conv2d, gelu_of_kind, layer_norm, linear};
use crate::kernels::epilogue::{Activation, Epilogue, Norm};
use crate::kernels::quant_matmul::{
    Activations, PackedShape, pack, quant_matmul, quant_matmul_reference, quant_rows, quant_rows_reference,
};
use crate::kernels::{
    CenterRule, ClusterOps, Conv2dShape, DeviceSampling, Filters, Gelu, MAX_RUN_AHEAD, MAX_TOP_K, TokenChoice,
    append_kv_reference, assign_clusters_reference, attention_reference, causal_attention_reference,
    cluster_mean_reference, composite_layers_reference, conv2d_reference, depthwise_conv2d_reference, gelu_reference,
    knn_density_reference, layer_norm_reference, matmul_reference, next_token_reference, peak_distance_reference,
    rms_norm_reference, rotate_reference, sample_token_reference, select_centers_reference, swiglu_reference,
    top2_reference,
};
use crate::{Error, Result};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelfTest {
    /// The kernels that were run, by the names of their files in `shaders/`.
    pub kernels: Vec<&'static str>,
    /// Those that gave a wrong answer.
    pub failed: Vec<&'static str>,
    /// Milliseconds that all of it took.
    pub milliseconds: f64,
}

/// Runs every kernel on a device.
///
/// # Errors
/// [`Error::DeviceLost`] when the device gives nothing back.
pub async fn run(device: &Device) -> Result<SelfTest> {
    let start = Instant::now();
    let test = judge(cases(device)).await?;
    Ok(SelfTest { milliseconds: start.elapsed().as_secs_f64() * 1e3, ..test })
}

async fn judge(cases: Vec<Case>) -> Result<SelfTest> {
    let outputs = cases.iter().fold(Transaction::default(), |read, case| match &case.output {
        Output::Floats(tensor) => read.register(tensor.clone()),
        Output::Integers(tensor) => read.register(tensor.clone()),
    });
    let outputs = outputs.execute_async().await.map_err(|error| Error::DeviceLost(error.to_string()))?;
    let mut test = SelfTest { kernels: Vec::new(), failed: Vec::new(), milliseconds: 0.0 };
    for (case, output) in cases.iter().zip(outputs) {
        note(&mut test.kernels, case.kernels);
        if !case.known.is_given_by(output) {
            note(&mut test.failed, case.kernels);
        }
    }
    Ok(test)
}

/// A kernel has several cases, and one name.
fn note(names: &mut Vec<&'static str>, kernels: &[&'static str]) {
    for name in kernels {
        if !names.contains(name) {
            names.push(name);
        }
    }
}

/// One operation, the kernels that it is made of, and what is known of it.
struct Case {
    kernels: &'static [&'static str],
    output: Output,
    known: Known,
}

enum Output {
    Floats(Tensor<1>),
    Integers(Tensor<1, Int>),
}

enum Known {
    /// No value is farther off than this.
    Floats(Vec<f32>, f32),
    Integers(Vec<i32>),
}

impl Known {
    fn is_given_by(&self, output: TensorData) -> bool {
        match self {
            Self::Floats(known, tolerance) => output.try_into_vec::<f32>().is_ok_and(|got| {
                // A comparison with NaN is false.
                got.len() == known.len() && got.iter().zip(known).all(|(got, known)| (got - known).abs() <= *tolerance)
            }),
            Self::Integers(known) => output.convert::<i32>().try_into_vec::<i32>().is_ok_and(|got| got == *known),
        }
    }
}

fn cases(device: &Device) -> Vec<Case> {
    let mut cases = cluster_cases(device);
    cases.extend(dense_cases(device));
    cases.extend(decoder_cases(device));
    cases.push(next_token_case(device));
    cases.push(sample_token_case(device));
    cases.push(layer_case(device));
    cases.push(depthwise_case(device));
    for kind in WeightKind::ALL {
        cases.extend(quant_cases(kind, device));
    }
    cases
}

/// Four clusters of patches that lie far apart. More rows than a workgroup takes and a width that no vector divides, so that
/// the edges of the kernels are reached. Each kernel is given what the references of those before it answer.
fn cluster_cases(device: &Device) -> Vec<Case> {
    const N: usize = 70;
    const C: usize = 13;
    const CLUSTERS: usize = 4;
    /// Sums of squares of values up to 9 in f32, against f64.
    const TOLERANCE: f32 = 2e-4;
    let features: Vec<f32> =
        (0..N * C).map(|i| 3.0 * (i / C % CLUSTERS) as f32 + (i * 7919 % 1009) as f32 / 2018.0).collect();
    let rule = CenterRule { threshold: 0.2, fallback: 1, k_max: 8 };
    let centers = [CLUSTERS as i32, N as i32, 0, 1, 2, 3]; // as `select_centers` writes them
    let density = knn_density_reference(&features, C, CLUSTERS);
    let peaks = peak_distance_reference(&features, C, &density);
    let (scores, selection) = select_centers_reference(&density, &peaks, rule);
    let labels = assign_clusters_reference(&features, C, &centers);
    let means = cluster_mean_reference(&features, C, &labels, CLUSTERS);

    let x = || floats(&features, [N, C], device).into_dispatch();
    let d = || floats(&density, [N], device).into_dispatch();
    let our_density = Tensor::from_dispatch(Dispatch::knn_density(x(), CLUSTERS));
    let our_peaks = Tensor::from_dispatch(Dispatch::peak_distance(x(), d()));
    let (our_scores, our_selection) =
        Dispatch::select_centers(d(), floats(&peaks, [2, N], device).into_dispatch(), rule);
    let our_labels = Dispatch::assign_clusters(x(), integers(&centers, device).into_dispatch());
    let our_means = Dispatch::cluster_mean(x(), integers(&labels, device).into_dispatch(), CLUSTERS);
    vec![
        Case {
            kernels: &["knn_density", "reduce_neighbors"],
            output: Output::Floats(our_density),
            known: Known::Floats(density.clone(), TOLERANCE),
        },
        Case {
            kernels: &["peak_distance", "reduce_peaks"],
            output: matrix(our_peaks),
            known: Known::Floats(peaks.clone(), TOLERANCE),
        },
        Case {
            kernels: &["select_centers"],
            output: matrix(Tensor::from_dispatch(our_scores)),
            known: Known::Floats(scores, TOLERANCE),
        },
        Case {
            kernels: &["select_centers"],
            output: Output::Integers(Tensor::from_dispatch(our_selection)),
            known: Known::Integers(selection),
        },
        Case {
            kernels: &["assign_clusters"],
            output: Output::Integers(Tensor::from_dispatch(our_labels)),
            known: Known::Integers(labels.clone()),
        },
        Case {
            kernels: &["cluster_mean"],
            output: matrix(Tensor::from_dispatch(our_means)),
            known: Known::Floats(means, TOLERANCE),
        },
    ]
}

/// Plain products whose sides leave a rest in every tile.
fn dense_cases(device: &Device) -> Vec<Case> {
    /// Sums of up to 70 products below 1.
    const TOLERANCE: f32 = 1e-4;
    const ROWS: usize = 5;
    const INNER: usize = 37;
    const COLUMNS: usize = 70;
    const READ: usize = 3;
    const SEEN: usize = 70;
    const HEAD_DIM: usize = 8;
    let shape = Conv2dShape { inputs: 3, height: 9, width: 7, outputs: 5, kernel: 3, stride: 2, padding: 1 };
    let (a, b, bias) = (values(ROWS * INNER, 37), values(INNER * COLUMNS, 41), values(COLUMNS, 43));
    let residual = values(ROWS * COLUMNS, 47);
    let (x, weight, offset) = (values(3 * 9 * 7, 47), values(5 * 3 * 3 * 3, 53), values(5, 59));
    let (q, k, v) = (values(READ * HEAD_DIM, 61), values(SEEN * HEAD_DIM, 67), values(SEEN * HEAD_DIM, 71));

    let product = linear(
        floats(&a, [ROWS, INNER], device),
        floats(&b, [INNER, COLUMNS], device),
        Epilogue {
            activation: Some(Activation::Gelu(Gelu::Tanh)),
            residual: Some(floats(&residual, [ROWS, COLUMNS], device)),
            ..Epilogue::bias(floats(&bias, [COLUMNS], device))
        },
    );
    let known_product = gelu_reference(&matmul_reference(&a, &b, &bias, INNER), Gelu::Tanh);
    let known_product = known_product.iter().zip(&residual).map(|(y, residual)| y + residual).collect();
    let pixels = floats(&x, [1, 3, 9, 7], device);
    let convolved = conv2d(pixels, floats(&weight, [5, 3, 3, 3], device), floats(&offset, [5], device), 2, 1);
    let heads = |values: &[f32], count: usize| floats(values, [1, 1, count, HEAD_DIM], device);
    let attended = attention(heads(&q, READ), heads(&k, SEEN), heads(&v, SEEN));
    vec![
        Case { kernels: &["matmul"], output: matrix(product), known: Known::Floats(known_product, TOLERANCE) },
        Case {
            kernels: &["conv2d"],
            output: Output::Floats(convolved.flatten(0, 3)),
            known: Known::Floats(conv2d_reference(&x, &weight, &offset, shape), TOLERANCE),
        },
        Case {
            kernels: &["layer_norm"],
            output: matrix(layer_norm(
                floats(&x, [3, x.len() / 3], device),
                floats(&a[..9], [9], device),
                floats(&b[..9], [9], device),
                1e-5,
            )),
            known: Known::Floats(layer_norm_reference(&x, &a[..9], &b[..9], x.len() / 3, 1e-5), TOLERANCE),
        },
        Case {
            kernels: &["gelu"],
            output: Output::Floats(gelu_of_kind(floats(&x, [x.len()], device), Gelu::Exact)),
            known: Known::Floats(gelu_reference(&x, Gelu::Exact), TOLERANCE),
        },
        Case {
            kernels: &["gelu"],
            output: Output::Floats(gelu_of_kind(floats(&x, [x.len()], device), Gelu::Tanh)),
            known: Known::Floats(gelu_reference(&x, Gelu::Tanh), TOLERANCE),
        },
        // Between two products, which have a case of their own.
        Case {
            kernels: &["softmax"],
            output: Output::Floats(attended.flatten(0, 3)),
            known: Known::Floats(attention_reference(&q, &k, &v, HEAD_DIM), TOLERANCE),
        },
    ]
}

/// A layer's steps beside its products.
fn decoder_cases(device: &Device) -> Vec<Case> {
    const TOLERANCE: f32 = 1e-4;
    const TOKENS: usize = 2;
    const WIDTH: usize = 48;
    let (x, weight) = (values(TOKENS * WIDTH, 37), values(WIDTH, 41));
    let rows = |values: &[f32]| floats(values, [TOKENS, values.len() / TOKENS], device);
    let mut cases = vec![
        Case {
            kernels: &["top2"],
            output: Output::Integers(top2(floats(&x, [1, x.len()], device))),
            known: Known::Integers(top2_reference(&x).map(|word| word as i32).to_vec()),
        },
        Case {
            kernels: &["rms_norm"],
            output: matrix(rms_norm(rows(&x), floats(&weight, [WIDTH], device), 1e-5)),
            known: Known::Floats(rms_norm_reference(&x, &weight, 1e-5), TOLERANCE),
        },
        Case {
            kernels: &["swiglu"],
            output: matrix(swiglu(rows(&x))),
            known: Known::Floats(swiglu_reference(&x, WIDTH / 2), TOLERANCE),
        },
    ];
    // Several positions, and one; more of them in the cache than a workgroup takes at a time, and than a span has.
    cases.extend(attention_cases(&["append_kv", "causal_attention"], 2, 65, device));
    cases.extend(attention_cases(&["causal_attention", "reduce_attention"], 1, 520, device));
    cases
}

/// New positions from `start` on.
fn attention_cases(kernels: &'static [&'static str], tokens: usize, start: usize, device: &Device) -> Vec<Case> {
    /// Sums of up to 521 weights that add up to 1, times values below 1.
    const TOLERANCE: f32 = 1e-4;
    const HEADS: usize = 4;
    const KEY_HEADS: usize = 2;
    const DIM: usize = 12;
    let capacity = start + tokens + 3;
    let shape = [KEY_HEADS, capacity, DIM];
    let (q, k, v) =
        (values(tokens * HEADS * DIM, 37), values(tokens * KEY_HEADS * DIM, 43), values(tokens * KEY_HEADS * DIM, 47));
    let of_token = |x: &[f32], token: usize| x[token * x.len() / tokens..][..x.len() / tokens].to_vec();
    let rows: Vec<f32> = (0..tokens).flat_map(|at| [&q, &k, &v].map(|x| of_token(x, at)).concat()).collect();
    let (rotation, keys, held) =
        (values(capacity * DIM, 53), values(KEY_HEADS * capacity * DIM, 59), values(KEY_HEADS * capacity * DIM, 61));

    let turns = &rotation[start * DIM..][..tokens * DIM];
    let known_keys = append_kv_reference(&rotate_reference(&k, turns, DIM), &keys, shape, start);
    let known_values = append_kv_reference(&v, &held, shape, start);
    let known_mixed = causal_attention_reference(&q, turns, [&known_keys, &known_values], shape, start);

    let cache = Cache { keys: floats(&keys, shape, device), values: floats(&held, shape, device) };
    let rows = floats(&rows, [tokens, rows.len() / tokens], device);
    let (mixed, cache) = cached_attention(rows, floats(&rotation, [capacity, DIM], device), word(start, device), cache);
    let floats_of = |tensor: Tensor<3>| Output::Floats(tensor.flatten(0, 2));
    vec![
        Case { kernels, output: floats_of(cache.keys), known: Known::Floats(known_keys, TOLERANCE) },
        Case { kernels, output: floats_of(cache.values), known: Known::Floats(known_values, 1e-6) },
        Case { kernels, output: matrix(mixed), known: Known::Floats(known_mixed, TOLERANCE) },
    ]
}

/// A token that follows another, in a ring that has come round.
fn next_token_case(device: &Device) -> Case {
    const PLACE: u32 = 37;
    let found: [u32; TokenChoice::WORDS] = [7, 11, 12, 13, 14, 15];
    let (id, offset, ring) = next_token_reference(&found, PLACE, &[0; TokenChoice::WORDS * MAX_RUN_AHEAD]);
    let mut next = Next::new(false, device);
    next.begin(3, PLACE, None);
    next.take(Tensor::from_data(TensorData::from(found), (device, DType::U32)));
    let known = [vec![id, offset], ring].concat();
    Case {
        kernels: &["next_token"],
        output: Output::Integers(Tensor::cat(vec![next.id, next.offset, next.ring], 0)),
        known: Known::Integers(known.into_iter().map(|word| word as i32).collect()),
    }
}

/// A token drawn among as many as can be, of which some are equal.
fn sample_token_case(device: &Device) -> Case {
    let logits = values(900, 37);
    let mut uniforms = [0.0; MAX_RUN_AHEAD];
    uniforms[0] = 0.41;
    let draw = DeviceSampling { top_k: MAX_TOP_K, temperature: 0.3, top_p: 0.9, uniforms };
    let mut next = Next::new(true, device);
    next.begin(0, 21, Some(&draw));
    Case {
        kernels: &["sample_token"],
        output: Output::Integers(next.choose(floats(&logits, [1, logits.len()], device))),
        known: Known::Integers(sample_token_reference(&logits, &draw, 0).map(|word| word as i32).to_vec()),
    }
}

fn word(word: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::from([word as u32]), (device, DType::U32))
}

/// Numbers from -1 to 1.
fn values(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * step % 101) as f32 - 50.0) / 50.0).collect()
}

/// Two layers that overlap, one of them not wholly on the image, and one without a side.
fn layer_case(device: &Device) -> Case {
    /// Mixtures of values below 1; a offset is a few units in the last place off, and so a share of a texel.
    const TOLERANCE: f32 = 1e-4;
    const SIDE: usize = 9;
    const TEXELS: usize = 5;
    let (image, images) = (values(3 * SIDE * SIDE, 37), values(3 * 4 * TEXELS * TEXELS, 41));
    let boxes = [0.4, 0.5, 0.45, 0.8, 0.7, 0.6, 0.5, 0.5, -0.5];
    let pasted = composite_layers(
        floats(&image, [3, SIDE, SIDE], device),
        floats(&images, [3, 4 * TEXELS * TEXELS], device),
        floats(&boxes, [3, 3], device),
    );
    Case {
        kernels: &["composite_layers"],
        output: Output::Floats(pasted.flatten(0, 2)),
        known: Known::Floats(composite_layers_reference(&image, &images, &boxes), TOLERANCE),
    }
}

/// Filters that reach over every edge, from a stride that leaves a rest.
fn depthwise_case(device: &Device) -> Case {
    const CHANNELS: usize = 12;
    let filters = Filters::same(8, 5, 2).with_relu6();
    let (x, weight, bias) = (values(8 * 8 * CHANNELS, 37), values(25 * CHANNELS, 41), values(CHANNELS, 43));
    let (pixels, taps) = (floats(&x, [8, 8, CHANNELS], device), floats(&weight, [25, CHANNELS], device));
    let ours = depthwise_conv2d(pixels, taps, floats(&bias, [CHANNELS], device), filters);
    let known = depthwise_conv2d_reference(&x, &weight, &bias, [8, 8], filters);
    let output = Output::Floats(ours.flatten(0, 2));
    Case { kernels: &["depthwise_conv2d"], output, known: Known::Floats(known, 1e-4) }
}

/// A packed matrix times one token, times three, with all that goes with a product, and some of its rows.
fn quant_cases(kind: WeightKind, device: &Device) -> Vec<Case> {
    const ROWS: usize = 6;
    const COLUMNS: usize = 96;
    /// Sums of 96 products below 2, in f32 against f64.
    const TOLERANCE: f32 = 1e-3;
    const EPS: f32 = 1e-5;
    let Some(shape) = PackedShape::new(kind, ROWS, COLUMNS) else { return Vec::new() };
    let words = pack(&weights(shape), shape);
    let (x, norm, bias, residual) =
        (values(3 * COLUMNS, 37), values(COLUMNS, 41), values(ROWS, 43), values(3 * ROWS, 47));
    let ids = [4, 0, 3];

    let packed = || Tensor::<1, Int>::from_data(TensorData::from(words.as_slice()), (device, DType::U32));
    let product = |kernels, tokens: usize, is_swiglu: bool| {
        let x = &x[..tokens * COLUMNS];
        let product = quant_matmul_reference(&rms_norm_reference(x, &norm, EPS), &words, shape);
        let known = if is_swiglu {
            swiglu_reference(&product, ROWS / 2)
        } else {
            let sums: Vec<f32> = product.iter().enumerate().map(|(at, y)| y + bias[at % ROWS]).collect();
            gelu_reference(&sums, Gelu::Exact).iter().zip(&residual).map(|(y, residual)| y + residual).collect()
        };
        let norm = Norm { weight: floats(&norm, [COLUMNS], device), eps: EPS };
        let epilogue = if is_swiglu {
            Epilogue { norm: Some(norm), is_swiglu, ..Epilogue::default() }
        } else {
            Epilogue {
                norm: Some(norm),
                bias: Some(floats(&bias, [ROWS], device)),
                activation: Some(Activation::Gelu(Gelu::Exact)),
                residual: Some(floats(&residual[..tokens * ROWS], [tokens, ROWS], device)),
                is_swiglu,
            }
        };
        let x = floats(x, [tokens, COLUMNS], device);
        Case {
            kernels,
            output: matrix(quant_matmul(x, packed(), epilogue, shape, Activations::Exact)),
            known: Known::Floats(known, TOLERANCE),
        }
    };
    let our_ids = Tensor::<1, Int>::from_data(TensorData::from(ids.map(|id| id as u32)), (device, DType::U32));
    vec![
        product(&["quant_matvec"], 1, false),
        product(&["quant_swiglu"], 1, true),
        product(&["quant_matmul"], 3, false),
        Case {
            kernels: &["quant_rows"],
            output: matrix(quant_rows(packed(), our_ids, shape)),
            known: Known::Floats(quant_rows_reference(&words, &ids, shape), 1e-6),
        },
    ]
}

/// Blocks as a file has them: quants of every value, scales around a hundredth.
fn weights(shape: PackedShape) -> Vec<u8> {
    let PackedShape { kind, rows, columns } = shape;
    let mut bytes = Vec::new();
    for block in 0..rows * columns / kind.block_len() {
        let value = ((block * 53 % 97) as f32 - 48.0) / 48.0;
        let scale = half::f16::from_f32(0.01 + 0.001 * (block % 7) as f32).to_le_bytes();
        let quants = |count: usize| (0..count).map(move |at| ((block * 31 + at * 73) % 256) as u8);
        match kind {
            WeightKind::F32 => bytes.extend(value.to_le_bytes()),
            WeightKind::F16 => bytes.extend(half::f16::from_f32(value).to_le_bytes()),
            WeightKind::BF16 => bytes.extend(half::bf16::from_f32(value).to_le_bytes()),
            WeightKind::Q8_0 => bytes.extend(scale.into_iter().chain(quants(32))),
            WeightKind::Q4_0 => bytes.extend(scale.into_iter().chain(quants(16))),
            WeightKind::Q4_1 => {
                let minimum = half::f16::from_f32(-0.1).to_le_bytes();
                bytes.extend(scale.into_iter().chain(minimum).chain(quants(16)));
            }
        }
    }
    bytes
}

fn floats<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F32))
}

fn integers(values: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::from(values), (device, DType::I32))
}

fn matrix(tensor: Tensor<2>) -> Output {
    Output::Floats(tensor.flatten(0, 1))
}

#[cfg(test)]
#[cfg(not(target_family = "wasm"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

    use super::*;

    /// On the CPU every kernel is its own reference, so only what is spoilt can fail.
    #[tokio::test]
    async fn every_spoilt_answer_is_found_and_nothing_else() {
        for spoilt in 0..cases(&Device::flex()).len() {
            let mut cases = cases(&Device::flex());
            let kernels = cases[spoilt].kernels;
            match &mut cases[spoilt].known {
                Known::Floats(known, tolerance) => *known.last_mut().unwrap() += 3.0 * *tolerance,
                Known::Integers(known) => *known.last_mut().unwrap() += 1,
            }
            assert_eq!(judge(cases).await.unwrap().failed, kernels);
        }
    }

    #[test]
    fn what_is_no_number_or_not_all_there_is_wrong() {
        let known = Known::Floats(vec![1.0, 2.0], 0.5);
        assert!(known.is_given_by(TensorData::from([1.2_f32, 1.8])));
        assert!(!known.is_given_by(TensorData::from([1.0_f32, f32::NAN])));
        assert!(!known.is_given_by(TensorData::from([1.0_f32])));
        assert!(!known.is_given_by(TensorData::from([1_i32, 2])));
    }
}
