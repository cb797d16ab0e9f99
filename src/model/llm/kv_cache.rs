//! Keys and values of the positions seen so far, in memory taken once.

use burn::tensor::{Device, Int, Tensor};

use super::attention::Positions;
use super::config::LlamaConfig;
use super::recorded::Recorded;
use super::rope::Rope;
use crate::kernels::decoder::{Cache, cached_attention};
use crate::{Error, Result};

/// What a conversation has cost so far. [`KvCache::truncate`] goes back to an earlier point of it, so that the next
/// turn need not read the whole again.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    /// How far heads are turned at each position, `[capacity, head_dim]`.
    rotation: Tensor<2>,
    len: usize,
    capacity: usize,
    /// Whether its positions are read with the adapters on.
    is_adapted: bool,
    /// A step of decoding with this cache, once there has been one.
    pub(super) recorded: Option<Recorded>,
}

/// Keys and values of one layer.
#[derive(Debug)]
pub struct LayerCache(
    /// `None` only while it is being written: in place, where nobody else holds it.
    Option<Cache>,
);

impl KvCache {
    /// Room for `capacity` positions, at most the model's context.
    pub(super) fn new(config: &LlamaConfig, rope: &Rope, capacity: usize, device: &Device) -> Result<Self> {
        if capacity > config.max_position_embeddings {
            return Err(Error::ContextOverflow { needed: capacity, available: config.max_position_embeddings });
        }
        let shape = [config.num_key_value_heads, capacity.max(1), config.head_dim];
        let zeros = || Tensor::zeros(shape, device);
        let layer = |_| LayerCache(Some(Cache { keys: zeros(), values: zeros() }));
        let layers = (0..config.num_hidden_layers).map(layer).collect();
        Ok(Self {
            layers,
            rotation: rope.rotation(capacity.max(1), device),
            len: 0,
            capacity,
            is_adapted: false,
            recorded: None,
        })
    }

    /// The same, for positions that are read with the model's adapters: keys and values with and without them never meet, and
    /// neither do recorded steps.
    #[must_use]
    pub fn adapted(self, is_adapted: bool) -> Self {
        assert!(self.is_empty(), "positions were read already");
        Self { is_adapted, recorded: None, ..self }
    }

    /// Whether positions are read with the model's adapters.
    pub fn is_adapted(&self) -> bool {
        self.is_adapted
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has read nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether a step of decoding is recorded, to be repeated: on a GPU, after the first.
    pub fn is_recorded(&self) -> bool {
        self.recorded.as_ref().is_some_and(Recorded::is_complete)
    }

    /// Forgets all positions from `len` on; does nothing where there are fewer.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Fails where `count` more positions do not fit.
    pub fn check_room(&self, count: usize) -> Result<()> {
        let needed = self.len + count;
        if needed > self.capacity {
            return Err(Error::ContextOverflow { needed, available: self.capacity });
        }
        Ok(())
    }

    /// The layers, and what positions from `offset` on are for all of them.
    pub(super) fn from(&mut self, offset: Tensor<1, Int>) -> (Positions, std::slice::IterMut<'_, LayerCache>) {
        let Self { is_adapted, .. } = *self;
        (Positions { offset, rotation: self.rotation.clone(), is_adapted }, self.layers.iter_mut())
    }

    /// Counts positions that every layer has written.
    pub(super) fn advance(&mut self, count: usize) {
        self.len += count;
    }
}

impl LayerCache {
    /// Attention of new positions, whose keys and values it keeps.
    ///
    /// # Shapes
    /// - `heads`: `[T, (H + 2 KV) x head_dim]`, queries, keys and values; result: as the queries
    pub(super) fn attend(&mut self, heads: Tensor<2>, positions: &Positions) -> Tensor<2> {
        let cache = self.0.take().expect("a layer's cache is put back after every write");
        let (mixed, cache) = cached_attention(heads, positions.rotation.clone(), positions.offset.clone(), cache);
        self.0 = Some(cache);
        mixed
    }
}
