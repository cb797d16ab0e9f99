//! Keys and values of the positions seen so far, in memory taken once.

use burn::tensor::{Device, Tensor};

use super::config::LlamaConfig;
use crate::{Error, Result};

/// What a conversation has cost so far. [`KvCache::truncate`] goes back to an earlier point of it, so that the next
/// turn need not read the whole again.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
    capacity: usize,
}

/// Keys and values of one layer, `[KV heads, capacity, head_dim]` each.
#[derive(Debug)]
pub struct LayerCache {
    // `None` only while a tensor is being written: burn writes in place where nobody else holds it.
    keys: Option<Tensor<3>>,
    values: Option<Tensor<3>>,
}

impl KvCache {
    /// Room for `capacity` positions, at most the model's context.
    pub fn new(config: &LlamaConfig, capacity: usize, device: &Device) -> Result<Self> {
        if capacity > config.max_position_embeddings {
            return Err(Error::ContextOverflow { needed: capacity, available: config.max_position_embeddings });
        }
        let shape = [config.num_key_value_heads, capacity.max(1), config.head_dim];
        let zeros = || Some(Tensor::zeros(shape, device));
        let layers = (0..config.num_hidden_layers).map(|_| LayerCache { keys: zeros(), values: zeros() }).collect();
        Ok(Self { layers, len: 0, capacity })
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
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

    pub(super) fn layers_mut(&mut self) -> std::slice::IterMut<'_, LayerCache> {
        self.layers.iter_mut()
    }

    /// Counts positions that every layer has written.
    pub(super) fn advance(&mut self, count: usize) {
        self.len += count;
    }
}

impl LayerCache {
    /// Writes keys and values of the positions from `start` on; returns all up to there.
    ///
    /// # Shapes
    /// - `keys`, `values`: `[KV heads, T, head_dim]`, results: `[KV heads, start + T, head_dim]`
    pub(super) fn append(&mut self, keys: Tensor<3>, values: Tensor<3>, start: usize) -> (Tensor<3>, Tensor<3>) {
        (write(&mut self.keys, keys, start), write(&mut self.values, values, start))
    }
}

fn write(slot: &mut Option<Tensor<3>>, new: Tensor<3>, start: usize) -> Tensor<3> {
    let [heads, count, head_dim] = new.dims();
    let all = slot.take().expect("a layer's cache is put back after every write");
    let all = slot.insert(all.slice_assign([0..heads, start..start + count, 0..head_dim], new));
    all.clone().narrow(1, 0, start + count)
}
