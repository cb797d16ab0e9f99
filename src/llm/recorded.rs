//! The launches of one token, recorded once and repeated: finding a pipeline, binding buffers and keeping account of memory is
//! most of what a launch costs, and is the same for every token.

use std::thread::{self, ThreadId};

use burn::backend::{Backend, BackendGraph, Dispatch, DispatchDevice, ExecutionError, TensorMetadata};
use burn::tensor::{Int, Tensor};

use super::Llama;
use super::kv_cache::KvCache;
use crate::kernels::decoder::Next;
use crate::kernels::{ROUND, keep_memory};
use crate::matrix::Rows;
use crate::{Error, Result};

/// A step of greedy decoding on a GPU, for one cache.
#[derive(Debug)]
pub struct Recorded {
    next: Next,
    device: DispatchDevice,
    /// `None` where the device cannot record: then each step is launched anew.
    graph: Option<BackendGraph<Dispatch>>,
    /// Work is ordered within a thread only.
    thread: ThreadId,
    /// The weights that the launches read.
    _model: Llama,
}

/// The best tokens at consecutive positions, on the device.
#[derive(Debug)]
pub struct Found {
    /// Rows `[5]` of [`best_two`](crate::kernels::decoder::best_two), one after another.
    pub rows: Tensor<1, Int>,
    /// The row of the first; after the last row comes row 0.
    pub first: usize,
    pub count: usize,
}

/// A model, and its table of embeddings, which is in one part.
type Model<'a> = (&'a Llama, &'a Rows);

impl Recorded {
    /// Reads `id` at the end of the cache, which has room, and then each best token in turn: `count` in all, at most
    /// [`ROUND`].
    pub(super) fn run(model: Model<'_>, id: u32, count: usize, cache: &mut KvCache) -> Result<Found> {
        assert!(count <= ROUND, "{count} tokens in a ring of {ROUND}");
        let place = cache.len();
        let recorded = cache.recorded.take().filter(|recorded| recorded.thread == thread::current().id());
        let (mut recorded, done) = match recorded {
            Some(mut recorded) => {
                recorded.next.begin(id, place as u32);
                (recorded, 0)
            }
            None => {
                let mut next = Next::new(&model.0.device);
                next.begin(id, place as u32);
                (Self::record(model, next, cache)?, 1)
            }
        };
        for _ in done..count {
            recorded.repeat(model, cache)?;
        }
        cache.advance(count);
        let rows = recorded.next.ring.clone();
        cache.recorded = Some(recorded);
        Ok(Found { rows, first: place % ROUND, count })
    }

    /// Whether steps are repeated rather than launched.
    pub fn is_complete(&self) -> bool {
        self.graph.is_some()
    }

    /// Launches a step, and records another.
    fn record((llama, embeddings): Model<'_>, mut next: Next, cache: &mut KvCache) -> Result<Self> {
        let lost = |error: ExecutionError| Error::DeviceLost(error.to_string());
        let device = next.id.clone().into_dispatch().device();
        let is_ready = Dispatch::graph_prepare(&device).is_ok();
        let kept = keep_memory();
        llama.step(embeddings, &mut next, cache);
        Dispatch::flush(&device).map_err(lost)?; // now the memory has been taken
        drop(kept);
        let graph = if is_ready && Dispatch::graph_start_capture(&device).is_ok() {
            llama.step(embeddings, &mut next, cache);
            Some(Dispatch::graph_stop_capture(&device).map_err(lost)?)
        } else {
            None
        };
        Ok(Self { next, device, graph, thread: thread::current().id(), _model: llama.clone() })
    }

    fn repeat(&mut self, (llama, embeddings): Model<'_>, cache: &mut KvCache) -> Result<()> {
        let Some(graph) = &self.graph else {
            llama.step(embeddings, &mut self.next, cache);
            return Ok(());
        };
        // SAFETY: every buffer of the recorded launches is there: the weights in `_model`, the positions in the cache that
        // holds this, `next` here, and the graph keeps the memory of all that lay between them from being used again. Nobody
        // else uses them, since the cache is borrowed; and this is the thread whose work they are ordered with.
        let done = unsafe { Dispatch::graph_replay(&self.device, graph) };
        done.map_err(|error| Error::DeviceLost(error.to_string()))
    }
}
