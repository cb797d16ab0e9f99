//! The raw continuation of a prompt: no chat template, no pictures. The plainest use of the language model.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::llm::{KvCache, Llama};
use crate::sample::{Candidate, Sampler, Sampling, best_two};
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

    let mut history = done.prompt_ids.clone();
    let mut read = 0; // tokens of `history` that the model has read
    while done.steps.len() < options.max_tokens {
        if abort.load(Ordering::Relaxed) {
            return Err(Error::Aborted);
        }
        let started = web_time::Instant::now();
        let logits = next_logits(model, &mut cache, &history[read..]).await?;
        let seconds = if read == 0 { &mut done.prefill_seconds } else { &mut done.decode_seconds };
        *seconds += started.elapsed().as_secs_f64();
        read = history.len();

        let id = sampler.choose(&logits, &history)?;
        history.push(id);
        done.steps.push(Step { id, best: best_two(&logits) });
        show(stream.push(tokenizer.bytes(id)), &mut done).await;
        if tokenizer.is_end(id) {
            done.finish = Finish::End;
            break;
        }
        if stream.stopped() {
            done.finish = Finish::Stop;
            break;
        }
    }
    show(stream.finish(), &mut done).await;
    Ok(done)
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
