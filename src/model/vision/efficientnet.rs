//! EfficientNet-Lite (Tan and Le 2019; Liu 2020): MBConv blocks with ReLU6, batch norms folded into the convolutions. Pixels
//! lie row by row, channels of a pixel side by side, so that 1 x 1 convolutions are products.

use burn::tensor::Tensor;

use crate::Result;
use crate::kernels::Filters;
use crate::model::config::{EfficientNetConfig, Stage};
use crate::nn::conv::{DepthwiseConv, RowsConv};
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;

/// Tensors `encoder.{stem, blocks.i, head, classifier}`.
#[derive(Debug)]
pub struct EfficientNet {
    stem: RowsConv,
    blocks: Vec<MbConv>,
    /// Block after which the map at stride 8, and 16, is complete.
    taps: [usize; 2],
    head: Linear,
    classifier: Linear,
}

/// What an EfficientNet sees of an image of side `S`, pixels row by row.
#[derive(Debug, Clone)]
pub struct Levels {
    /// `[(S / 8)^2, C8]`
    pub stride8: Tensor<2>,
    /// `[(S / 16)^2, C16]`
    pub stride16: Tensor<2>,
    /// `[(S / 32)^2, C32]`
    pub stride32: Tensor<2>,
    /// What the classifier averages, `[(S / 32)^2, head]`.
    pub head: Tensor<2>,
}

impl EfficientNet {
    /// Takes its tensors, `encoder.*`.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, config: &EfficientNetConfig) -> Result<Self> {
        const STEM_KERNEL: usize = 3;
        const STEM_STRIDE: usize = 2;
        let filters = Filters::same(config.image_size, STEM_KERNEL, STEM_STRIDE).with_relu6();
        let stem = RowsConv::load(store, "encoder.stem", [3, config.stem], config.image_size, filters)?;
        let (mut blocks, mut taps) = (Vec::new(), [0; 2]);
        let (mut channels, mut stride) = (config.stem, STEM_STRIDE);
        for &stage in &config.stages {
            for i in 0..stage.repeats {
                let name = format!("encoder.blocks.{}", blocks.len());
                let first = Stage { stride: if i == 0 { stage.stride } else { 1 }, ..stage };
                blocks.push(MbConv::load(store, &name, channels, config.image_size / stride, first)?);
                (channels, stride) = (stage.channels, stride * first.stride);
                match stride {
                    8 => taps[0] = blocks.len() - 1,
                    16 => taps[1] = blocks.len() - 1,
                    _ => {}
                }
            }
        }
        Ok(Self {
            stem,
            blocks,
            taps,
            head: Linear::load_pointwise(store, "encoder.head", channels, config.head)?,
            classifier: Linear::load(store, "encoder.classifier", config.head, config.classes)?,
        })
    }

    /// # Shapes
    /// - `pixels`: `[1, 3, S, S]`, normalised
    pub fn forward(&self, pixels: Tensor<4>) -> Levels {
        let [_, channels, side, _] = pixels.dims();
        let pixels = pixels.reshape([channels, side * side]).transpose();
        let mut map = self.stem.forward(pixels, None);
        let (mut stride8, mut stride16) = (map.clone(), map.clone());
        for (i, block) in self.blocks.iter().enumerate() {
            map = block.forward(map);
            if i == self.taps[0] {
                stride8 = map.clone();
            }
            if i == self.taps[1] {
                stride16 = map.clone();
            }
        }
        let head = self.head.forward_relu6(map.clone());
        Levels { stride8, stride16, stride32: map, head }
    }

    /// Logits of the ImageNet classes of what the head map averages to, over the whole image or a part of it.
    ///
    /// # Shapes
    /// - `pooled`: `[L, head]`, output: `[L, classes]`
    pub fn classify(&self, pooled: Tensor<2>) -> Tensor<2> {
        self.classifier.forward(pooled)
    }
}

/// Expand (1 x 1), depthwise (K x K), project (1 x 1); added to what came in where the shapes allow it.
#[derive(Debug)]
struct MbConv {
    /// None where the expansion is 1.
    expand: Option<Linear>,
    depthwise: DepthwiseConv,
    project: Linear,
    side: usize,
    is_residual: bool,
}

impl MbConv {
    fn load(store: &mut TensorStore, name: &str, input: usize, side: usize, stage: Stage) -> Result<Self> {
        let Stage { kernel, stride, expansion, channels, .. } = stage;
        let hidden = input * expansion;
        let expand = match expansion {
            1 => None,
            _ => Some(Linear::load_pointwise(store, &format!("{name}.expand"), input, hidden)?),
        };
        let filters = Filters::same(side, kernel, stride).with_relu6();
        Ok(Self {
            expand,
            depthwise: DepthwiseConv::load(store, &format!("{name}.depthwise"), hidden, filters)?,
            project: Linear::load_pointwise(store, &format!("{name}.project"), hidden, channels)?,
            side,
            is_residual: stride == 1 && input == channels,
        })
    }

    /// # Shapes
    /// - `x`: `[side * side, input]`, output: `[(side / stride)^2, channels]`
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = match &self.expand {
            Some(expand) => expand.forward_relu6(x.clone()),
            None => x.clone(),
        };
        let [_, width] = hidden.dims();
        let filtered: Tensor<2> = self.depthwise.forward(hidden.reshape([self.side, self.side, width])).flatten(0, 1);
        if self.is_residual { self.project.forward_onto(x, filtered) } else { self.project.forward(filtered) }
    }
}
