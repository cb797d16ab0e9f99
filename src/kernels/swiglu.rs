//! The gate of a SwiGLU layer.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, TensorData};
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::launch::{Launch, SWIGLU, dispatch_2d};
use super::simd::{F32x8, SimdTask, sigmoid, with_simd};

/// `silu(gate) * up`, in the plainest form.
pub fn swiglu_reference(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let one = |(gate, up): (&f32, &f32)| {
        let gate = f64::from(*gate);
        (gate / (1.0 + (-gate).exp()) * f64::from(*up)) as f32
    };
    gate.iter().zip(up).map(one).collect()
}

/// Two tensors of one shape.
pub(super) fn launch(gate: CubeTensor, up: CubeTensor) -> CubeTensor {
    let shape = gate.meta.shape().clone();
    let count = shape.num_elements();
    let (launch, y) = Launch::new(SWIGLU, gate).input(up).params(&[count as u32]).output(shape, DType::F32);
    launch.run(dispatch_2d(count.div_ceil(SWIGLU.workgroup as usize)));
    y
}

/// [`launch`] on the CPU.
pub(super) fn multiply(gate: &FlexTensor, up: &FlexTensor) -> FlexTensor {
    let (shape, gate, up) = (gate.shape(), gate.to_contiguous(), up.to_contiguous());
    let mut y = gate.storage::<f32>().to_vec();
    with_simd(Multiply { up: up.storage(), y: &mut y });
    FlexTensor::from_data(TensorData::new(y, shape))
}

/// `y` is the gate at first.
struct Multiply<'a> {
    up: &'a [f32],
    y: &'a mut [f32],
}

impl SimdTask for Multiply<'_> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        for (y, up) in self.y.iter_mut().zip(self.up) {
            *y *= sigmoid(*y) * up;
        }
    }
}
