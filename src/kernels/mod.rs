//! Hand-written WGSL on a GPU, Rust elsewhere, behind sets of burn operations: clustering here, products with plain
//! numbers in `dense.rs`, with packed weights in `quant_matmul.rs`, what a decoder does between them in `decoder.rs`, and a
//! detokenizer's layers in `composite_layers.rs`.
//!
//! Each operation has one name in four places: `shaders/x.wgsl`, the launch and the reference in `kernels/x.rs`, and the
//! parity test in `tests/everywhere/kernels/`. The reference sums in `f64` and is meant to be read; the CPU device runs vector code
//! where that is worth it. No step of the clustering ever holds an `[N, N]` matrix.

mod launch;

mod append_kv;
mod assign_clusters;
mod attention;
mod causal_attention;
mod cluster_mean;
pub mod composite_layers;
mod conv2d;
pub mod decoder;
pub mod dense;
mod depthwise_conv2d;
mod distances;
pub mod epilogue;
mod gelu;
mod gemm_panels;
mod knn_density;
mod layer_norm;
mod matmul;
mod next_token;
mod peak_distance;
pub mod quant_matmul;
mod rms_norm;
mod sample_token;
pub mod sampling;
mod select_centers;
mod simd;
mod swiglu;
mod top2;

pub use append_kv::{append_kv_reference, rotate_reference};
pub use assign_clusters::assign_clusters_reference;
pub use attention::{attention_reference, softmax_reference};
pub use causal_attention::causal_attention_reference;
pub use cluster_mean::cluster_mean_reference;
pub use composite_layers::composite_layers_reference;
pub use conv2d::{Conv2dShape, conv2d_reference};
pub use depthwise_conv2d::{CHANNEL_GROUP, Filters, depthwise_conv2d_reference};
pub use gelu::{Gelu, gelu_reference};
pub use knn_density::knn_density_reference;
pub(crate) use launch::keep_memory;
pub use launch::{Kernel, SHADERS};
pub use layer_norm::layer_norm_reference;
pub use matmul::matmul_reference;
pub use next_token::{MAX_RUN_AHEAD, next_token_reference};
pub use peak_distance::peak_distance_reference;
pub use rms_norm::rms_norm_reference;
pub use sample_token::{DeviceSampling, MAX_TOP_K, sample_token_reference};
pub use select_centers::{CenterRule, Selection, select_centers_reference};
pub use swiglu::swiglu_reference;
pub use top2::{TokenChoice, top2_reference};

use burn::backend::{
    Backend, backend_extension,
    flex::Flex,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Device, Shape, TensorData};
use burn_cubecl::CubeBackend;
use burn_flex::FlexTensor;

/// The steps of density-peak clustering, in the order in which they run. Shapes as in `shaders/README.md`.
#[backend_extension(Cube, Flex)]
pub trait ClusterOps: Backend {
    /// `[N, C]` -> density `[N]`; -1 for a patch with a NaN or infinite feature.
    fn knn_density(features: FloatTensor<Self>, k: usize) -> FloatTensor<Self>;
    /// `[N, C]`, density `[N]` -> `[2, N]`: delta (-1 at the global peak) and distance to the farthest patch.
    fn peak_distance(features: FloatTensor<Self>, density: FloatTensor<Self>) -> FloatTensor<Self>;
    /// density `[N]`, peaks `[2, N]` -> scores `[2, N]` (delta, score) and the selection `[2 + k_max]`.
    fn select_centers(
        density: FloatTensor<Self>,
        peaks: FloatTensor<Self>,
        rule: CenterRule,
    ) -> (FloatTensor<Self>, IntTensor<Self>);
    /// `[N, C]`, selection `[2 + k_max]` -> labels `[N]`.
    fn assign_clusters(features: FloatTensor<Self>, selection: IntTensor<Self>) -> IntTensor<Self>;
    /// `[N, C]`, labels `[N]` -> means `[L, C]`.
    fn cluster_mean(features: FloatTensor<Self>, labels: IntTensor<Self>, clusters: usize) -> FloatTensor<Self>;
}

impl ClusterOps for CubeBackend {
    fn knn_density(features: FloatTensor<Self>, k: usize) -> FloatTensor<Self> {
        knn_density::launch(features, k)
    }
    fn peak_distance(features: FloatTensor<Self>, density: FloatTensor<Self>) -> FloatTensor<Self> {
        peak_distance::launch(features, density)
    }
    fn select_centers(
        density: FloatTensor<Self>,
        peaks: FloatTensor<Self>,
        rule: CenterRule,
    ) -> (FloatTensor<Self>, IntTensor<Self>) {
        select_centers::launch(density, peaks, rule)
    }
    fn assign_clusters(features: FloatTensor<Self>, selection: IntTensor<Self>) -> IntTensor<Self> {
        assign_clusters::launch(features, selection)
    }
    fn cluster_mean(features: FloatTensor<Self>, labels: IntTensor<Self>, clusters: usize) -> FloatTensor<Self> {
        cluster_mean::launch(features, labels, clusters)
    }
}

impl ClusterOps for Flex {
    fn knn_density(features: FloatTensor<Self>, k: usize) -> FloatTensor<Self> {
        let features = features.to_contiguous();
        let [n, c] = matrix(&features);
        tensor(knn_density::density_on_cpu(features.storage(), c, k), [n])
    }
    fn peak_distance(features: FloatTensor<Self>, density: FloatTensor<Self>) -> FloatTensor<Self> {
        let (features, density) = (features.to_contiguous(), density.to_contiguous());
        let [n, c] = matrix(&features);
        tensor(peak_distance::peaks_on_cpu(features.storage(), c, density.storage()), [2, n])
    }
    fn select_centers(
        density: FloatTensor<Self>,
        peaks: FloatTensor<Self>,
        rule: CenterRule,
    ) -> (FloatTensor<Self>, IntTensor<Self>) {
        let (density, peaks) = (density.to_contiguous(), peaks.to_contiguous());
        let n = density.storage::<f32>().len();
        let (scores, selection) = select_centers_reference(density.storage(), peaks.storage(), rule);
        (tensor(scores, [2, n]), tensor(selection, [2 + rule.k_max]))
    }
    fn assign_clusters(features: FloatTensor<Self>, selection: IntTensor<Self>) -> IntTensor<Self> {
        let (features, selection) = (features.to_contiguous(), selection.to_contiguous());
        let [n, c] = matrix(&features);
        tensor(assign_clusters_reference(features.storage(), c, selection.storage()), [n])
    }
    fn cluster_mean(features: FloatTensor<Self>, labels: IntTensor<Self>, clusters: usize) -> FloatTensor<Self> {
        let (features, labels) = (features.to_contiguous(), labels.to_contiguous());
        let [_, c] = matrix(&features);
        tensor(cluster_mean_reference(features.storage(), c, labels.storage(), clusters), [clusters, c])
    }
}

fn matrix(tensor: &FlexTensor) -> [usize; 2] {
    let shape = tensor.layout().shape();
    [shape[0], shape[1]]
}

fn tensor<E: burn::tensor::Element, S: Into<Shape>>(values: Vec<E>, shape: S) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Work below this many multiplications is not worth waking a thread for.
#[cfg(not(target_family = "wasm"))]
const PARALLEL_WORK: usize = 160 * 1024;

/// And a part of it that is smaller than this is not worth handing over.
#[cfg(not(target_family = "wasm"))]
const PART_WORK: usize = 4 * 1024;

/// Calls `fill(first_row, part)` for parts of `out`, which are rows of `width` numbers: on all cores where there are
/// threads and a row costs enough of them. `row_work` is in multiplications.
#[cfg(not(target_family = "wasm"))]
fn fill_rows(out: &mut [f32], width: usize, row_work: usize, fill: impl Fn(usize, &mut [f32]) + Sync) {
    use rayon::prelude::*;
    let rows = out.len() / width;
    if rows * row_work < PARALLEL_WORK {
        return fill(0, out);
    }
    let part_rows = rows.div_ceil(4 * rayon::current_num_threads()).max(PART_WORK.div_ceil(row_work));
    out.par_chunks_mut(part_rows * width).enumerate().for_each(|(part, out)| fill(part * part_rows, out));
}

#[cfg(target_family = "wasm")]
fn fill_rows(out: &mut [f32], _width: usize, _row_work: usize, fill: impl Fn(usize, &mut [f32])) {
    fill(0, out);
}

/// `row(0), row(1), … row(n - 1)`, on all cores where there are threads.
fn for_each_row<R: Send>(n: usize, row: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    #[cfg(not(target_family = "wasm"))]
    {
        use rayon::prelude::*;
        (0..n).into_par_iter().map(row).collect()
    }
    #[cfg(target_family = "wasm")]
    {
        (0..n).map(row).collect()
    }
}

/// Does `work` whose tensors are on `device`. Where that is the CPU, it moves to a thread of rayon's pool, once: from any
/// other thread each product would wake the pool and wait for it, a third of the time of a token.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn in_pool<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    if *device == Device::flex() { rayon::scope(|_| work()) } else { work() }
}

#[cfg(target_family = "wasm")]
pub(crate) fn in_pool<R>(_device: &Device, work: impl FnOnce() -> R) -> R {
    work()
}
