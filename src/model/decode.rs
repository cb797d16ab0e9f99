//! The one decoding loop, for chats, tasks and plain completions: which token comes next, and the next few where a GPU can
//! choose and read them alone. What becomes of the tokens is up to an `Output`.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use serde::Serialize;
use web_time::Instant;

use crate::kernels::sampling::{Candidate, top2};
use crate::kernels::{MAX_RUN_AHEAD, TokenChoice};
use crate::model::abort::AbortHandle;
use crate::model::llm::{KvCache, Llama, TokenMask};
use crate::model::sampler::Sampler;
use crate::runtime::readback::read_floats;
use crate::{Error, Result};

/// One token made.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The token's id.
    pub id: u32,
    /// The two best tokens before any sampling setting: how close the choice was.
    pub best: [Option<Candidate>; 2],
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended it.
    #[default]
    End,
    /// A stop string came.
    Stop,
    /// It has as many tokens as it may have.
    Length,
}

/// What is made of the tokens of an answer.
pub(crate) trait Output {
    /// Which tokens may come next.
    fn allowed(&self) -> Allowed<'_>;

    /// What the logit of a token becomes where [`Allowed::EachToken`] decides.
    fn adjusted(&self, _id: u32, logit: f32) -> f32 {
        logit
    }

    /// Takes a token; gives why the answer is over, if it is. A token that is more than text is read through `decoder`.
    async fn take(&mut self, step: Step, decoder: &mut Decoder<'_>) -> Result<Option<Finish>>;
}

/// Which tokens may come next.
pub(crate) enum Allowed<'a> {
    /// Those of a mask, which a device can apply alone.
    Masked(&'a Arc<TokenMask>),
    /// As [`Output::adjusted`] says, which looks at logits that were read back.
    EachToken,
}

/// What the language model has before it when a token is to be chosen.
#[expect(clippy::large_enum_variant, reason = "there is one at a time: a box would only add an allocation")]
enum Pending {
    /// The hidden state after everything, `[1, H]`.
    Hidden(Tensor<2>),
    /// A token that it has chosen and not read.
    Unread(u32),
}

/// Chooses tokens one after another, and reads them.
pub(crate) struct Decoder<'a> {
    llm: &'a Llama,
    cache: &'a mut KvCache,
    sampler: Sampler,
    /// Tokens of prompt and answer, for the repetition penalty.
    history: Vec<u32>,
    pending: Pending,
    /// The state that the last token was chosen from, where only one was.
    chosen_from: Option<Tensor<2>>,
    ahead: Option<RunAhead>,
    /// Seconds until the first token was chosen, since the decoder was made.
    pub(crate) first_seconds: f64,
    /// Seconds for choosing and reading the others.
    pub(crate) other_seconds: f64,
}

impl<'a> Decoder<'a> {
    /// Goes on after `history`, whose last hidden state is `hidden`.
    ///
    /// # Shapes
    /// - `hidden`: `[1, H]`
    pub fn new(llm: &'a Llama, cache: &'a mut KvCache, sampler: Sampler, history: Vec<u32>, hidden: Tensor<2>) -> Self {
        let can_run_ahead = *llm.device() != Device::flex() && sampler.fits_device();
        Self {
            llm,
            cache,
            sampler,
            history,
            pending: Pending::Hidden(hidden),
            chosen_from: None,
            ahead: can_run_ahead.then_some(RunAhead { tokens: 1 }),
            first_seconds: 0.0,
            other_seconds: 0.0,
        }
    }

    /// The hidden state that the last token was chosen from.
    ///
    /// # Shapes
    /// - output: `[1, H]`
    pub(crate) fn chosen_from(&self) -> Result<Tensor<2>> {
        self.chosen_from.clone().ok_or_else(|| Error::Prompt("a visual token came where only text can come".into()))
    }

    /// Reads the token chosen last as `embedding`, rather than as itself; the hidden state after it.
    ///
    /// # Shapes
    /// - `embedding`, output: `[1, H]`
    pub(crate) fn read(&mut self, embedding: Tensor<2>) -> Result<Tensor<2>> {
        let hidden = self.llm.forward(embedding, self.cache)?;
        self.pending = Pending::Hidden(hidden.clone());
        Ok(hidden)
    }

    /// The next token, or the next few, at most `limit`. All but the last have been read.
    async fn next(&mut self, limit: usize, output: &impl Output) -> Result<Vec<Step>> {
        let is_first = matches!(self.pending, Pending::Hidden(_));
        let started = Instant::now();
        let steps = match (output.allowed(), &self.ahead) {
            (Allowed::Masked(mask), Some(ahead)) => {
                let count = if is_first { 1 } else { ahead.tokens.min(limit) };
                self.chosen_by_device(count, mask).await?
            }
            (Allowed::Masked(mask), None) => {
                let hidden = self.hidden()?;
                let logits = read_floats(self.llm.logits(hidden, mask.bias.as_ref())).await?;
                vec![self.chosen_from_logits(&logits)?]
            }
            (Allowed::EachToken, _) => {
                let hidden = self.hidden()?;
                let mut logits = read_floats(self.llm.logits(hidden, None)).await?;
                (0..).zip(&mut logits).for_each(|(id, logit)| *logit = output.adjusted(id, *logit));
                vec![self.chosen_from_logits(&logits)?]
            }
        };
        if let (Some(ahead), false) = (&mut self.ahead, is_first) {
            ahead.adapt(started.elapsed().as_secs_f64());
        }
        self.history.extend(steps.iter().map(|step| step.id));
        let last = steps.last().ok_or_else(|| Error::DeviceLost("the device returned no token".into()))?;
        self.pending = Pending::Unread(last.id);
        Ok(steps)
    }

    /// The hidden state to choose from: reads what is unread.
    fn hidden(&mut self) -> Result<Tensor<2>> {
        let hidden = match &self.pending {
            Pending::Hidden(hidden) => hidden.clone(),
            Pending::Unread(id) => self.llm.forward(self.llm.embed(&[*id])?, self.cache)?,
        };
        self.chosen_from = Some(hidden.clone());
        Ok(hidden)
    }

    fn chosen_from_logits(&mut self, logits: &[f32]) -> Result<Step> {
        Ok(Step { id: self.sampler.choose(logits, &self.history)?, best: top2(logits) })
    }

    /// Up to `count` tokens; none after one that is more than text, for which something else than it may have to be read.
    async fn chosen_by_device(&mut self, count: usize, mask: &Arc<TokenMask>) -> Result<Vec<Step>> {
        let sampling = self.sampler.for_device();
        let before = self.cache.len();
        let (chosen, read) = match &self.pending {
            Pending::Hidden(hidden) => {
                self.chosen_from = Some(hidden.clone());
                (self.llm.choose(hidden.clone(), mask, sampling.as_ref()), 0)
            }
            Pending::Unread(id) => {
                self.chosen_from = None;
                (self.llm.choose_ahead(*id, count, mask, sampling.as_ref(), self.cache)?, 1)
            }
        };
        let choices = chosen.read(self.llm.config().vocab_size).await?;
        let texts = choices.iter().take_while(|choice| mask.is_text(choice.next)).count();
        let used = choices.len().min(texts + 1);
        self.sampler.skip(used);
        self.cache.truncate(before + if read == 0 { 0 } else { used });
        choices.into_iter().take(used).map(step_of).collect()
    }
}

fn step_of(choice: TokenChoice) -> Result<Step> {
    match choice.first_nan {
        Some(id) => Err(Error::NotFinite { what: "logits", row: id as usize }),
        None => Ok(Step { id: choice.next, best: choice.best }),
    }
}

/// Lets `output` take up to `limit` tokens; gives why it ended. `abort` is looked at before every token.
pub(crate) async fn decode(
    decoder: &mut Decoder<'_>,
    limit: usize,
    abort: &AbortHandle,
    output: &mut impl Output,
) -> Result<Finish> {
    let mut clock = Instant::now();
    let mut made = 0;
    while made < limit {
        abort.check()?;
        let steps = decoder.next(limit - made, output).await?;
        let seconds = clock.elapsed().as_secs_f64();
        *(if made == 0 { &mut decoder.first_seconds } else { &mut decoder.other_seconds }) += seconds;
        for step in steps {
            abort.check()?;
            made += 1;
            if let Some(finish) = output.take(step, decoder).await? {
                return Ok(finish);
            }
        }
        clock = Instant::now(); // what the output did has its own account
    }
    Ok(Finish::Length)
}

/// How many tokens a GPU chooses on its own before they are read back. Each wait for it costs a browser a millisecond or more.
struct RunAhead {
    tokens: usize,
}

impl RunAhead {
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
