//! The packed product on a GPU: launches of `shaders/quant_*.wgsl`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::server::KernelArguments;

use super::{COLUMN_GROUP, PackedShape, QuantOps, WeightKind};

/// `@workgroup_size` of all three shaders.
const WORKGROUP: usize = 64;
/// Rows of a workgroup in `quant_matvec.wgsl`.
const MATVEC_ROWS: usize = 4;
/// Rows and tokens of a workgroup in `quant_matmul.wgsl`.
const MATMUL_TILE: usize = 32;
/// WebGPU's limit for each dimension of a dispatch.
const MAX_GROUPS_PER_DIMENSION: usize = 65_535;

impl QuantOps for CubeBackend {
    fn quant_matmul(x: FloatTensor<Self>, words: IntTensor<Self>, shape: PackedShape) -> FloatTensor<Self> {
        let x = into_contiguous(x);
        let tokens = x.meta.shape()[0];
        let out_shape = Shape::from([tokens, shape.rows]);
        if tokens == 1 {
            launch(QuantShader::Matvec, shape.rows.div_ceil(MATVEC_ROWS), words, x, shape, tokens, out_shape)
        } else {
            let groups = shape.rows.div_ceil(MATMUL_TILE) * tokens.div_ceil(MATMUL_TILE);
            launch(QuantShader::Matmul, groups, words, x, shape, tokens, out_shape)
        }
    }

    fn quant_rows(words: IntTensor<Self>, ids: IntTensor<Self>, shape: PackedShape) -> FloatTensor<Self> {
        let ids = into_contiguous(ids);
        let tokens = ids.meta.shape()[0];
        let groups = (tokens * shape.columns / COLUMN_GROUP).div_ceil(WORKGROUP);
        launch(QuantShader::Rows, groups, words, ids, shape, tokens, Shape::from([tokens, shape.columns]))
    }
}

/// All three shaders take the same four bindings: words, input, params, output.
fn launch(
    shader: QuantShader,
    groups: usize,
    words: CubeTensor,
    input: CubeTensor,
    shape: PackedShape,
    tokens: usize,
    out_shape: Shape,
) -> CubeTensor {
    let client = input.client.clone();
    let params = [kind_number(shape.kind), shape.rows, shape.columns, shape.quant_words(), tokens];
    let params = client.create_from_slice(bytemuck::cast_slice(&params.map(|number| number as u32)));
    let out = client.empty(out_shape.num_elements() * size_of::<f32>());
    let kernel = SourceKernel::new(shader, CubeDim::new_1d(WORKGROUP as u32));
    let buffers = vec![words.handle.binding(), input.handle.binding(), params.binding(), out.clone().binding()];
    client.launch(Box::new(kernel), cube_count(groups), KernelArguments::new().with_buffers(buffers));
    CubeTensor::new_contiguous(client, input.device, out_shape, out, DType::F32)
}

/// The number a shader knows a kind by.
fn kind_number(kind: WeightKind) -> usize {
    kind as usize
}

/// Groups in one dimension as long as that is allowed, then in rows of the longest allowed length.
fn cube_count(groups: usize) -> CubeCount {
    let x = groups.min(MAX_GROUPS_PER_DIMENSION);
    CubeCount::Static(x as u32, groups.div_ceil(x.max(1)) as u32, 1)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum QuantShader {
    Matvec,
    Matmul,
    Rows,
}

impl QuantShader {
    const fn text(self) -> &'static str {
        match self {
            Self::Matvec => include_str!("../../../shaders/quant_matvec.wgsl"),
            Self::Matmul => include_str!("../../../shaders/quant_matmul.wgsl"),
            Self::Rows => include_str!("../../../shaders/quant_rows.wgsl"),
        }
    }
}

impl KernelSource for QuantShader {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.text())
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(*self)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}
