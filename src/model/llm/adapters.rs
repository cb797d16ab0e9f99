//! Low-rank adapters, <https://arxiv.org/abs/2106.09685>: what a frozen language model learned for photographs stands beside
//! its matrices as `y = W x + scale * b (a x)`, and is left out where no photograph is in the chat.

use std::collections::HashSet;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::kernels::decoder::swiglu;
use crate::kernels::epilogue::Epilogue;
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;
use crate::{Error, Result};

/// Which matrices have an adapter, and how much it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// Width between `a` and `b`.
    pub rank: usize,
    /// What `b (a x)` is multiplied with.
    pub scale: f32,
    /// The matrices, each once.
    pub parts: Vec<Projection>,
}

/// A matrix of a layer, as adapters name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// What attention gives back.
    O,
    /// Gates of the feed-forward layer.
    Gate,
    /// What they let through.
    Up,
    /// What the feed-forward layer gives back.
    Down,
}

impl Projection {
    const fn name(self) -> &'static str {
        match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::O => "o",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl AdapterConfig {
    /// # Errors
    /// [`Error::Config`] for sizes that cannot be multiplied here, and for a part that is named twice.
    pub(crate) fn check(&self) -> Result<()> {
        let fail = |message: &str| Err(Error::Config(message.into()));
        // Packed rows come in groups of four columns.
        if !(1..=256).contains(&self.rank) || !self.rank.is_multiple_of(4) {
            return fail("adapters.rank must be a multiple of 4, up to 256");
        }
        if !self.scale.is_finite() {
            return fail("adapters.scale must be a number");
        }
        let mut seen = HashSet::new();
        if self.parts.is_empty() || !self.parts.iter().all(|part| seen.insert(part)) {
            return fail("adapters.parts must name some matrices, each once");
        }
        Ok(())
    }
}

/// A matrix, or several that are read together, with its adapter.
#[derive(Debug, Clone)]
pub(super) struct AdaptedLinear {
    linear: Linear,
    adapter: Option<Adapter>,
}

/// The adapters of all matrices that are read together, as two small ones: the rows of all `a`, and the `scale * b` along a
/// diagonal.
#[derive(Debug, Clone)]
struct Adapter {
    a: Linear,
    b: Linear,
}

impl AdaptedLinear {
    pub fn new(linear: Linear) -> Self {
        Self { linear, adapter: None }
    }

    /// Takes the adapters of a layer from `store`, as far as `config` names them. `matrices` are those that are read
    /// together, each with its rows.
    pub fn adapt(
        &mut self,
        store: &mut TensorStore,
        config: &AdapterConfig,
        layer: usize,
        columns: usize,
        matrices: &[(Projection, usize)],
    ) -> Result<()> {
        let adapted: Vec<_> = matrices.iter().filter(|(part, _)| config.parts.contains(part)).collect();
        if adapted.is_empty() {
            return Ok(());
        }
        let inner = config.rank * adapted.len();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for &(part, rows) in matrices {
            let mut wide = vec![0.0; rows * inner];
            if let Some(at) = adapted.iter().position(|(other, _)| *other == part) {
                let name = |matrix: &str| format!("adapters.{layer}.{}.{matrix}", part.name());
                a.extend(store.take_values(&name("a"), &[config.rank, columns])?);
                let narrow = store.take_values(&name("b"), &[rows, config.rank])?;
                for (wide, narrow) in wide.chunks_exact_mut(inner).zip(narrow.chunks_exact(config.rank)) {
                    let scaled = narrow.iter().map(|value| config.scale * value);
                    wide[at * config.rank..].iter_mut().zip(scaled).for_each(|(to, from)| *to = from);
                }
            }
            b.extend(wide);
        }
        let rows = b.len() / inner;
        let device: &Device = store.device();
        let a = Linear::from_values(&a, inner, columns, device);
        self.adapter = Some(Adapter { a, b: Linear::from_values(&b, rows, inner, device) });
        Ok(())
    }

    /// The product with an epilogue; with the adapter, or as if there were none.
    ///
    /// # Shapes
    /// - `x`: `[T, K]`, output: `[T, N]`, `[T, N / 2]` through SwiGLU
    pub fn forward_with(&self, x: Tensor<2>, epilogue: Epilogue, is_adapted: bool) -> Tensor<2> {
        let Some(Adapter { a, b }) = self.adapter.as_ref().filter(|_| is_adapted) else {
            return self.linear.forward_with(x, epilogue);
        };
        let Epilogue { norm, is_swiglu, .. } = epilogue.clone();
        let y = self.linear.forward_with(x.clone(), Epilogue { is_swiglu: false, ..epilogue });
        let inner = a.forward_with(x, Epilogue { norm, ..Epilogue::default() });
        let y = b.forward_with(inner, Epilogue { residual: Some(y), ..Epilogue::default() });
        if is_swiglu { swiglu(y) } else { y }
    }
}
