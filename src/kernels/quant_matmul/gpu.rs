//! The packed product on a GPU: launches of `shaders/quant_*.wgsl`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::{PackedProduct, PackedShape, QuantOps};
use crate::formats::blocks::COLUMN_GROUP;
use crate::kernels::launch::{Launch, QUANT_MATMUL, QUANT_MATVEC, QUANT_ROWS, QUANT_SWIGLU, TILE, dispatch_2d};

/// Rows of a workgroup in `quant_matvec.wgsl`, and gates in `quant_swiglu.wgsl`.
const MATVEC_ROWS: usize = 4;

impl QuantOps for CubeBackend {
    fn quant_matmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        norm: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        PackedProduct { shape, steps, .. }: PackedProduct,
    ) -> FloatTensor<Self> {
        let tokens = x.meta.shape()[0];
        match (tokens, steps.norm, steps.is_swiglu) {
            (1, Some(eps), true) => gate(x, words, norm, eps, shape),
            (1, norm_eps, false) => {
                let eps = norm_eps.unwrap_or_default().to_bits() as usize;
                let params = params(shape, &[1, steps.bits() as usize, eps]);
                let launch = Launch::new(QUANT_MATVEC, words).input(x).params(&params).input(bias).input(residual);
                let (launch, output) = launch.output([1, shape.rows], DType::F32);
                launch.input(norm).run(dispatch_2d(shape.rows.div_ceil(MATVEC_ROWS)));
                output
            }
            _ => {
                let x = steps.begin_launch(x, norm);
                let params = params(shape, &[tokens, steps.bits() as usize]);
                let launch = Launch::new(QUANT_MATMUL, words).input(x).params(&params).input(bias).input(residual);
                let (launch, output) = launch.output([tokens, shape.rows], DType::F32);
                launch.run(dispatch_2d(shape.rows.div_ceil(TILE) * tokens.div_ceil(TILE)));
                steps.finish_launch(output)
            }
        }
    }

    fn quant_rows(words: IntTensor<Self>, ids: IntTensor<Self>, shape: PackedShape) -> FloatTensor<Self> {
        let tokens = ids.meta.shape()[0];
        let groups = (tokens * shape.columns / COLUMN_GROUP).div_ceil(QUANT_ROWS.workgroup as usize);
        let launch = Launch::new(QUANT_ROWS, words).input(ids).params(&params(shape, &[tokens]));
        let (launch, output) = launch.output([tokens, shape.columns], DType::F32);
        launch.run(dispatch_2d(groups));
        output
    }
}

/// One token, `x`: `[1, K]`, `norm`: `[K]`.
fn gate(x: CubeTensor, words: CubeTensor, norm: CubeTensor, eps: f32, shape: PackedShape) -> CubeTensor {
    let params = params(shape, &[eps.to_bits() as usize]);
    let gates = shape.rows / 2;
    let launch = Launch::new(QUANT_SWIGLU, words).input(x).params(&params).input(norm);
    let (launch, output) = launch.output([1, gates], DType::F32);
    launch.run(dispatch_2d(gates.div_ceil(MATVEC_ROWS)));
    output
}

/// What all shaders are told first, and then each for itself.
fn params(shape: PackedShape, more: &[usize]) -> Vec<u32> {
    // The number of a kind is its place in `WeightKind::ALL`.
    let common = [shape.kind as usize, shape.rows, shape.columns, shape.quant_words()];
    common.iter().chain(more).map(|&number| number as u32).collect()
}
