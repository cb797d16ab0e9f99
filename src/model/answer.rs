//! Answers of a multimodal model. Words come from the head of the language model, visual tokens from the diffusion head or
//! from the source image, masks from the mask head; each is read back by the language model before the next is chosen.

use std::sync::Arc;

use burn::tensor::{DType, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::model::abort::AbortHandle;
use crate::model::answering::Events;
use crate::model::decode::{Allowed, Decoder, Finish, Output, Step, decode};
use crate::model::diffusion::{DiffusionOptions, Noise};
use crate::model::encoded_image::EncodedImage;
use crate::model::events::{Answer, AnswerPart, Event, Seconds, Usage};
use crate::model::language::{Language, Position, PrefixCache, TokenKind, Turn};
use crate::model::llm::TokenMask;
use crate::model::mask_head::{MaskLogits, Segmentation};
use crate::model::rendering::PlacedToken;
use crate::model::sampler::{Sampler, Sampling};
use crate::model::setokim::Setokim;
use crate::runtime::readback::read_floats;
use crate::text::TextStream;
use crate::{Error, Result};

/// How an answer is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerOptions {
    /// Tokens at the most, visual ones included; fewer where the context ends.
    pub max_tokens: usize,
    /// How words are chosen, and whether an image goes on.
    pub sampling: Sampling,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
    /// How visual tokens are denoised.
    pub diffusion: DiffusionOptions,
    /// Whether a task must answer with the mask or image that it is for, though the model would rather use words.
    pub required: bool,
    /// Whether an image may copy tokens of the one before it. The paper generates every token anew.
    pub copy_tokens: bool,
    /// Whether pixels that no changed token owns are taken from the source image.
    pub composite: bool,
    /// Stops the answer before its next token.
    #[serde(skip)]
    pub abort: AbortHandle,
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
            abort: AbortHandle::new(),
        }
    }
}

/// What an answer is for, and with that what may stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Words, and whatever the model can make besides.
    Chat { masks: bool, images: bool },
    /// A mask, or words in its place.
    Segment,
    /// An image, or words in its place.
    Generate,
    /// As [`Task::Generate`], in the frame of the source image even if nothing of it is copied.
    Edit,
}

impl Task {
    fn may_mask(self) -> bool {
        matches!(self, Self::Segment | Self::Chat { masks: true, .. })
    }

    fn may_generate(self) -> bool {
        matches!(self, Self::Generate | Self::Edit | Self::Chat { images: true, .. })
    }

    /// Whether the answer is over after a mask or an image.
    fn is_single(self) -> bool {
        !matches!(self, Self::Chat { .. })
    }
}

/// What is asked of the model.
pub(crate) struct Request<'a> {
    pub(crate) turns: Vec<Turn>,
    /// The last image of the prompt: masks and copied tokens are of it.
    pub(crate) source: Option<&'a EncodedImage>,
    pub(crate) task: Task,
    pub(crate) options: &'a AnswerOptions,
}

impl Request<'_> {
    /// Whether the answer may be words.
    fn may_be_text(&self) -> bool {
        !self.task.is_single() || !self.options.required
    }
}

impl Setokim {
    /// Answers a request; `events` has what happens as it happens. Whatever happens, the model is as it was: the same
    /// request gives the same answer again.
    pub(crate) async fn answer(&self, request: Request<'_>, events: Events) -> Result<Answer> {
        let language = self.language()?;
        request.options.diffusion.check()?;
        let sampler = Sampler::new(request.options.sampling.clone())?;
        let prompt: usize = request.turns.iter().map(Vec::len).sum();
        let must_generate = request.task.may_generate() && !request.may_be_text();
        let least = if must_generate { self.longest_image() } else { 1 };
        let (needed, available) = (prompt + least, language.context());
        if needed > available {
            return Err(Error::ContextOverflow { needed, available });
        }
        let limit = request.options.max_tokens.min(available - prompt);
        let mut prefix = language.cached_prefix(&request.turns, prompt + limit)?;
        let mut answer = MultimodalOutput::new(self, language, request, prefix.len(), events);
        match answer.run(sampler, limit, &mut prefix).await {
            Ok(()) => {
                language.keep_prefix(prefix);
                Ok(Answer { parts: answer.parts, usage: answer.usage })
            }
            Err(Error::Aborted) => {
                language.keep_prefix(prefix);
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
struct MultimodalOutput<'a> {
    model: &'a Setokim,
    language: &'a Language,
    request: Request<'a>,
    events: Events,
    /// What may come while the answer is text.
    mask: Arc<TokenMask>,
    noise: Noise,
    stream: TextStream,
    /// Tokens of the answer.
    made: Vec<u32>,
    /// The image being made, between `[Img]` and `[/Img]`.
    canvas: Option<Vec<PlacedToken>>,
    /// Text since the last mask or image.
    text: String,
    parts: Vec<AnswerPart>,
    usage: Usage,
}

impl<'a> MultimodalOutput<'a> {
    fn new(model: &'a Setokim, language: &'a Language, request: Request<'a>, cached: usize, events: Events) -> Self {
        let task = request.task;
        Self {
            model,
            language,
            events,
            mask: language.token_mask(request.may_be_text(), task.may_mask(), task.may_generate()),
            noise: Noise::new(&request.options.diffusion),
            stream: TextStream::new(&request.options.stop),
            made: Vec::new(),
            canvas: None,
            text: String::new(),
            parts: Vec::new(),
            usage: Usage {
                prompt_tokens: request.turns.iter().map(Vec::len).sum(),
                cached_tokens: cached,
                answer_tokens: 0,
                visual_tokens: 0,
                finish: Finish::Length,
                seconds: Seconds::default(),
            },
            request,
        }
    }

    async fn run(&mut self, sampler: Sampler, limit: usize, prefix: &mut PrefixCache) -> Result<()> {
        let started = Instant::now();
        let hidden = self.prefill(prefix)?;
        let reading = started.elapsed().as_secs_f64();
        let history = words(&self.request.turns);
        let mut decoder = Decoder::new(self.language.llama(), &mut prefix.cache, sampler, history, hidden);
        let options = self.request.options;
        self.usage.finish = decode(&mut decoder, limit, &options.abort, self).await?;
        // The first logits are there once the prompt has been read, also where the device works on its own.
        self.usage.seconds.prefill = reading + decoder.first_seconds;
        self.usage.seconds.decode = decoder.other_seconds;
        self.end_text().await;
        self.render().await?; // an image that the limit cut short
        self.emit(Event::Done(self.usage)).await;
        Ok(())
    }

    /// Reads the turns that are not cached; the hidden state after the last.
    fn prefill(&self, prefix: &mut PrefixCache) -> Result<Tensor<2>> {
        let mut hidden = None;
        for turn in &self.request.turns[prefix.turns()..] {
            self.request.options.abort.check()?;
            hidden = Some(self.language.read(turn, &mut prefix.cache)?);
            prefix.push(turn.clone());
        }
        hidden.ok_or_else(|| Error::Prompt("there is nothing to read".into()))
    }

    /// Whether this is where a model says that what it should change is not there.
    fn may_refuse(&self) -> bool {
        let has_choice = self.request.may_be_text() && self.request.task.may_generate();
        self.made.is_empty() && self.request.source.is_some() && has_choice
    }

    /// Whether a token may come next. Training decides the form of an answer; this keeps every model to it.
    fn allows(&self, id: u32, kind: TokenKind) -> bool {
        let Request { task, options, source, .. } = &self.request;
        let is_full = |placed: &[PlacedToken]| placed.len() >= self.model.config().cluster.max_clusters;
        match (&self.canvas, kind) {
            (Some(placed), TokenKind::Visual) => !is_full(placed),
            (Some(placed), TokenKind::Copied(token)) => {
                let is_there = source.is_some_and(|source| token < source.tokens.len());
                // As in training, a token is copied once.
                let is_new = placed.iter().all(|placed| placed.copied != Some(token));
                options.copy_tokens && !is_full(placed) && is_there && is_new
            }
            (Some(placed), TokenKind::ImageEnd) => !placed.is_empty(),
            (Some(_), _) => false,
            (None, _) if !self.may_go_on(id, kind) => false,
            (None, TokenKind::Text | TokenKind::End) => self.request.may_be_text(),
            (None, TokenKind::Segment) => task.may_mask(),
            (None, TokenKind::ImageStart) => task.may_generate(),
            (None, _) => false,
        }
    }

    /// Whether words are bound to those that the model refuses with.
    fn is_bound(&self) -> bool {
        self.request.task.is_single() && !self.language.refusals.is_empty()
    }

    /// Where a mask or an image is asked for, a model that names its refusals makes it at once or refuses.
    fn may_go_on(&self, id: u32, kind: TokenKind) -> bool {
        let begins_with = |refusal: &Vec<u32>| refusal.iter().zip(self.made.iter().chain([&id])).all(|(a, b)| a == b);
        match kind {
            _ if !self.is_bound() => true,
            TokenKind::Segment | TokenKind::ImageStart => self.made.is_empty(),
            _ => self.language.refusals.iter().any(begins_with),
        }
    }

    /// Places the next visual token of the image being made; what the language model reads of it.
    async fn place_token(&mut self, kind: TokenKind, hidden: &Tensor<2>) -> Result<Position> {
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
            false => Err(Error::NotFinite { what: "visual tokens", row: self.usage.visual_tokens }),
        }
    }

    /// Renders the image being made, if there is one.
    async fn render(&mut self) -> Result<()> {
        let Some(placed) = self.canvas.take().filter(|placed| !placed.is_empty()) else { return Ok(()) };
        let started = Instant::now();
        let is_edit = self.request.task == Task::Edit || placed.iter().any(|token| token.copied.is_some());
        let source = self.request.source.filter(|_| is_edit);
        let image = self.model.render(&placed, source, self.request.options.composite).await?;
        self.parts.push(AnswerPart::Image(image.clone()));
        self.emit(Event::Image(image)).await;
        self.usage.seconds.render += started.elapsed().as_secs_f64();
        Ok(())
    }

    /// The mask that the `[SEG]` just read asks for.
    async fn segment(&mut self, hidden: &Tensor<2>) -> Result<()> {
        let started = Instant::now();
        let head = self.language.mask_head.as_ref().ok_or(Error::Unsupported("mask head"))?;
        let source = self.request.source.ok_or_else(|| Error::Prompt("there is no picture to segment".into()))?;
        let maps = match &source.maps {
            Some(maps) => maps.clone(),
            None => self.model.feature_maps(&source.image)?,
        };
        let logits = head.forward(hidden.clone(), &maps)?;
        let [_, side, _] = logits.dims();
        let logits = MaskLogits::new(read_floats(logits).await?, side)?;
        let segmentation = Segmentation::new(&logits, source, head.is_refined())?;
        self.parts.push(AnswerPart::Mask(segmentation.clone()));
        self.emit(Event::Mask(segmentation)).await;
        self.usage.seconds.mask += started.elapsed().as_secs_f64();
        Ok(())
    }

    async fn show(&mut self, text: String) {
        if !text.is_empty() {
            self.text += &text;
            self.emit(Event::Text(text)).await;
        }
    }

    /// Shows what text was held back, and begins a new part.
    async fn end_text(&mut self) {
        let rest = self.stream.finish();
        self.show(rest).await;
        if !self.text.is_empty() {
            self.parts.push(AnswerPart::Text(std::mem::take(&mut self.text)));
        }
    }

    async fn emit(&mut self, event: Event) {
        self.events.send(event).await;
    }
}

impl Output for MultimodalOutput<'_> {
    fn allowed(&self) -> Allowed<'_> {
        if self.canvas.is_some() || self.is_bound() || self.may_refuse() {
            return Allowed::EachToken;
        }
        Allowed::Masked(&self.mask)
    }

    fn adjusted(&self, id: u32, logit: f32) -> f32 {
        match self.language.kind(id) {
            kind if !self.allows(id, kind) => f32::NEG_INFINITY,
            TokenKind::ImageStart if self.may_refuse() => logit - self.model.config().picture_margin,
            _ => logit,
        }
    }

    async fn take(&mut self, Step { id, .. }: Step, decoder: &mut Decoder<'_>) -> Result<Option<Finish>> {
        let is_single = self.request.task.is_single();
        self.usage.answer_tokens += 1;
        self.made.push(id);
        match self.language.kind(id) {
            TokenKind::Text => {
                let text = self.stream.push(self.language.tokenizer.bytes(id));
                self.show(text).await;
                if self.stream.stopped() {
                    return Ok(Some(Finish::Stop));
                }
            }
            kind @ (TokenKind::Visual | TokenKind::Copied(_)) => {
                let started = Instant::now();
                let position = self.place_token(kind, &decoder.chosen_from()?).await?;
                decoder.read(self.language.embed(&[position])?)?;
                self.usage.seconds.denoise += started.elapsed().as_secs_f64();
            }
            TokenKind::ImageStart => {
                self.end_text().await;
                self.canvas = Some(Vec::new());
            }
            TokenKind::ImageEnd => {
                self.render().await?;
                return Ok(is_single.then_some(Finish::End));
            }
            TokenKind::Segment => {
                let hidden = decoder.read(self.language.embed(&[Position::Word(id)])?)?;
                self.end_text().await;
                self.segment(&hidden).await?;
                return Ok(is_single.then_some(Finish::End));
            }
            TokenKind::End => return Ok(Some(Finish::End)),
            TokenKind::Other => {}
        }
        Ok(None)
    }
}
