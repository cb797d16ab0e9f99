//! The language model and its ties to images: words and visual tokens in, hidden states out; and what it remembers of
//! the last request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{DType, Tensor, TensorData};

use crate::kernels::dense::matmul;
use crate::limits::{MAX_IMAGES, MAX_REQUEST_BYTES};
use crate::model::config::{ChatConfig, PromptsConfig, SetokimConfig, SpecialTokens};
use crate::model::diffusion::DiffusionHead;
use crate::model::encoded_image::EncodedImage;
use crate::model::llm::TokenMask;
use crate::model::llm::{KvCache, Llama};
use crate::model::mask_head::MaskHead;
use crate::model::projector::Projector;
use crate::nn::tensor_store::TensorStore;
use crate::text::template::names;
use crate::text::{self, ChatTemplate, PromptPiece, Role, Tokenizer};
use crate::{Error, Result};

/// What one side says in a turn.
pub type Message = text::Message<Arc<EncodedImage>>;

/// What a message is made of, in order.
pub type Part = text::Part<Arc<EncodedImage>>;

/// What the language model reads at one position.
#[derive(Debug, Clone, PartialEq)]
pub enum Position {
    /// A word or a control token.
    Word(u32),
    /// A visual token, in the projector's unit.
    Visual {
        /// Which token of its image it is, the largest first.
        slot: usize,
        /// `[D]`.
        token: Vec<f32>,
    },
}

/// What is read in one go: everything up to where the assistant speaks, then everything up to where it speaks again.
pub type Turn = Vec<Position>;

/// What a token of the vocabulary means for the decoding loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A word or a piece of one.
    Text,
    /// Ends the answer.
    End,
    /// Begins an image.
    ImageStart,
    /// Ends an image.
    ImageEnd,
    /// The next visual token is to be drawn.
    Visual,
    /// The next visual token is this one of the source image.
    Copied(usize),
    /// Asks the mask head for a mask.
    Segment,
    /// Never part of an answer.
    Other,
}

/// The language model, its tokenizer and the heads around it; tensors `llm.*`, `projector.*`, `diffusion.*`, `mask_head.*`.
pub struct Language {
    llm: Llama,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) projector: Projector,
    pub(crate) diffusion: Option<DiffusionHead>,
    pub(crate) mask_head: Option<MaskHead>,
    template: ChatTemplate,
    /// Right after an image, what its tokens are called.
    names: Option<String>,
    controls: Controls,
    /// How an answer begins that refuses; see [`SetokimConfig::refusals`].
    pub(crate) refusals: Vec<Vec<u32>>,
    prefix: Mutex<Option<PrefixCache>>,
    masks: Mutex<BTreeMap<[bool; 3], Arc<TokenMask>>>,
}

/// Ids of the tokens that are not text.
struct Controls {
    end: u32,
    /// None for a model that cannot segment.
    segment: Option<u32>,
    /// All of them, in a model with the vocabulary of ours, which can read and write images.
    ours: Option<SpecialTokens>,
}

impl Controls {
    fn new(config: &SetokimConfig, tokenizer: &Tokenizer) -> Result<Self> {
        let ChatConfig { template, segment } = &config.chat;
        if *template == ChatTemplate::ChatMl {
            let segment = segment.as_ref().map(|name| tokenizer.control(name)).transpose()?;
            return Ok(Self { end: tokenizer.control(names::CHAT_ML_END)?, segment, ours: None });
        }
        let special = config.special_tokens.ok_or(Error::Unsupported("language model"))?;
        check_names(tokenizer, &special)?;
        Ok(Self { end: special.end, segment: Some(special.segment), ours: Some(special) })
    }
}

impl Language {
    /// # Errors
    /// As [`crate::model::setokim::Setokim::load`]; [`Error::Tokenizer`] or [`Error::Config`] when tokenizer, config and
    /// embeddings do not belong together; [`Error::Unsupported`] for a config without `llm`.
    pub fn load(config: &SetokimConfig, store: &mut TensorStore, tokenizer: Tokenizer) -> Result<Self> {
        let (Some(llm), Some(merger)) = (&config.llm, &config.merger) else {
            return Err(Error::Unsupported("language model"));
        };
        tokenizer.check_embeddings(llm.vocab_size)?;
        let controls = Controls::new(config, &tokenizer)?;
        let device = store.device().clone();
        let (hidden, token_width) = (llm.hidden_size, merger.token_width);
        let diffusion = match &config.diffusion {
            Some(diffusion) => Some(DiffusionHead::load(store, diffusion, token_width, hidden)?),
            None => None,
        };
        let mask_head = match &config.mask_head {
            Some(mask_head) => Some(MaskHead::load(store, mask_head, hidden, &config.vision)?),
            None => None,
        };
        let mut llm = Llama::load(llm.clone(), store, "llm.", &device)?;
        if let Some(adapters) = &config.adapters {
            llm.load_adapters(adapters, store)?;
        }
        Ok(Self {
            llm,
            projector: Projector::load(store, token_width, hidden)?,
            diffusion,
            mask_head,
            refusals: config.refusals.iter().map(|words| tokenizer.encode(words)).collect::<Result<_>>()?,
            tokenizer,
            template: config.chat.template,
            names: config.prompts.names.clone(),
            controls,
            prefix: Mutex::new(None),
            masks: Mutex::default(),
        })
    }

    /// The language model itself.
    pub fn llama(&self) -> &Llama {
        &self.llm
    }

    /// What a token means.
    pub fn kind(&self, id: u32) -> TokenKind {
        if id == self.controls.end {
            return TokenKind::End;
        }
        if Some(id) == self.controls.segment {
            return TokenKind::Segment;
        }
        match &self.controls.ours {
            Some(special) if id == special.image_start => TokenKind::ImageStart,
            Some(special) if id == special.image_end => TokenKind::ImageEnd,
            Some(special) if id == special.visual => TokenKind::Visual,
            Some(SpecialTokens { keep_first, keep_count, .. })
                if (*keep_first..keep_first + keep_count).contains(&id) =>
            {
                TokenKind::Copied((id - keep_first) as usize)
            }
            // Control tokens add no bytes, and neither do the rows that pad the embeddings.
            _ if !self.tokenizer.bytes(id).is_empty() => TokenKind::Text,
            _ => TokenKind::Other,
        }
    }

    /// A visual token wears the embedding of its own pointer `<keep_slot>`, so that "keep token 3" is found by matching,
    /// where the vocabulary has pointers; else it stands alone.
    ///
    /// # Shapes
    /// - output: `[T, H]`
    pub fn embed(&self, positions: &[Position]) -> Result<Tensor<2>> {
        let id = |position: &Position| match (position, &self.controls.ours) {
            (Position::Word(id), _) => *id,
            (Position::Visual { slot, .. }, Some(special)) => special.keep_first + *slot as u32,
            (Position::Visual { .. }, None) => 0,
        };
        let words = self.llm.embed(&positions.iter().map(id).collect::<Vec<_>>())?; // [t, h]
        let widths = positions.iter().filter_map(|position| match position {
            Position::Word(_) => None,
            Position::Visual { token, .. } => Some(token.len()),
        });
        let Some(width) = widths.max() else { return Ok(words) };

        let mut tokens = vec![0.0; positions.len() * width];
        let mut is_visual = vec![0.0; positions.len()];
        for (at, position) in positions.iter().enumerate() {
            if let Position::Visual { token, .. } = position {
                tokens[at * width..][..token.len()].copy_from_slice(token);
                is_visual[at] = 1.0;
            }
        }
        let device = (self.llm.device(), DType::F32);
        let tokens = Tensor::<2>::from_data(TensorData::new(tokens, [positions.len(), width]), device);
        let is_visual = Tensor::<2>::from_data(TensorData::new(is_visual, [positions.len(), 1]), device);
        let words = if self.controls.ours.is_some() { words } else { words * (1.0 - is_visual.clone()) };
        Ok(words + self.projector.forward(tokens) * is_visual)
    }

    /// The mean of the embeddings of each phrase's words, in lower case: what the phrase encoder reads.
    ///
    /// # Shapes
    /// - output: `[P, H]`
    pub(crate) fn means_of_words(&self, phrases: &[&str]) -> Result<Tensor<2>> {
        let ids = |phrase: &&str| self.tokenizer.encode(&format!(" {}", phrase.trim().to_lowercase()));
        let ids = phrases.iter().map(ids).collect::<Result<Vec<_>>>()?;
        let words = ids.concat();
        let mut shares = vec![0.0; phrases.len() * words.len()];
        let mut first = 0;
        for (ids, shares) in ids.iter().zip(shares.chunks_exact_mut(words.len().max(1))) {
            shares[first..][..ids.len()].fill(1.0 / ids.len() as f32);
            first += ids.len();
        }
        let shares = TensorData::new(shares, [phrases.len(), words.len()]);
        let shares = Tensor::<2>::from_data(shares, (self.llm.device(), DType::F32));
        Ok(matmul(shares, self.llm.embed(&words)?))
    }

    /// Hidden states of new positions, which join those in `cache`.
    ///
    /// # Shapes
    /// - output: `[T, H]`
    pub fn forward(&self, positions: &[Position], cache: &mut KvCache) -> Result<Tensor<2>> {
        self.llm.forward(self.embed(positions)?, cache)
    }

    /// The hidden state after the last of some new positions.
    ///
    /// # Shapes
    /// - output: `[1, H]`
    pub(crate) fn read(&self, positions: &[Position], cache: &mut KvCache) -> Result<Tensor<2>> {
        Ok(self.forward(positions, cache)?.narrow(0, positions.len() - 1, 1))
    }

    /// The tokens that may come while an answer is text: words and the end where it may be words, and what begins a mask or
    /// an image.
    pub(crate) fn token_mask(&self, text: bool, masks: bool, images: bool) -> Arc<TokenMask> {
        let mut known = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        let allows = |id: u32| match self.kind(id) {
            TokenKind::Text | TokenKind::End => text,
            TokenKind::Segment => masks,
            TokenKind::ImageStart => images,
            _ => false,
        };
        let is_text = |id: u32| self.kind(id) == TokenKind::Text;
        let make = || Arc::new(TokenMask::new(self.llm.config().vocab_size, self.llm.device(), allows, is_text));
        known.entry([text, masks, images]).or_insert_with(make).clone()
    }

    /// A chat as the language model reads it, cut where the assistant begins to speak.
    ///
    /// # Errors
    /// [`Error::Prompt`] when there is nothing to answer, or too much.
    pub fn turns(&self, messages: &[Message]) -> Result<Vec<Turn>> {
        check_messages(messages)?;
        let mut turns = vec![Turn::new()];
        for piece in self.template.encode(&self.tokenizer, messages)? {
            let turn = turns.last_mut().expect("there is one from the beginning");
            match piece {
                PromptPiece::Ids(ids) => turn.extend(ids.into_iter().map(Position::Word)),
                PromptPiece::Image(image) => {
                    let tokens = image.tokens.iter().cloned().enumerate();
                    turn.extend(tokens.map(|(slot, token)| Position::Visual { slot, token }));
                    turn.extend(self.names_as_words(image)?.into_iter().map(Position::Word));
                }
                PromptPiece::Answer => turns.push(Turn::new()),
            }
        }
        turns.retain(|turn| !turn.is_empty());
        Ok(turns)
    }

    fn names_as_words(&self, image: &EncodedImage) -> Result<Vec<u32>> {
        match &self.names {
            Some(prompt) if !image.names.is_empty() => {
                self.tokenizer.encode(&PromptsConfig::fill(prompt, &image.names.join(", ")))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Whether some turns are read with the adapters: where there is an image among them, so that plain chat is the language
    /// model's own.
    fn is_adapted(&self, turns: &[Turn]) -> bool {
        self.llm.has_adapters() && turns.iter().flatten().any(|position| matches!(position, Position::Visual { .. }))
    }
}

/// What can be wrong with a chat, as far as it can be told without looking at an image.
pub(crate) fn check_messages<I>(messages: &[text::Message<I>]) -> Result<()> {
    let invalid = |message: String| Err(Error::Prompt(message));
    let text = |part: &text::Part<I>| if let text::Part::Text(text) = part { text.len() } else { 0 };
    let bytes: usize = messages.iter().flat_map(|message| &message.parts).map(text).sum();
    if bytes > MAX_REQUEST_BYTES {
        return invalid(format!("it has {bytes} bytes of text, more than {} MiB", MAX_REQUEST_BYTES >> 20));
    }
    let images: usize = messages.iter().map(|message| message.images().count()).sum();
    if images > MAX_IMAGES {
        return invalid(format!("it has {images} pictures, more than {MAX_IMAGES}"));
    }
    let Some(last) = messages.last() else { return invalid("there are no messages".into()) };
    if last.role != Role::User {
        return invalid("the last message is not the user's: there is nothing to answer".into());
    }
    // An image may come without words, but not with blank ones; the assistant may have had nothing to say.
    let says_nothing = |text::Message { role, parts }: &text::Message<I>| {
        let mut texts = parts.iter().filter_map(|part| match part {
            text::Part::Text(text) => Some(text.trim()),
            text::Part::Image(_) | text::Part::Mask => None,
        });
        let is_wordless = !texts.clone().any(|text| !text.is_empty());
        *role == Role::User && is_wordless && (parts.is_empty() || texts.next().is_some())
    };
    if let Some(at) = messages.iter().position(says_nothing) {
        return invalid(format!("message {} is empty", at + 1));
    }
    Ok(())
}

/// Ids in the config and names in the tokenizer must mean the same.
fn check_names(tokenizer: &Tokenizer, special: &SpecialTokens) -> Result<()> {
    let fixed = [
        (names::BEGIN, special.begin),
        (names::END, special.end),
        (names::USER, special.user),
        (names::ASSISTANT, special.assistant),
        (names::IMAGE, special.image_start),
        (names::IMAGE_END, special.image_end),
        (names::VISUAL, special.visual),
        (names::SEGMENT, special.segment),
    ];
    let keep = (0..special.keep_count).map(|i| (names::keep(i as usize), special.keep_first + i));
    for (name, id) in fixed.map(|(name, id)| (name.to_owned(), id)).into_iter().chain(keep) {
        let known = tokenizer.control(&name)?;
        if known != id {
            return Err(Error::Config(format!(
                "special_tokens says {id} where the tokenizer has {known} for `{name}`"
            )));
        }
    }
    Ok(())
}

// --- prefix

/// Whole turns that the language model has read. It saves reading them again and changes nothing else: a turn is always
/// read in one go, so its numbers are bit for bit the same whether they are cached or made anew.
pub(crate) struct PrefixCache {
    pub(crate) cache: KvCache,
    turns: Vec<Turn>,
}

impl PrefixCache {
    /// Positions of its turns.
    pub(crate) fn len(&self) -> usize {
        self.turns.iter().map(Vec::len).sum()
    }

    pub(crate) fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Notes a turn that the cache has just read.
    pub(crate) fn push(&mut self, turn: Turn) {
        self.turns.push(turn);
    }
}

impl Language {
    /// What is cached of the beginning of `turns`, with room for `room` positions in all. The last turn is never
    /// among it: its hidden state is wanted anew.
    pub(crate) fn cached_prefix(&self, turns: &[Turn], room: usize) -> Result<PrefixCache> {
        let cached = self.prefix.lock().unwrap_or_else(PoisonError::into_inner).take();
        let is_adapted = self.is_adapted(turns);
        let fits = |cache: &KvCache| cache.capacity() >= room && cache.is_adapted() == is_adapted;
        let Some(mut prefix) = cached.filter(|prefix| fits(&prefix.cache)) else {
            // Rooms of few sizes, so that the next turn mostly finds one that is large enough.
            let capacity = room.next_power_of_two().max(MIN_ROOM).min(self.context());
            return Ok(PrefixCache { cache: self.llm.new_cache(capacity)?.adapted(is_adapted), turns: Vec::new() });
        };
        let known = prefix.turns.iter().zip(&turns[..turns.len().saturating_sub(1)]);
        let same = known.take_while(|(ours, theirs)| ours == theirs).count();
        prefix.turns.truncate(same);
        prefix.cache.truncate(prefix.len());
        Ok(prefix)
    }

    /// Keeps the turns for the next request and forgets the answer: it will come back as part of a turn.
    pub(crate) fn keep_prefix(&self, mut prefix: PrefixCache) {
        prefix.cache.truncate(prefix.len());
        *self.prefix.lock().unwrap_or_else(PoisonError::into_inner) = Some(prefix);
    }

    /// Positions that the language model can tell apart.
    pub(crate) fn context(&self) -> usize {
        self.llm.config().max_position_embeddings
    }
}

const MIN_ROOM: usize = 512;
