//! The raw continuation of a prompt: no chat template, no images. The plainest use of the language model.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::kernels::sampling::{Candidate, top2};
use crate::kernels::{FOUND, MAX_RUN_AHEAD};
use crate::model::llm::{Found, KvCache, Llama};
use crate::model::sampler::{Sampler, Sampling};
use crate::text::{TextStream, Tokenizer};
use crate::{Error, Result};

/// How a prompt is continued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompleteOptions {
    /// New tokens at the most.
    pub max_tokens: usize,
    pub sampling: Sampling,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
}

impl Default for CompleteOptions {
    fn default() -> Self {
        Self { max_tokens: 128, sampling: Sampling::default(), stop: Vec::new() }
    }
}

/// One token made.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub id: u32,
    /// The two best tokens before any sampling setting: how close the choice was.
    pub best: [Option<Candidate>; 2],
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended the text.
    End,
    /// A stop string came.
    Stop,
    /// `max_tokens` were made.
    Length,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub text: String,
    /// Every token made, with the end token if the model gave one.
    pub steps: Vec<Step>,
    pub prompt_ids: Vec<u32>,
    pub finish: Finish,
    /// Seconds until the first token's logits, and for the logits of all others.
    pub prefill_seconds: f64,
    pub decode_seconds: f64,
}

/// Continues `prompt`; `on_text` gets each piece of text as soon as it can be shown, and the next token waits for it (a
/// page lets others have their turn then). `abort` is looked at before every token. Whatever happens, the model is as it was.
pub async fn complete(
    model: &Llama,
    tokenizer: &Tokenizer,
    prompt: &str,
    options: &CompleteOptions,
    abort: &AtomicBool,
    mut on_text: impl AsyncFnMut(&str),
) -> Result<Completion> {
    if prompt.is_empty() {
        return Err(Error::Prompt("it is empty".into()));
    }
    tokenizer.check_embeddings(model.config().vocab_size)?;
    let prompt_ids = tokenizer.encode_document(prompt)?;
    let mut cache = model.new_cache(prompt_ids.len().saturating_add(options.max_tokens))?;
    let mut sampler = Sampler::new(options.sampling.clone())?;
    let mut stream = TextStream::new(&options.stop);
    let mut done = Completion {
        text: String::new(),
        steps: Vec::new(),
        prompt_ids,
        finish: Finish::Length,
        prefill_seconds: 0.0,
        decode_seconds: 0.0,
    };
    let mut show = async |text: String, done: &mut Completion| {
        if !text.is_empty() {
            on_text(&text).await;
            done.text += &text;
        }
    };

    let can_be_ahead = *model.device() != Device::flex() && options.sampling.fits_device();
    let mut ahead = can_be_ahead.then_some(Ahead { tokens: 1 });
    let mut history = done.prompt_ids.clone();
    let mut read = 0; // tokens of `history` that the model has read
    'answer: while done.steps.len() < options.max_tokens {
        check_abort(abort)?;
        let started = web_time::Instant::now();
        let left = options.max_tokens - done.steps.len();
        let (unread, is_first) = (&history[read..], read == 0);
        let steps = match &ahead {
            // The prompt takes its own time, so it is read alone.
            Some(ahead) => {
                let count = if is_first { 1 } else { ahead.tokens.min(left) };
                device_steps(model, &mut cache, unread, count, &mut sampler).await?
            }
            None => vec![sampled_step(model, &mut cache, unread, &history, &mut sampler).await?],
        };
        let seconds = started.elapsed().as_secs_f64();
        *(if is_first { &mut done.prefill_seconds } else { &mut done.decode_seconds }) += seconds;
        if let Some(ahead) = ahead.as_mut().filter(|_| !is_first) {
            ahead.adapt(seconds);
        }
        read = history.len() + steps.len() - 1;

        for step in steps {
            check_abort(abort)?;
            let id = step.id;
            history.push(id);
            done.steps.push(step);
            show(stream.push(tokenizer.bytes(id)), &mut done).await;
            if tokenizer.is_end(id) {
                done.finish = Finish::End;
                break 'answer;
            }
            if stream.stopped() {
                done.finish = Finish::Stop;
                break 'answer;
            }
        }
    }
    show(stream.finish(), &mut done).await;
    Ok(done)
}

fn check_abort(abort: &AtomicBool) -> Result<()> {
    if abort.load(Ordering::Relaxed) { Err(Error::Aborted) } else { Ok(()) }
}

/// How many tokens a GPU chooses on its own before they are read back. Each wait for it costs a browser a millisecond or more.
struct Ahead {
    tokens: usize,
}

impl Ahead {
    /// Text should come at least so often.
    const SECONDS: f64 = 0.05;

    /// After a round that took so long.
    fn adapt(&mut self, seconds: f64) {
        let fits = |tokens: usize| seconds * tokens as f64 / self.tokens as f64 <= Self::SECONDS;
        let doubled = (2 * self.tokens).min(MAX_RUN_AHEAD);
        self.tokens = if fits(doubled) {
            doubled
        } else if fits(self.tokens) {
            self.tokens
        } else {
            self.tokens.div_ceil(2)
        };
    }
}

/// The token after `ids`, and those that follow it, `count` in all or as many as the device chooses alone.
async fn device_steps(
    model: &Llama,
    cache: &mut KvCache,
    ids: &[u32],
    count: usize,
    sampler: &mut Sampler,
) -> Result<Vec<Step>> {
    let lost = |error: String| Error::DeviceLost(error);
    let Found { rows, first, count } = model.choose_ahead(ids, count, sampler.for_device().as_ref(), cache)?;
    sampler.skip(count);
    let rows = rows.into_data_async().await.map_err(|error| lost(error.to_string()))?;
    let rows = rows.try_into_vec::<u32>().map_err(|error| lost(format!("{error:?}")))?;
    let (rows, _) = rows.as_chunks::<FOUND>();
    if rows.is_empty() {
        return Err(lost("the device returned no choice".into()));
    }
    let none = model.config().vocab_size as u32;
    (first..first + count)
        .map(|at| {
            let [id, first, first_logit, second, second_logit, bad] = rows[at % rows.len()];
            if bad < none {
                return Err(Error::NotFinite { row: bad as usize });
            }
            let best = [(first, first_logit), (second, second_logit)];
            let best = best.map(|(id, bits)| (id < none).then_some(Candidate { id, logit: f32::from_bits(bits) }));
            Ok(Step { id, best })
        })
        .collect()
}

/// The token that the sampler takes after `ids`, the end of `history`.
async fn sampled_step(
    model: &Llama,
    cache: &mut KvCache,
    ids: &[u32],
    history: &[u32],
    sampler: &mut Sampler,
) -> Result<Step> {
    let logits = next_logits(model, cache, ids).await?;
    Ok(Step { id: sampler.choose(&logits, history)?, best: top2(&logits) })
}

/// Logits of the token after `ids`, which the model reads and `cache` remembers.
///
/// # Shapes
/// - `ids`: `[T]`, result: `[vocabulary]`
pub async fn next_logits(model: &Llama, cache: &mut KvCache, ids: &[u32]) -> Result<Vec<f32>> {
    let hidden = model.forward(model.embed(ids)?, cache)?;
    let last = hidden.narrow(0, ids.len() - 1, 1); // [1, H]
    let data = model.logits(last).into_data_async().await.map_err(|error| Error::DeviceLost(error.to_string()))?;
    data.try_into_vec::<f32>().map_err(|error| Error::DeviceLost(error.to_string()))
}
