//! The one decoding loop. Words come from the head of the language model, visual tokens from the diffusion head or from
//! the source image, masks from the mask head; each is read back by the language model before the next is chosen.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::model::diffusion::{DiffusionOptions, Noise};
use crate::model::encoded_image::EncodedImage;
use crate::model::events::{Answer, AnswerPart, Event, Finish, Seconds, Usage};
use crate::model::language::{Language, Position, PrefixCache, TokenKind, Turn, read_floats};
use crate::model::mask_head::{MaskLogits, Segmentation};
use crate::model::rendering::PlacedToken;
use crate::model::sampler::{Sampler, Sampling};
use crate::model::setokim::Setokim;
use crate::text::TextStream;
use crate::{Error, Result};

/// How an answer is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerOptions {
    /// Tokens at the most, visual ones included; fewer where the context ends.
    pub max_tokens: usize,
    /// How words are chosen, and whether an image goes on.
    pub sampling: Sampling,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
    /// How visual tokens are drawn.
    pub diffusion: DiffusionOptions,
    /// Whether a task must answer with the mask or image that it is for, though the model would rather say something.
    pub required: bool,
    /// Whether an image may copy tokens of the one before it. The paper draws every token anew.
    pub copy_tokens: bool,
    /// Whether pixels that no changed token owns are taken from the source image.
    pub composite: bool,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            sampling: Sampling::greedy(),
            stop: Vec::new(),
            diffusion: DiffusionOptions::default(),
            required: false,
            copy_tokens: true,
            composite: true,
        }
    }
}

/// What may stand in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) text: bool,
    pub(crate) mask: bool,
    pub(crate) image: bool,
    /// The answer is over after a mask or an image.
    pub(crate) single: bool,
    /// An image comes in the frame of the source image even if it copies nothing of it.
    pub(crate) edit: bool,
}

/// A request to the loop.
pub(crate) struct Request<'a> {
    pub(crate) turns: Vec<Turn>,
    /// The last image of the prompt: masks and pointers are about it.
    pub(crate) source: Option<&'a EncodedImage>,
    pub(crate) rules: Rules,
    pub(crate) options: &'a AnswerOptions,
}

impl Setokim {
    /// Answers a request; `on_event` is told what happens as it happens, and `abort` is looked at before every token.
    /// Whatever happens, the model is as it was: the same request gives the same answer again.
    pub(crate) async fn answer(
        &self,
        request: Request<'_>,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Answer> {
        let language = self.language()?;
        request.options.diffusion.check()?;
        let sampler = Sampler::new(request.options.sampling.clone())?;
        let prompt: usize = request.turns.iter().map(Vec::len).sum();
        let must_draw = request.rules.image && !request.rules.text;
        let least = if must_draw { self.longest_image() } else { 1 };
        let (needed, available) = (prompt + least, language.context());
        if needed > available {
            return Err(Error::ContextOverflow { needed, available });
        }
        let limit = request.options.max_tokens.min(available - prompt);
        let prefix = language.cached_prefix(&request.turns, prompt + limit)?;
        let mut run = Run {
            model: self,
            language,
            abort,
            on_event,
            sampler,
            noise: Noise::new(&request.options.diffusion),
            stream: TextStream::new(&request.options.stop),
            history: words(&request.turns),
            usage: Usage {
                prompt_tokens: prompt,
                cached_tokens: prefix.len(),
                answer_tokens: 0,
                visual_tokens: 0,
                finish: Finish::Length,
                seconds: Seconds::default(),
            },
            prefix,
            canvas: None,
            text: String::new(),
            parts: Vec::new(),
            request,
        };
        match run.answer(limit).await {
            Ok(()) => {
                language.keep_prefix(run.prefix);
                Ok(Answer { parts: run.parts, usage: run.usage })
            }
            Err(Error::Aborted) => {
                language.keep_prefix(run.prefix);
                Err(Error::Aborted)
            }
            Err(error) => Err(error), // what was read may be broken: forget it
        }
    }

    /// Positions of the longest image: its tokens, their brackets and the end of the answer.
    fn longest_image(&self) -> usize {
        self.config().cluster.max_clusters + 3
    }
}

/// All words of some turns, for the repetition penalty.
fn words(turns: &[Turn]) -> Vec<u32> {
    let word = |position: &Position| match position {
        Position::Word(id) => Some(*id),
        Position::Visual { .. } => None,
    };
    turns.iter().flatten().filter_map(word).collect()
}

/// An answer being made.
struct Run<'a, E> {
    model: &'a Setokim,
    language: &'a Language,
    request: Request<'a>,
    abort: &'a AtomicBool,
    on_event: E,
    sampler: Sampler,
    noise: Noise,
    stream: TextStream,
    /// Words of prompt and answer.
    history: Vec<u32>,
    prefix: PrefixCache,
    /// The image being made, between `[Img]` and `[/Img]`.
    canvas: Option<Vec<PlacedToken>>,
    /// Text since the last mask or image.
    text: String,
    parts: Vec<AnswerPart>,
    usage: Usage,
}

impl<E: AsyncFnMut(Event)> Run<'_, E> {
    async fn answer(&mut self, limit: usize) -> Result<()> {
        let mut clock = Instant::now();
        let mut hidden = self.prefill()?;
        while self.usage.answer_tokens < limit {
            self.check_abort()?;
            let id = self.choose(&hidden).await?;
            // The first logits are there once the prompt has been read, also where the device works on its own.
            let is_first = self.usage.answer_tokens == 0;
            let seconds = &mut self.usage.seconds;
            *(if is_first { &mut seconds.prefill } else { &mut seconds.decode }) += lap(&mut clock);
            self.usage.answer_tokens += 1;

            let kind = self.language.kind(id);
            let position = match kind {
                TokenKind::Visual | TokenKind::Copied(_) => {
                    let position = self.next_stroke(kind, &hidden).await?;
                    self.usage.seconds.denoise += lap(&mut clock);
                    position
                }
                TokenKind::ImageStart => {
                    self.end_text().await;
                    self.canvas = Some(Vec::new());
                    Position::Word(id)
                }
                TokenKind::ImageEnd => {
                    self.render().await?;
                    self.usage.seconds.render += lap(&mut clock);
                    Position::Word(id)
                }
                TokenKind::Text => {
                    let text = self.stream.push(self.language.tokenizer.bytes(id));
                    self.say(text).await;
                    Position::Word(id)
                }
                TokenKind::Segment | TokenKind::End | TokenKind::Other => Position::Word(id),
            };
            if kind == TokenKind::End || (kind == TokenKind::ImageEnd && self.request.rules.single) {
                self.usage.finish = Finish::End;
                break;
            }
            if self.stream.stopped() {
                self.usage.finish = Finish::Stop;
                break;
            }
            hidden = self.language.read(&[position], &mut self.prefix.cache)?;
            if kind == TokenKind::Segment {
                self.end_text().await;
                self.mask(&hidden).await?;
                self.usage.seconds.mask += lap(&mut clock);
                if self.request.rules.single {
                    self.usage.finish = Finish::End;
                    break;
                }
            }
        }
        self.end_text().await;
        self.render().await?; // an image that the limit cut short
        self.usage.seconds.render += lap(&mut clock);
        self.emit(Event::Done(self.usage)).await;
        Ok(())
    }

    /// Reads the turns that are not remembered; the hidden state after the last.
    fn prefill(&mut self) -> Result<Tensor<2>> {
        let mut hidden = None;
        for turn in &self.request.turns[self.prefix.turns()..] {
            self.check_abort()?;
            hidden = Some(self.language.read(turn, &mut self.prefix.cache)?);
            self.prefix.push(turn.clone());
        }
        hidden.ok_or_else(|| Error::Prompt("there is nothing to read".into()))
    }

    async fn choose(&mut self, hidden: &Tensor<2>) -> Result<u32> {
        let mut logits = self.language.logits(hidden.clone()).await?;
        let margin = if self.may_refuse() { self.model.config().picture_margin } else { 0.0 };
        for (id, logit) in (0..).zip(&mut logits) {
            match self.language.kind(id) {
                kind if !self.allows(id, kind) => *logit = f32::NEG_INFINITY,
                TokenKind::ImageStart => *logit -= margin,
                _ => {}
            }
        }
        let id = self.sampler.choose(&logits, &self.history)?;
        self.history.push(id);
        Ok(id)
    }

    /// Whether this is where a model says that what it should change is not there.
    fn may_refuse(&self) -> bool {
        let Rules { text, image, .. } = self.request.rules;
        self.usage.answer_tokens == 0 && self.request.source.is_some() && text && image
    }

    /// Whether a token may come next. Training decides the form of an answer; this keeps every model to it.
    fn allows(&self, id: u32, kind: TokenKind) -> bool {
        let rules = &self.request.rules;
        match (&self.canvas, kind) {
            (Some(placed), TokenKind::Visual) => placed.len() < self.model.config().cluster.max_clusters,
            (Some(placed), TokenKind::Copied(token)) => {
                let is_full = placed.len() >= self.model.config().cluster.max_clusters;
                let is_there = self.request.source.is_some_and(|source| token < source.tokens.len());
                // As in training, a token is copied once.
                let is_new = placed.iter().all(|placed| placed.copied != Some(token));
                self.request.options.copy_tokens && !is_full && is_there && is_new
            }
            (Some(placed), TokenKind::ImageEnd) => !placed.is_empty(),
            (Some(_), _) => false,
            (None, _) if !self.may_go_on(id, kind) => false,
            (None, TokenKind::Text | TokenKind::End) => rules.text,
            (None, TokenKind::Segment) => rules.mask,
            (None, TokenKind::ImageStart) => rules.image,
            (None, _) => false,
        }
    }

    /// Where a mask or an image is asked for, a model that names its refusals makes it at once or refuses.
    fn may_go_on(&self, id: u32, kind: TokenKind) -> bool {
        let text = &self.history[self.history.len() - self.usage.answer_tokens..];
        let refusals = &self.language.refusals;
        match kind {
            _ if !self.request.rules.single || refusals.is_empty() => true,
            TokenKind::Segment | TokenKind::ImageStart => text.is_empty(),
            _ => refusals.iter().any(|refusal| refusal.iter().zip(text.iter().chain([&id])).all(|(a, b)| a == b)),
        }
    }

    /// The next visual token of the image being made.
    async fn next_stroke(&mut self, kind: TokenKind, hidden: &Tensor<2>) -> Result<Position> {
        let (value, copied) = match (kind, self.request.source) {
            (TokenKind::Copied(token), Some(source)) => (source.tokens[token].clone(), Some(token)),
            _ => (self.denoise(hidden).await?, None),
        };
        let placed = self.canvas.get_or_insert_default();
        let slot = placed.len();
        placed.push(PlacedToken { value: value.clone(), copied });
        self.usage.visual_tokens += 1;
        let copied = copied.and_then(|token| self.request.source.map(|source| source.ids[token]));
        self.emit(Event::VisualToken { index: slot, copied }).await;
        Ok(Position::Visual { slot, token: value })
    }

    async fn denoise(&mut self, hidden: &Tensor<2>) -> Result<Vec<f32>> {
        let diffusion = self.language.diffusion.as_ref().ok_or(Error::Unsupported("diffusion head"))?;
        let width = diffusion.token_width();
        let noise = TensorData::new(self.noise.take(width), [1, width]);
        let noise = Tensor::<2>::from_data(noise, (&hidden.device(), DType::F32));
        let token = read_floats(diffusion.sample(noise, hidden.clone(), &self.request.options.diffusion)).await?;
        match token.iter().all(|value| value.is_finite()) {
            true => Ok(token),
            false => Err(Error::NotFinite { row: self.usage.visual_tokens }),
        }
    }

    /// Paints the image being made, if there is one.
    async fn render(&mut self) -> Result<()> {
        let Some(placed) = self.canvas.take().filter(|placed| !placed.is_empty()) else { return Ok(()) };
        let is_edit = self.request.rules.edit || placed.iter().any(|token| token.copied.is_some());
        let source = self.request.source.filter(|_| is_edit);
        let generated = self.model.render(&placed, source, self.request.options.composite).await?;
        self.parts.push(AnswerPart::Image(generated.clone()));
        self.emit(Event::Image(generated)).await;
        Ok(())
    }

    /// The mask that the `[SEG]` just read asks for.
    async fn mask(&mut self, hidden: &Tensor<2>) -> Result<()> {
        let head = self.language.mask_head.as_ref().ok_or(Error::Unsupported("mask head"))?;
        let encoded = self.request.source.ok_or_else(|| Error::Prompt("there is no picture to segment".into()))?;
        let maps = match &encoded.maps {
            Some(maps) => maps.clone(),
            None => self.model.feature_maps(&encoded.image)?,
        };
        let logits = head.forward(hidden.clone(), &maps);
        let [_, side, _] = logits.dims();
        let logits = MaskLogits::new(read_floats(logits).await?, side)?;
        let segmentation = Segmentation::new(&logits, encoded)?;
        self.parts.push(AnswerPart::Mask(segmentation.clone()));
        self.emit(Event::Mask(segmentation)).await;
        Ok(())
    }

    async fn say(&mut self, text: String) {
        if !text.is_empty() {
            self.text += &text;
            self.emit(Event::Text(text)).await;
        }
    }

    /// Shows what text was held back, and begins a new part.
    async fn end_text(&mut self) {
        let rest = self.stream.finish();
        self.say(rest).await;
        if !self.text.is_empty() {
            self.parts.push(AnswerPart::Text(std::mem::take(&mut self.text)));
        }
    }

    async fn emit(&mut self, event: Event) {
        (self.on_event)(event).await;
    }

    fn check_abort(&self) -> Result<()> {
        if self.abort.load(Ordering::Relaxed) { Err(Error::Aborted) } else { Ok(()) }
    }
}

/// Seconds since the last lap.
fn lap(clock: &mut Instant) -> f64 {
    let lap = clock.elapsed().as_secs_f64();
    *clock = Instant::now();
    lap
}
