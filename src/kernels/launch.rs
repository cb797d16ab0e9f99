//! From a WGSL file to a launch on the device.

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
    /// Shared declarations joined in front, or nothing.
    pub prelude: &'static str,
    pub source: &'static str,
    /// Invocations per workgroup, as written in the file (`tests/shaders.rs` compares them).
    pub workgroup: u32,
    /// Storage bindings, as written in the file.
    pub bindings: usize,
}

const DISTANCE_TILE: &str = include_str!("../../shaders/shared/distance_tile.wgsl");
const TILED_PRODUCT: &str = include_str!("../../shaders/shared/tiled_product.wgsl");

/// Rows and columns of a tile of `tiled_product.wgsl`.
pub const TILE: usize = 32;

macro_rules! kernel {
    ($name:literal, $prelude:expr, $workgroup:literal, $bindings:literal) => {
        Kernel {
            name: $name,
            prelude: $prelude,
            source: include_str!(concat!("../../shaders/", $name, ".wgsl")),
            workgroup: $workgroup,
            bindings: $bindings,
        }
    };
}

pub const KNN_DENSITY: Kernel = kernel!("knn_density", DISTANCE_TILE, 256, 3);
pub const PEAK_DISTANCE: Kernel = kernel!("peak_distance", DISTANCE_TILE, 256, 4);
pub const SELECT_CENTERS: Kernel = kernel!("select_centers", "", 256, 5);
pub const ASSIGN_CLUSTERS: Kernel = kernel!("assign_clusters", "", 64, 4);
pub const CLUSTER_MEAN: Kernel = kernel!("cluster_mean", "", 64, 4);
pub const MATMUL: Kernel = kernel!("matmul", TILED_PRODUCT, 64, 5);
pub const CONV2D: Kernel = kernel!("conv2d", TILED_PRODUCT, 64, 5);
pub const SOFTMAX: Kernel = kernel!("softmax", "", 64, 3);

/// The shaders of clustering and of plain products, for the tests that validate them.
pub const SHADERS: [Kernel; 8] =
    [KNN_DENSITY, PEAK_DISTANCE, SELECT_CENTERS, ASSIGN_CLUSTERS, CLUSTER_MEAN, MATMUL, CONV2D, SOFTMAX];

impl KernelSource for Kernel {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.prelude).add_template(self.source)
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

    pub fn input(self, tensor: CubeTensor) -> Self {
        self.strided_input(into_contiguous(tensor))
    }

    /// Like [`Launch::input`], for a kernel that is told the tensor's strides.
    pub fn strided_input(mut self, tensor: CubeTensor) -> Self {
        self.arguments = self.arguments.with_buffer(tensor.handle.binding());
        self
    }

    pub fn params(mut self, params: &[u32]) -> Self {
        let buffer = self.client().create_from_slice(bytemuck::cast_slice(params));
        self.arguments = self.arguments.with_buffer(buffer.binding());
        self
    }

    /// The next binding is an output of this shape, returned beside the launch; its memory is not cleared.
    pub fn output<S: Into<Shape>>(mut self, shape: S, dtype: DType) -> (Self, CubeTensor) {
        let shape = shape.into();
        let handle: Handle = self.client().empty(shape.num_elements() * dtype.size());
        self.arguments = self.arguments.with_buffer(handle.clone().binding());
        let output =
            CubeTensor::new_contiguous(self.like.client.clone(), self.like.device.clone(), shape, handle, dtype);
        (self, output)
    }

    pub fn run(self, (x, y): (u32, u32)) {
        let kernel = SourceKernel::new(self.kernel, CubeDim::new_1d(self.kernel.workgroup));
        self.like.client.launch(Box::new(kernel), CubeCount::Static(x, y, 1), self.arguments);
    }

    fn client(&self) -> &Client {
        &self.like.client
    }
}

/// `[N, C]` of a matrix on the device.
pub fn matrix(tensor: &CubeTensor) -> [usize; 2] {
    let shape = tensor.meta.shape();
    [shape[0], shape[1]]
}
