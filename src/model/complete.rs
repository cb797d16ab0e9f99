//! The raw continuation of a prompt: no chat template, no images. The plainest use of the language model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::model::abort::AbortHandle;
use crate::model::answering::{Answering, Events};
use crate::model::decode::{Allowed, Decoder, Finish, Output, Step, decode};
use crate::model::llm::Llama;
use crate::model::llm::TokenMask;
use crate::model::sampler::{Sampler, Sampling};
use crate::text::{TextStream, Tokenizer};
use crate::{Error, Result};

/// How a prompt is continued.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompleteOptions {
    /// New tokens at the most.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
    /// Stops the text before its next token.
    #[serde(skip)]
    pub abort: AbortHandle,
}

impl Default for CompleteOptions {
    fn default() -> Self {
        Self { max_tokens: 128, sampling: Sampling::default(), stop: Vec::new(), abort: AbortHandle::new() }
    }
}

/// A continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The new text, without the prompt.
    pub text: String,
    /// Every token made, with the end token if the model gave one.
    pub steps: Vec<Step>,
    /// The prompt's tokens.
    pub prompt_ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// Seconds until the first token was chosen.
    pub prefill_seconds: f64,
    /// Seconds for choosing and reading the others.
    pub decode_seconds: f64,
}

/// Continues `prompt`; the events are pieces of text, each as soon as it can be shown. Whatever happens, the model is as it
/// was.
///
/// # Errors
/// [`Error::Prompt`] for an empty prompt; [`Error::ContextOverflow`]; [`Error::Tokenizer`] where tokenizer and embeddings do
/// not belong together; [`Error::Aborted`]; [`Error::DeviceLost`].
pub fn complete(
    model: &Llama,
    tokenizer: &Tokenizer,
    prompt: &str,
    options: &CompleteOptions,
) -> Answering<impl Future<Output = Result<Completion>>, String> {
    Answering::new(async move |texts| continued(model, tokenizer, prompt, options, texts).await)
}

async fn continued(
    model: &Llama,
    tokenizer: &Tokenizer,
    prompt: &str,
    options: &CompleteOptions,
    texts: Events<String>,
) -> Result<Completion> {
    if prompt.is_empty() {
        return Err(Error::Prompt("it is empty".into()));
    }
    let vocabulary = model.config().vocab_size;
    tokenizer.check_embeddings(vocabulary)?;
    let sampler = Sampler::new(options.sampling.clone())?;
    let prompt_ids = tokenizer.encode_document(prompt)?;
    let mut cache = model.new_cache(prompt_ids.len().saturating_add(options.max_tokens))?;

    let started = Instant::now();
    let hidden = model.forward(model.embed(&prompt_ids)?, &mut cache)?.narrow(0, prompt_ids.len() - 1, 1);
    let reading = started.elapsed().as_secs_f64();
    let mut decoder = Decoder::new(model, &mut cache, sampler, prompt_ids.clone(), hidden);
    let mut output = TextOutput {
        tokenizer,
        mask: Arc::new(TokenMask::new(vocabulary, model.device(), |_| true, |id| !tokenizer.is_end(id))),
        stream: TextStream::new(&options.stop),
        texts,
        text: String::new(),
        steps: Vec::new(),
    };
    let finish = decode(&mut decoder, options.max_tokens, &options.abort, &mut output).await?;
    let rest = output.stream.finish();
    output.show(rest).await;
    Ok(Completion {
        text: output.text,
        steps: output.steps,
        prompt_ids,
        finish,
        prefill_seconds: reading + decoder.first_seconds,
        decode_seconds: decoder.other_seconds,
    })
}

/// Text as it comes.
struct TextOutput<'a> {
    tokenizer: &'a Tokenizer,
    /// Lets everything through.
    mask: Arc<TokenMask>,
    stream: TextStream,
    texts: Events<String>,
    text: String,
    steps: Vec<Step>,
}

impl TextOutput<'_> {
    async fn show(&mut self, text: String) {
        if !text.is_empty() {
            self.text += &text;
            self.texts.send(text).await;
        }
    }
}

impl Output for TextOutput<'_> {
    fn allowed(&self) -> Allowed<'_> {
        Allowed::Masked(&self.mask)
    }

    async fn take(&mut self, step: Step, _decoder: &mut Decoder<'_>) -> Result<Option<Finish>> {
        let id = step.id;
        self.steps.push(step);
        let text = self.stream.push(self.tokenizer.bytes(id));
        self.show(text).await;
        Ok(match () {
            () if self.tokenizer.is_end(id) => Some(Finish::End),
            () if self.stream.stopped() => Some(Finish::Stop),
            () => None,
        })
    }
}
