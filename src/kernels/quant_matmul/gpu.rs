//! The packed product on a GPU: launches of `shaders/quant_*.wgsl`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;

use super::{Activations, Adds, COLUMN_GROUP, PackedShape, QuantOps};
use crate::kernels::Kernel;
use crate::kernels::launch::{Launch, dispatch_2d};

const WORKGROUP: u32 = 64;
/// Rows of a workgroup in `quant_matvec.wgsl`.
const MATVEC_ROWS: usize = 4;
/// Rows and tokens of a workgroup in `quant_matmul.wgsl`.
const MATMUL_TILE: usize = 32;

const WEIGHTS: &str = include_str!("../../../shaders/shared/quant_weights.wgsl");
const WEIGHTS_AND_PLUS: &str = concat!(
    include_str!("../../../shaders/shared/quant_weights.wgsl"),
    include_str!("../../../shaders/shared/quant_plus.wgsl")
);

macro_rules! kernel {
    ($name:literal, $prelude:expr, $bindings:literal) => {
        Kernel {
            name: $name,
            prelude: $prelude,
            source: include_str!(concat!("../../../shaders/", $name, ".wgsl")),
            workgroup: WORKGROUP,
            bindings: $bindings,
        }
    };
}

const MATVEC: Kernel = kernel!("quant_matvec", WEIGHTS_AND_PLUS, 6);
const MATMUL: Kernel = kernel!("quant_matmul", WEIGHTS_AND_PLUS, 6);
const ROWS: Kernel = kernel!("quant_rows", WEIGHTS, 4);

/// Every shader of packed matrices, for the tests that validate them.
pub const QUANT_SHADERS: [Kernel; 3] = [MATVEC, MATMUL, ROWS];

impl QuantOps for CubeBackend {
    fn quant_matmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        bias: FloatTensor<Self>,
        stream: FloatTensor<Self>,
        adds: Adds,
        shape: PackedShape,
        _activations: Activations,
    ) -> FloatTensor<Self> {
        let tokens = x.meta.shape()[0];
        let (kernel, workgroups) = match tokens {
            1 => (MATVEC, shape.rows.div_ceil(MATVEC_ROWS)),
            _ => (MATMUL, shape.rows.div_ceil(MATMUL_TILE) * tokens.div_ceil(MATMUL_TILE)),
        };
        let params = params(shape, &[tokens, usize::from(adds.bias), usize::from(adds.stream)]);
        let launch = Launch::new(kernel, words).input(x).params(&params).input(bias).input(stream);
        let (launch, output) = launch.output([tokens, shape.rows], DType::F32);
        launch.run(dispatch_2d(workgroups));
        output
    }

    fn quant_rows(words: IntTensor<Self>, ids: IntTensor<Self>, shape: PackedShape) -> FloatTensor<Self> {
        let tokens = ids.meta.shape()[0];
        let groups = (tokens * shape.columns / COLUMN_GROUP).div_ceil(WORKGROUP as usize);
        let launch = Launch::new(ROWS, words).input(ids).params(&params(shape, &[tokens]));
        let (launch, output) = launch.output([tokens, shape.columns], DType::F32);
        launch.run(dispatch_2d(groups));
        output
    }
}

/// What all three shaders are told first, and then each for itself.
fn params(shape: PackedShape, more: &[usize]) -> Vec<u32> {
    // The number of a kind is its place in `WeightKind::ALL`.
    let common = [shape.kind as usize, shape.rows, shape.columns, shape.quant_words()];
    common.iter().chain(more).map(|&number| number as u32).collect()
}
