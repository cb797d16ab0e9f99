//! Product of matrices of plain floats.

use burn::tensor::{DType, Shape, TensorData};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::epilogue::Steps;
use super::fill_rows;
use super::gemm_panels::{Batches, Panels, Product, View, forwards};
use super::launch::{Launch, MATMUL, TILE, dispatch_2d};

/// `a b + bias`, in the plainest form.
///
/// # Shapes
/// - `a`: `[M, K]`, `b`: `[K, N]`, `bias`: `[N]`, output: `[M, N]`
pub fn matmul_reference(a: &[f32], b: &[f32], bias: &[f32], inner: usize) -> Vec<f32> {
    let columns = bias.len();
    let mut y = Vec::new();
    for row in a.chunks_exact(inner) {
        for (column, bias) in bias.iter().enumerate() {
            let products = row.iter().zip(b.iter().skip(column).step_by(columns));
            let sum: f64 = products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            y.push((sum + f64::from(*bias)) as f32);
        }
    }
    y
}

/// `x`: `[T, K]`, `weight`: `[K, N]`, with what goes with a product.
pub(super) fn launch_with(
    x: CubeTensor,
    weight: CubeTensor,
    [norm, bias, residual]: [CubeTensor; 3],
    steps: Steps,
) -> CubeTensor {
    let x = steps.begin_launch(x, norm);
    // What is not there may be laid out as it likes.
    let bias = if steps.bias { into_contiguous(bias) } else { bias };
    let residual = if steps.residual { into_contiguous(residual) } else { residual };
    steps.finish_launch(launch_plus(x, weight, bias, residual, steps.bits()))
}

/// `a`: `[.., M, K]`, `b`: `[.., K, N]`, with up to two dimensions of batch; any strides.
pub(super) fn launch(a: CubeTensor, b: CubeTensor) -> CubeTensor {
    // Something has to be bound.
    launch_plus(a, b.clone(), b.clone(), b, 0)
}

fn launch_plus(a: CubeTensor, b: CubeTensor, bias: CubeTensor, residual: CubeTensor, flags: u32) -> CubeTensor {
    let ([a_outer, a_inner, rows, inner], a_strides) = batches(&a);
    let ([b_outer, b_inner, b_rows, columns], b_strides) = batches(&b);
    assert_eq!(inner, b_rows, "columns of a and rows of b");
    let (outer, inner_batch) = (a_outer.max(b_outer), a_inner.max(b_inner));
    let tiles = outer * inner_batch * rows.div_ceil(TILE) * columns.div_ceil(TILE);
    let mut params = vec![tiles, inner_batch, rows, inner, columns, flags as usize];
    params.extend(a_strides);
    params.extend(b_strides);
    let params: Vec<u32> = params.into_iter().map(|number| number as u32).collect();

    let shape = product_shape(a.meta.shape(), b.meta.shape());
    let launch =
        Launch::strided(MATMUL, a).strided_input(b).params(&params).strided_input(bias).strided_input(residual);
    let (launch, y) = launch.output(shape, DType::F32);
    launch.run(dispatch_2d(tiles));
    y
}

/// `[.., M, N]` of `[.., M, K]` and `[.., K, N]`; a dimension of the batch that is 1 in one serves all of the other's.
fn product_shape(a: &Shape, b: &Shape) -> Shape {
    let (mut shape, rank) = (a.clone(), a.num_dims());
    for dim in 0..rank - 2 {
        shape[dim] = shape[dim].max(b[dim]);
    }
    shape[rank - 1] = b[rank - 1];
    shape
}

/// Sizes and strides as `[B1, B2, rows, columns]`; a stride of 0 repeats what there is one of.
fn batches(tensor: &CubeTensor) -> ([usize; 4], [usize; 4]) {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let first = 4 - shape.num_dims();
    let size = |dim: usize| if dim < first { 1 } else { shape[dim - first] };
    let stride = |dim: usize| if dim < first || (dim < 2 && size(dim) == 1) { 0 } else { strides[dim - first] };
    (std::array::from_fn(size), std::array::from_fn(stride))
}

/// [`launch_with`] on the CPU.
pub(super) fn multiply_with(
    x: FlexTensor,
    weight: FlexTensor,
    [norm, bias, residual]: [FlexTensor; 3],
    steps: Steps,
) -> FlexTensor {
    let (y, shape) = product(steps.begin(x, &norm), weight);
    let [tokens, columns] = [shape[0], shape[1]];
    let y = steps.finish(y, columns, &bias, &residual);
    FlexTensor::from_data(TensorData::new(y, [tokens, steps.width(columns)]))
}

/// [`launch`] on the CPU.
pub(super) fn multiply(a: FlexTensor, b: FlexTensor) -> FlexTensor {
    let (y, shape) = product(a, b);
    FlexTensor::from_data(TensorData::new(y, shape))
}

/// Numbers and shape of `a b`.
fn product(a: FlexTensor, b: FlexTensor) -> (Vec<f32>, Shape) {
    let (a, b) = (forwards(a), forwards(b));
    let (a_batches, b_batches) = (Batches::new(&a), Batches::new(&b));
    let ([a_outer, a_inner, rows, inner], [b_outer, b_inner, b_rows, columns]) = (a_batches.shape, b_batches.shape);
    assert_eq!(inner, b_rows, "columns of a and rows of b");
    let (outer, inner_batch) = (a_outer.max(b_outer), a_inner.max(b_inner));
    let mut y = vec![0.0; outer * inner_batch * rows * columns];
    for (batch, y) in y.chunks_exact_mut((rows * columns).max(1)).enumerate() {
        let batch = [batch / inner_batch, batch % inner_batch];
        let mut gathered = Vec::new();
        let a = a_batches.matrix(batch).with_whole_rows(&mut gathered);
        multiply_rows(a, &Panels::new(b_batches.matrix(batch)), y);
    }
    (y, product_shape(a.layout().shape(), b.layout().shape()))
}

/// `out = rows columns` on all cores. `out`: `[M, N]`.
pub(super) fn multiply_rows(rows: View<'_>, columns: &Panels, out: &mut [f32]) {
    let [_, inner] = rows.shape;
    let width = columns.columns;
    fill_rows(out, width, inner * width, |first, out| {
        columns.pair::<Product>(rows.part(first, out.len() / width), out);
    });
}
