//! The packed product on a GPU: launches of `shaders/quant_*.wgsl`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::{Activations, COLUMN_GROUP, PackedShape, QuantOps};
use crate::kernels::Kernel;
use crate::kernels::launch::{Launch, dispatch_2d};

const WORKGROUP: u32 = 64;
/// Rows of a workgroup in `quant_matvec.wgsl`.
const MATVEC_ROWS: usize = 4;
/// Rows and tokens of a workgroup in `quant_matmul.wgsl`.
const MATMUL_TILE: usize = 32;

macro_rules! kernel {
    ($name:literal) => {
        Kernel {
            name: $name,
            prelude: include_str!("../../../shaders/shared/quant_weights.wgsl"),
            source: include_str!(concat!("../../../shaders/", $name, ".wgsl")),
            workgroup: WORKGROUP,
            bindings: 4,
        }
    };
}

const MATVEC: Kernel = kernel!("quant_matvec");
const MATMUL: Kernel = kernel!("quant_matmul");
const ROWS: Kernel = kernel!("quant_rows");

/// Every shader of packed matrices, for the tests that validate them.
pub const QUANT_SHADERS: [Kernel; 3] = [MATVEC, MATMUL, ROWS];

impl QuantOps for CubeBackend {
    fn quant_matmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        shape: PackedShape,
        _activations: Activations,
    ) -> FloatTensor<Self> {
        let tokens = x.meta.shape()[0];
        let out = [tokens, shape.rows];
        if tokens == 1 {
            launch(MATVEC, shape.rows.div_ceil(MATVEC_ROWS), words, x, shape, out)
        } else {
            let tiles = shape.rows.div_ceil(MATMUL_TILE) * tokens.div_ceil(MATMUL_TILE);
            launch(MATMUL, tiles, words, x, shape, out)
        }
    }

    fn quant_rows(words: IntTensor<Self>, ids: IntTensor<Self>, shape: PackedShape) -> FloatTensor<Self> {
        let tokens = ids.meta.shape()[0];
        let groups = (tokens * shape.columns / COLUMN_GROUP).div_ceil(WORKGROUP as usize);
        launch(ROWS, groups, words, ids, shape, [tokens, shape.columns])
    }
}

/// All three shaders take the same four bindings: words, input, params, output.
fn launch(
    kernel: Kernel,
    workgroups: usize,
    words: CubeTensor,
    input: CubeTensor,
    shape: PackedShape,
    out: [usize; 2],
) -> CubeTensor {
    // The number of a kind is its place in `WeightKind::ALL`.
    let params = [shape.kind as usize, shape.rows, shape.columns, shape.quant_words(), out[0]];
    let (launch, output) =
        Launch::new(kernel, words).input(input).params(&params.map(|number| number as u32)).output(out, DType::F32);
    launch.run(dispatch_2d(workgroups));
    output
}
