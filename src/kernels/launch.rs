//! From a WGSL file to a launch on the device.

use std::cell::RefCell;
use std::collections::HashMap;

use burn::tensor::{DType, Shape};
use burn_cubecl::{
    kernel::into_contiguous,
    template::{KernelSource, SourceKernel, SourceTemplate},
    tensor::CubeTensor,
};
use cubecl::{
    CubeCount, CubeDim,
    client::Client,
    prelude::KernelId,
    server::{Handle, KernelArguments},
};

/// One WGSL compute shader. The file is used as it stands: nothing is templated, so the name says all that shapes the
/// pipeline, and two kernels can never share a cached one.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    /// The file's name without `.wgsl`.
    pub name: &'static str,
    /// Files of declarations that it needs, if any.
    pub shared: &'static [&'static str],
    /// The text of the file.
    pub source: &'static str,
    /// Invocations per workgroup, as written in the file (`tests/native/shaders.rs` compares them).
    pub workgroup: u32,
    /// Storage bindings, as written in the file.
    pub bindings: usize,
}

macro_rules! shared {
    ($name:literal) => {
        include_str!(concat!("../../shaders/shared/", $name, ".wgsl"))
    };
}

const FAR: &str = shared!("far");
const NEAREST: &str = shared!("nearest");
const TILE_OF_SUMS: &str = shared!("tile");
const DISTANCE_TILE: &str = shared!("distance_tile");
const REGISTER_TILE: &str = shared!("register_tile");
const TILED_PRODUCT: &str = shared!("tiled_product");
const GELU_FORMS: &str = shared!("gelu");
const EPILOGUE: &str = shared!("epilogue");
const SILU: &str = shared!("silu");
const QUANT_WEIGHTS: &str = shared!("quant_weights");

/// Rows and columns of a tile of `tile.wgsl`.
pub const TILE: usize = 64;

macro_rules! kernel {
    ($name:literal, [$($shared:expr),*], $workgroup:literal, $bindings:literal) => {
        Kernel {
            name: $name,
            shared: &[$($shared),*],
            source: include_str!(concat!("../../shaders/", $name, ".wgsl")),
            workgroup: $workgroup,
            bindings: $bindings,
        }
    };
}

/// Density of each patch among the neighbours of a span.
pub const KNN_DENSITY: Kernel = kernel!("knn_density", [FAR, NEAREST, TILE_OF_SUMS, DISTANCE_TILE], 64, 3);
/// Densities of all spans -> density of each patch.
pub const REDUCE_NEIGHBORS: Kernel = kernel!("reduce_neighbors", [FAR, NEAREST], 64, 4);
/// Distance to the nearest denser patch of a span.
pub const PEAK_DISTANCE: Kernel = kernel!("peak_distance", [FAR, TILE_OF_SUMS, DISTANCE_TILE], 64, 4);
/// Distances of all spans -> delta and score of each patch.
pub const REDUCE_PEAKS: Kernel = kernel!("reduce_peaks", [FAR], 64, 3);
/// Scores -> the patches that clusters gather around.
pub const SELECT_CENTERS: Kernel = kernel!("select_centers", [], 256, 5);
/// Patches -> the cluster of the nearest centre.
pub const ASSIGN_CLUSTERS: Kernel = kernel!("assign_clusters", [FAR], 64, 4);
/// Features -> their mean in each cluster.
pub const CLUSTER_MEAN: Kernel = kernel!("cluster_mean", [], 64, 4);
/// Matrix product with its epilogue.
pub const MATMUL: Kernel = kernel!("matmul", [GELU_FORMS, EPILOGUE, TILE_OF_SUMS, REGISTER_TILE, TILED_PRODUCT], 64, 6);
/// Convolution over pixels.
pub const CONV2D: Kernel = kernel!("conv2d", [TILE_OF_SUMS, REGISTER_TILE, TILED_PRODUCT], 64, 5);
/// Convolution of each channel by itself.
pub const DEPTHWISE_CONV2D: Kernel = kernel!("depthwise_conv2d", [], 64, 5);
/// Softmax over the last dimension.
pub const SOFTMAX: Kernel = kernel!("softmax", [], 64, 3);
/// LayerNorm over the last dimension.
pub const LAYER_NORM: Kernel = kernel!("layer_norm", [], 256, 5);
/// GELU, exact or by tanh.
pub const GELU: Kernel = kernel!("gelu", [GELU_FORMS], 64, 3);
/// RMSNorm over the last dimension.
pub const RMS_NORM: Kernel = kernel!("rms_norm", [], 64, 4);
/// Rotates new keys and puts them and values into the cache.
pub const APPEND_KV: Kernel = kernel!("append_kv", [], 64, 6);
/// Attention to all earlier positions, in spans.
pub const CAUSAL_ATTENTION: Kernel = kernel!("causal_attention", [], 64, 7);
/// Attention of all spans -> attention.
pub const REDUCE_ATTENTION: Kernel = kernel!("reduce_attention", [], 64, 3);
/// `silu(gates) * rest`.
pub const SWIGLU: Kernel = kernel!("swiglu", [SILU], 64, 3);
/// The two largest logits and the first that is NaN.
pub const TOP2: Kernel = kernel!("top2", [], 256, 3);
/// Draws a token among the most likely ones.
pub const SAMPLE_TOKEN: Kernel = kernel!("sample_token", [], 256, 5);
/// Takes the chosen token as the next to be read.
pub const NEXT_TOKEN: Kernel = kernel!("next_token", [], 64, 4);
/// Packed matrix by one row, with its epilogue.
pub const QUANT_MATVEC: Kernel = kernel!("quant_matvec", [GELU_FORMS, EPILOGUE, QUANT_WEIGHTS], 64, 7);
/// Packed matrix by one row, whose rows are gates and what they let through.
pub const QUANT_SWIGLU: Kernel = kernel!("quant_swiglu", [SILU, QUANT_WEIGHTS], 64, 5);
/// Packed matrix by many rows, with its epilogue.
pub const QUANT_MATMUL: Kernel =
    kernel!("quant_matmul", [GELU_FORMS, EPILOGUE, TILE_OF_SUMS, REGISTER_TILE, QUANT_WEIGHTS], 64, 6);
/// Rows of a packed matrix, unpacked.
pub const QUANT_ROWS: Kernel = kernel!("quant_rows", [QUANT_WEIGHTS], 64, 4);
/// Layers of single tokens over a base image.
pub const COMPOSITE_LAYERS: Kernel = kernel!("composite_layers", [], 64, 5);

/// All shaders, for the tests that validate them.
pub const SHADERS: [Kernel; 26] = [
    KNN_DENSITY,
    REDUCE_NEIGHBORS,
    PEAK_DISTANCE,
    REDUCE_PEAKS,
    SELECT_CENTERS,
    ASSIGN_CLUSTERS,
    CLUSTER_MEAN,
    MATMUL,
    CONV2D,
    DEPTHWISE_CONV2D,
    SOFTMAX,
    LAYER_NORM,
    GELU,
    RMS_NORM,
    APPEND_KV,
    CAUSAL_ATTENTION,
    REDUCE_ATTENTION,
    SWIGLU,
    TOP2,
    SAMPLE_TOKEN,
    NEXT_TOKEN,
    QUANT_MATVEC,
    QUANT_SWIGLU,
    QUANT_MATMUL,
    QUANT_ROWS,
    COMPOSITE_LAYERS,
];

impl KernelSource for Kernel {
    fn source(&self) -> SourceTemplate {
        let mut files = self.shared.iter().copied().chain([self.source]);
        let first = SourceTemplate::new(files.next().unwrap_or_default());
        files.fold(first, SourceTemplate::add_template)
    }
    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.name)
    }
    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// What WebGPU allows per dimension of a dispatch.
const MAX_WORKGROUPS: u32 = 65_535;

/// Spreads a number of workgroups over two dimensions of a dispatch: `(x, y)` with `x * y >= workgroups`.
pub fn dispatch_2d(workgroups: usize) -> (u32, u32) {
    let workgroups = u32::try_from(workgroups).expect("a tensor fits into 2^32 workgroups");
    let y = workgroups.div_ceil(MAX_WORKGROUPS).max(1);
    (workgroups.div_ceil(y), y)
}

/// A launch in the making: inputs in binding order, then [`Launch::run`].
pub struct Launch {
    kernel: Kernel,
    like: CubeTensor,
    arguments: KernelArguments,
}

impl Launch {
    /// Starts with binding 0. Outputs go to this tensor's device.
    pub fn new(kernel: Kernel, first: CubeTensor) -> Self {
        Self::strided(kernel, into_contiguous(first))
    }

    /// Like [`Launch::new`], for a kernel that is told the tensor's strides.
    pub fn strided(kernel: Kernel, first: CubeTensor) -> Self {
        let arguments = KernelArguments::new().with_buffer(first.handle.clone().binding());
        Self { kernel, like: first, arguments }
    }

    /// The next binding is this tensor, made contiguous where it is not.
    pub fn input(self, tensor: CubeTensor) -> Self {
        self.strided_input(into_contiguous(tensor))
    }

    /// Like [`Launch::input`], for a kernel that is told the tensor's strides.
    pub fn strided_input(mut self, tensor: CubeTensor) -> Self {
        self.arguments = self.arguments.with_buffer(tensor.handle.binding());
        self
    }

    /// The next binding is a buffer of these words.
    pub fn params(mut self, params: &[u32]) -> Self {
        let buffer = on_device(self.client(), params);
        self.arguments = self.arguments.with_buffer(buffer.binding());
        self
    }

    /// The next binding is an output of this shape, returned beside the launch; its memory is not cleared.
    pub fn output<S: Into<Shape>>(self, shape: S, dtype: DType) -> (Self, CubeTensor) {
        let output = empty(&self.like, shape, dtype);
        (self.in_place(&output), output)
    }

    /// The next binding is a tensor of [`empty`] that several launches write to.
    pub fn in_place(mut self, tensor: &CubeTensor) -> Self {
        self.arguments = self.arguments.with_buffer(tensor.handle.clone().binding());
        self
    }

    /// Launches `x` by `y` workgroups.
    pub fn run(self, (x, y): (u32, u32)) {
        let kernel = SourceKernel::new(self.kernel, CubeDim::new_1d(self.kernel.workgroup));
        self.like.client.launch(Box::new(kernel), CubeCount::Static(x, y, 1), self.arguments);
    }

    fn client(&self) -> &Client {
        &self.like.client
    }
}

thread_local! {
    /// Parameters that lie on the device already: the GPU device of this process, and each thread's own stream of work.
    static KNOWN: RefCell<HashMap<Vec<u32>, Handle>> = RefCell::default();
}

/// Enough for all the shapes of a few models; then they are written again.
const MOST_KNOWN: usize = 1024;

/// A buffer with these words. The runtime hands all waiting work to the GPU before it writes a buffer, so parameters that
/// were written for each launch made a submission of each launch; most are the same in every layer and for every token.
fn on_device(client: &Client, words: &[u32]) -> Handle {
    KNOWN.with_borrow_mut(|known| {
        if let Some(buffer) = known.get(words) {
            return buffer.clone();
        }
        if known.len() == MOST_KNOWN {
            known.clear();
        }
        let buffer = client.create_from_slice(bytemuck::cast_slice(words));
        known.insert(words.to_vec(), buffer.clone());
        buffer
    })
}

/// How the pairs of `N` patches are divided in `distance_tile.wgsl`: a workgroup takes a tile of patches and a span of those
/// that they are compared with, and gives one answer for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spans {
    /// Patches of a span.
    pub patches: usize,
    /// Spans.
    pub count: usize,
    /// Workgroups: tiles times spans.
    workgroups: usize,
    /// Of them, in one dispatch.
    most: usize,
}

impl Spans {
    /// As many workgroups as keep a large GPU busy, if there are as many tiles.
    const ENOUGH: usize = 1024;
    /// llvmpipe leaves every loop, silently, once an invocation has gone through so many iterations.
    const MOST_ITERATIONS: usize = 65_535;
    /// Windows resets a GPU that one dispatch keeps busy for two seconds. So many squares take a small one half a second.
    const MOST_SQUARES: u64 = 1 << 35;

    /// Of `features [N, C]`, for a kernel whose loops have so many iterations more for each column, and `more` besides.
    pub fn new([n, c]: [usize; 2], per_column: usize, more: usize) -> Self {
        const SLICE: usize = 16;
        let tiles = n.div_ceil(TILE);
        let iterations = c.div_ceil(SLICE) * (2 * SLICE + 1) + 2 * SLICE + TILE * per_column + 1;
        let most_tiles = (Self::MOST_ITERATIONS.saturating_sub(more) / iterations).max(1);
        let tiles_in_span = (tiles * tiles / Self::ENOUGH).clamp(1, most_tiles).min(tiles);
        let patches = tiles_in_span * TILE;
        let count = tiles.div_ceil(tiles_in_span);
        let most = (Self::MOST_SQUARES / squares(patches, c.max(1))).max(1) as usize;
        Self { patches, count, workgroups: tiles * count, most }
    }

    /// First workgroup and number of workgroups of each dispatch, and the parameters that say so.
    pub fn dispatches(&self, [n, c]: [usize; 2], k: usize) -> impl Iterator<Item = ([u32; 6], (u32, u32))> {
        (0..self.workgroups).step_by(self.most).map(move |first| {
            let end = self.workgroups.min(first + self.most);
            ([n, c, k, first, end, self.patches].map(|number| number as u32), dispatch_2d(end - first))
        })
    }
}

/// Squares that a workgroup adds up. More than 32 bits can count, as a page has them.
fn squares(patches: usize, c: usize) -> u64 {
    [TILE, patches, c].iter().map(|&number| number as u64).product()
}

thread_local! {
    /// All memory that launches took since [`keep_memory`] was called.
    static KEPT: RefCell<Option<Vec<Handle>>> = const { RefCell::new(None) };
}

/// From now on memory that launches take is not given back, until what this returns is dropped.
///
/// Launches can be recorded only where the device has all memory that they ask for already, and how much of it they use
/// again depends on how fast it works them off.
pub fn keep_memory() -> KeptMemory {
    KEPT.set(Some(Vec::new()));
    KeptMemory(())
}

/// See [`keep_memory`].
pub struct KeptMemory(());

impl Drop for KeptMemory {
    fn drop(&mut self) {
        KEPT.set(None);
    }
}

/// A tensor on the same device as another, its memory not cleared.
pub fn empty<S: Into<Shape>>(like: &CubeTensor, shape: S, dtype: DType) -> CubeTensor {
    let shape = shape.into();
    let handle: Handle = like.client.empty(shape.num_elements() * dtype.size());
    KEPT.with_borrow_mut(|kept| {
        if let Some(kept) = kept {
            kept.push(handle.clone());
        }
    });
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, handle, dtype)
}

/// `[N, C]` of a matrix on the device.
pub fn matrix(tensor: &CubeTensor) -> [usize; 2] {
    let shape = tensor.meta.shape();
    [shape[0], shape[1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_fill_a_large_gpu_and_take_every_pair_once() {
        for shape @ [n, c] in
            [[1, 3], [64, 192], [729, 1152], [4_096, 1152], [16_384, 1152], [16_384, 192], [2_100, 1_200]]
        {
            let spans = Spans::new(shape, 5, 64);
            assert!(spans.patches * spans.count >= n && spans.patches * (spans.count - 1) < n, "{shape:?}: {spans:?}");
            let workgroups: u32 = spans
                .dispatches(shape, 4)
                .map(|([.., first, end, _], (x, y))| {
                    let squares = u64::from(end - first) * squares(spans.patches, c);
                    assert!(squares <= Spans::MOST_SQUARES, "{shape:?}: {squares} squares in a dispatch");
                    assert!(x * y >= end - first);
                    end - first
                })
                .sum();
            assert_eq!(workgroups as usize, n.div_ceil(TILE) * spans.count);
        }
        assert_eq!(Spans::new([729, 1152], 5, 64).count, 12, "one tile each: 144 workgroups");
        assert_eq!(Spans::new([4_096, 1152], 5, 64).count, 16, "1,024 workgroups");
        assert!(Spans::new([16_384, 1152], 5, 64).dispatches([16_384, 1152], 4).count() > 1);
    }
}
