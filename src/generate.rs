//! The one decoding loop. Words come from the head of the language model, visual tokens from the diffusion head or from
//! the source picture, masks from the mask head; each is read back by the language model before the next is chosen.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::diffusion::{DrawOptions, Noise};
use crate::drawing::Stroke;
use crate::event::{Answer, AnswerPart, Event, Finish, Seconds, Usage};
use crate::language::{Kind, Language, Memory, Position, Turn, read_floats};
use crate::mask_head::{MaskLogits, Segmentation};
use crate::sample::{Sampler, Sampling};
use crate::seen::Seen;
use crate::setokim::Setokim;
use crate::text::TextStream;
use crate::{Error, Result};

/// How an answer is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerOptions {
    /// Tokens at the most, visual ones included; fewer where the context ends.
    pub max_tokens: usize,
    /// How words are chosen, and whether a picture goes on.
    pub sampling: Sampling,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
    /// How visual tokens are drawn.
    pub draw: DrawOptions,
    /// Whether a task must answer with the mask or picture that it is for, though the model would rather say something.
    pub insist: bool,
    /// Whether a picture may copy tokens of the one before it. The paper draws every token anew.
    pub pointers: bool,
    /// Whether pixels that no changed token owns are taken from the source picture.
    pub paste: bool,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            sampling: Sampling::greedy(),
            stop: Vec::new(),
            draw: DrawOptions::default(),
            insist: false,
            pointers: true,
            paste: true,
        }
    }
}

/// What may stand in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) text: bool,
    pub(crate) mask: bool,
    pub(crate) picture: bool,
    /// The answer is over after a mask or a picture.
    pub(crate) single: bool,
    /// A picture comes in the frame of the source picture even if it copies nothing of it.
    pub(crate) edit: bool,
}

/// A request to the loop.
pub(crate) struct Request<'a> {
    pub(crate) turns: Vec<Turn>,
    /// The last picture of the prompt: masks and pointers are about it.
    pub(crate) source: Option<&'a Seen>,
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
        request.options.draw.check()?;
        let sampler = Sampler::new(request.options.sampling.clone())?;
        let prompt: usize = request.turns.iter().map(Vec::len).sum();
        let must_draw = request.rules.picture && !request.rules.text;
        let least = if must_draw { self.longest_picture() } else { 1 };
        let (needed, available) = (prompt + least, language.context());
        if needed > available {
            return Err(Error::ContextOverflow { needed, available });
        }
        let limit = request.options.max_tokens.min(available - prompt);
        let memory = language.recall(&request.turns, prompt + limit)?;
        let mut run = Run {
            model: self,
            language,
            abort,
            on_event,
            sampler,
            noise: Noise::new(&request.options.draw),
            stream: TextStream::new(&request.options.stop),
            history: words(&request.turns),
            usage: Usage {
                prompt_tokens: prompt,
                remembered_tokens: memory.len(),
                answer_tokens: 0,
                visual_tokens: 0,
                finish: Finish::Length,
                seconds: Seconds::default(),
            },
            memory,
            canvas: None,
            text: String::new(),
            parts: Vec::new(),
            request,
        };
        match run.answer(limit).await {
            Ok(()) => {
                language.remember(run.memory);
                Ok(Answer { parts: run.parts, usage: run.usage })
            }
            Err(Error::Aborted) => {
                language.remember(run.memory);
                Err(Error::Aborted)
            }
            Err(error) => Err(error), // what was read may be broken: forget it
        }
    }

    /// Positions of the longest picture: its tokens, their brackets and the end of the answer.
    fn longest_picture(&self) -> usize {
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
    memory: Memory,
    /// The picture being made, between `[Img]` and `[/Img]`.
    canvas: Option<Vec<Stroke>>,
    /// Text since the last mask or picture.
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
                Kind::Visual | Kind::Keep(_) => {
                    let position = self.next_stroke(kind, &hidden).await?;
                    self.usage.seconds.draw += lap(&mut clock);
                    position
                }
                Kind::ImageStart => {
                    self.end_text().await;
                    self.canvas = Some(Vec::new());
                    Position::Word(id)
                }
                Kind::ImageEnd => {
                    self.paint().await?;
                    self.usage.seconds.paint += lap(&mut clock);
                    Position::Word(id)
                }
                Kind::Text => {
                    let text = self.stream.push(self.language.tokenizer.bytes(id));
                    self.say(text).await;
                    Position::Word(id)
                }
                Kind::Segment | Kind::End | Kind::Other => Position::Word(id),
            };
            if kind == Kind::End || (kind == Kind::ImageEnd && self.request.rules.single) {
                self.usage.finish = Finish::End;
                break;
            }
            if self.stream.stopped() {
                self.usage.finish = Finish::Stop;
                break;
            }
            hidden = self.language.read(&[position], &mut self.memory.cache)?;
            if kind == Kind::Segment {
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
        self.paint().await?; // a picture that the limit cut short
        self.usage.seconds.paint += lap(&mut clock);
        self.emit(Event::Done(self.usage)).await;
        Ok(())
    }

    /// Reads the turns that are not remembered; the hidden state after the last.
    fn prefill(&mut self) -> Result<Tensor<2>> {
        let mut hidden = None;
        for turn in &self.request.turns[self.memory.turns()..] {
            self.check_abort()?;
            hidden = Some(self.language.read(turn, &mut self.memory.cache)?);
            self.memory.push(turn.clone());
        }
        hidden.ok_or_else(|| Error::Prompt("there is nothing to read".into()))
    }

    async fn choose(&mut self, hidden: &Tensor<2>) -> Result<u32> {
        let mut logits = self.language.logits(hidden.clone()).await?;
        let margin = if self.may_refuse() { self.model.config().picture_margin } else { 0.0 };
        for (id, logit) in (0..).zip(&mut logits) {
            match self.language.kind(id) {
                kind if !self.allows(id, kind) => *logit = f32::NEG_INFINITY,
                Kind::ImageStart => *logit -= margin,
                _ => {}
            }
        }
        let id = self.sampler.choose(&logits, &self.history)?;
        self.history.push(id);
        Ok(id)
    }

    /// Whether this is where a model says that what it should change is not there.
    fn may_refuse(&self) -> bool {
        let Rules { text, picture, .. } = self.request.rules;
        self.usage.answer_tokens == 0 && self.request.source.is_some() && text && picture
    }

    /// Whether a token may come next. Training decides the form of an answer; this keeps every model to it.
    fn allows(&self, id: u32, kind: Kind) -> bool {
        let rules = &self.request.rules;
        match (&self.canvas, kind) {
            (Some(strokes), Kind::Visual) => strokes.len() < self.model.config().cluster.max_clusters,
            (Some(strokes), Kind::Keep(token)) => {
                let is_full = strokes.len() >= self.model.config().cluster.max_clusters;
                let is_there = self.request.source.is_some_and(|source| token < source.tokens.len());
                // As in training, a token is copied once.
                let is_new = strokes.iter().all(|stroke| stroke.kept != Some(token));
                self.request.options.pointers && !is_full && is_there && is_new
            }
            (Some(strokes), Kind::ImageEnd) => !strokes.is_empty(),
            (Some(_), _) => false,
            (None, _) if !self.may_go_on(id, kind) => false,
            (None, Kind::Text | Kind::End) => rules.text,
            (None, Kind::Segment) => rules.mask,
            (None, Kind::ImageStart) => rules.picture,
            (None, _) => false,
        }
    }

    /// Where a mask or a picture is asked for, a model that names its refusals makes it at once or refuses.
    fn may_go_on(&self, id: u32, kind: Kind) -> bool {
        let said = &self.history[self.history.len() - self.usage.answer_tokens..];
        let refusals = &self.language.refusals;
        match kind {
            _ if !self.request.rules.single || refusals.is_empty() => true,
            Kind::Segment | Kind::ImageStart => said.is_empty(),
            _ => refusals.iter().any(|refusal| refusal.iter().zip(said.iter().chain([&id])).all(|(a, b)| a == b)),
        }
    }

    /// The next visual token of the picture being made.
    async fn next_stroke(&mut self, kind: Kind, hidden: &Tensor<2>) -> Result<Position> {
        let (value, kept) = match (kind, self.request.source) {
            (Kind::Keep(token), Some(source)) => (source.tokens[token].clone(), Some(token)),
            _ => (self.draw(hidden).await?, None),
        };
        let strokes = self.canvas.get_or_insert_default();
        let slot = strokes.len();
        strokes.push(Stroke { value: value.clone(), kept });
        self.usage.visual_tokens += 1;
        let kept = kept.and_then(|token| self.request.source.map(|source| source.ids[token]));
        self.emit(Event::VisualToken { index: slot, kept }).await;
        Ok(Position::Visual { slot, token: value })
    }

    async fn draw(&mut self, hidden: &Tensor<2>) -> Result<Vec<f32>> {
        let diffusion = self.language.diffusion.as_ref().ok_or(Error::Unsupported("diffusion head"))?;
        let width = diffusion.token_width();
        let noise = TensorData::new(self.noise.take(width), [1, width]);
        let noise = Tensor::<2>::from_data(noise, (&hidden.device(), DType::F32));
        let token = read_floats(diffusion.sample(noise, hidden.clone(), &self.request.options.draw)).await?;
        match token.iter().all(|value| value.is_finite()) {
            true => Ok(token),
            false => Err(Error::NotFinite { row: self.usage.visual_tokens }),
        }
    }

    /// Paints the picture being made, if there is one.
    async fn paint(&mut self) -> Result<()> {
        let Some(strokes) = self.canvas.take().filter(|strokes| !strokes.is_empty()) else { return Ok(()) };
        let is_edit = self.request.rules.edit || strokes.iter().any(|stroke| stroke.kept.is_some());
        let source = self.request.source.filter(|_| is_edit);
        let drawing = self.model.paint(&strokes, source, self.request.options.paste).await?;
        self.parts.push(AnswerPart::Image(drawing.clone()));
        self.emit(Event::Image(drawing)).await;
        Ok(())
    }

    /// The mask that the `[SEG]` just read asks for.
    async fn mask(&mut self, hidden: &Tensor<2>) -> Result<()> {
        let head = self.language.mask_head.as_ref().ok_or(Error::Unsupported("mask head"))?;
        let seen = self.request.source.ok_or_else(|| Error::Prompt("there is no picture to segment".into()))?;
        let maps = match &seen.maps {
            Some(maps) => maps.clone(),
            None => self.model.feature_maps(&seen.picture)?,
        };
        let logits = head.forward(hidden.clone(), &maps);
        let [_, side, _] = logits.dims();
        let logits = MaskLogits::new(read_floats(logits).await?, side)?;
        let segmentation = Segmentation::new(&logits, seen)?;
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
