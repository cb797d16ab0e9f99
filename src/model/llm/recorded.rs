//! The launches of one token, recorded once and repeated: finding a pipeline, binding buffers and keeping account of memory is
//! most of what a launch costs, and is the same for every token.

use std::sync::Arc;
use std::thread::{self, ThreadId};

use burn::backend::{Backend, BackendGraph, Dispatch, DispatchDevice, ExecutionError, TensorMetadata};
use burn::tensor::{Int, Tensor};

use super::Llama;
use super::kv_cache::KvCache;
use super::token_mask::TokenMask;
use crate::kernels::decoder::Next;
use crate::kernels::{DeviceSampling, MAX_RUN_AHEAD, TokenChoice, keep_memory};
use crate::nn::quantized_matrix::Rows;
use crate::runtime::readback::read_words;
use crate::{Error, Result};

/// A step of decoding on a GPU, for one cache.
#[derive(Debug)]
pub struct Recorded {
    model: Llama,
    /// The model's table, which is in one part.
    embeddings: Rows,
    next: Next,
    /// What may be chosen.
    mask: Arc<TokenMask>,
    device: DispatchDevice,
    step: Step,
    /// Work is ordered within a thread only.
    thread: ThreadId,
}

/// How a step is done.
#[derive(Debug)]
enum Step {
    /// It is launched, and another recorded.
    First,
    /// It is launched each time: the device cannot record.
    Launched,
    Repeated(BackendGraph<Dispatch>),
}

/// The tokens chosen at consecutive positions, on the device.
pub struct ChosenTokens {
    /// The words of [`TokenChoice`]s, one after another.
    pub(super) rows: Tensor<1, Int>,
    /// The row of the first; after the last row comes row 0.
    pub(super) first: usize,
    pub(super) count: usize,
}

impl ChosenTokens {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits for them; `vocabulary` is the number of logits that each was chosen from.
    pub async fn read(self, vocabulary: usize) -> Result<Vec<TokenChoice>> {
        let words = read_words(self.rows).await?;
        let (rows, _) = words.as_chunks::<{ TokenChoice::WORDS }>();
        let row = |at: usize| rows.get(at % rows.len().max(1));
        let choices = (self.first..self.first + self.count).map_while(row);
        Ok(choices.map(|row| TokenChoice::from_words(row, vocabulary as u32)).collect())
    }
}

impl Recorded {
    fn new(model: &Llama, embeddings: &Rows, mask: &Arc<TokenMask>, is_sampled: bool) -> Self {
        let next = Next::new(is_sampled, &model.device);
        let device = next.id.clone().into_dispatch().device();
        let (model, embeddings, mask) = (model.clone(), embeddings.clone(), mask.clone());
        Self { model, embeddings, next, mask, device, step: Step::First, thread: thread::current().id() }
    }

    /// Reads `id` at the end of the cache, which has room, and then each token chosen in turn, the best or one drawn: `count`
    /// in all, at most [`MAX_RUN_AHEAD`].
    pub(super) fn run(
        model: &Llama,
        embeddings: &Rows,
        id: u32,
        count: usize,
        mask: &Arc<TokenMask>,
        sampling: Option<&DeviceSampling>,
        cache: &mut KvCache,
    ) -> Result<ChosenTokens> {
        assert!(count <= MAX_RUN_AHEAD, "{count} tokens in a ring of {MAX_RUN_AHEAD}");
        let offset = cache.len();
        let is_sampled = sampling.is_some();
        let fits =
            |recorded: &Self| recorded.thread == thread::current().id() && recorded.next.is_sampled() == is_sampled;
        let recorded = cache.recorded.take().filter(fits);
        let mut recorded = recorded.unwrap_or_else(|| Self::new(model, embeddings, mask, is_sampled));
        recorded.next.begin(id, offset as u32, sampling);
        for _ in 0..count {
            recorded.step(cache)?;
        }
        cache.advance(count);
        let rows = recorded.next.ring.clone();
        cache.recorded = Some(recorded);
        Ok(ChosenTokens { rows, first: offset % MAX_RUN_AHEAD, count })
    }

    /// Whether steps are repeated rather than launched.
    pub fn is_complete(&self) -> bool {
        matches!(self.step, Step::Repeated(_))
    }

    /// Reads a token, which becomes the one that follows it.
    fn step(&mut self, cache: &mut KvCache) -> Result<()> {
        match &self.step {
            Step::First => self.step = self.launch_and_record(cache).map_err(lost)?,
            Step::Launched => self.launch(cache),
            // SAFETY: every buffer of the recorded launches is there: the weights in `model`, the positions in the cache
            // that holds this, `next` here, and the graph keeps the memory of all that lay between them from being used
            // again. Nobody else uses them, since the cache is borrowed; and this is the thread whose work they are ordered
            // with.
            Step::Repeated(graph) => unsafe { Dispatch::graph_replay(&self.device, graph) }.map_err(lost)?,
        }
        Ok(())
    }

    fn launch(&mut self, cache: &mut KvCache) {
        let x = self.embeddings.select_at(self.next.id.clone());
        let hidden = self.model.layers(x, self.next.offset.clone(), cache);
        self.next.take(self.next.choose(self.model.logits(hidden, self.mask.bias.as_ref())));
    }

    fn launch_and_record(&mut self, cache: &mut KvCache) -> Result<Step, ExecutionError> {
        let is_ready = Dispatch::graph_prepare(&self.device).is_ok();
        let kept = keep_memory();
        self.launch(cache);
        Dispatch::flush(&self.device)?; // now the memory has been taken
        drop(kept);
        if !is_ready || Dispatch::graph_start_capture(&self.device).is_err() {
            return Ok(Step::Launched);
        }
        self.launch(cache);
        Dispatch::graph_stop_capture(&self.device).map(Step::Repeated)
    }
}

fn lost(error: ExecutionError) -> Error {
    Error::DeviceLost(error.to_string())
}
