//! Byte-level BPE (GPT-2's), from a GGUF file's metadata or a `tokenizer.json`.
//!
//! Control tokens never come out of text. What a person types is encoded as the characters it is made of, also where
//! it spells `<|im_end|>`; only templates place control tokens, by asking for them by name.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper, TokenizerImpl,
};

use super::template::names;
use crate::formats::gguf::Gguf;
use crate::limits::{MAX_TOKENIZER_BYTES, MAX_VOCABULARY};
use crate::{Error, Result};

/// Tokens that end an answer, whatever the file says: a chat model may end with either of two.
const END_NAMES: [&str; 4] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", names::END];

// The patterns of `src/llama-vocab.cpp`, in the form that Hugging Face writes them.
const DIGIT: &str = r"\p{N}";
const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEFAULT: [&str; 4] = [r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]"];

/// GGUF's `tokenizer.ggml.token_type`.
const TYPE_CONTROL: i64 = 3;
const TYPE_USER_DEFINED: i64 = 4;

/// A byte-level BPE of `tokenizers`, with normalizers of type `N`.
type Bpe<N> = TokenizerImpl<ModelWrapper, N, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// What a token stands for.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// Bytes of text, perhaps half a character.
    Text(Vec<u8>),
    /// A mark for the model, never shown.
    Control,
}

/// Text -> token ids, and back.
pub struct Tokenizer {
    bpe: Bpe<Steps>,
    /// By id; a number that no token has is `None`.
    tokens: Vec<Option<Token>>,
    controls: HashMap<String, u32>,
    bos: Option<u32>,
    ends: Vec<u32>,
    add_bos: bool,
}

impl Tokenizer {
    /// Reads the `tokenizer.ggml.*` metadata of a GGUF file.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self> {
        let (family, listed) = listed_tokens(gguf)?;
        let mut vocabulary = Vocab::default();
        let mut controls = HashMap::new();
        let mut added = Vec::new();
        let mut tokens = Vec::with_capacity(listed.len());
        for (id, &(name, token_type)) in (0..).zip(&listed) {
            if token_type == TYPE_CONTROL {
                controls.insert(name.to_owned(), id);
                tokens.push(Some(Token::Control));
                continue;
            }
            if token_type == TYPE_USER_DEFINED {
                added.push(AddedToken::from(name, false).normalized(false));
                tokens.push(Some(Token::Text(name.as_bytes().to_vec())));
            } else {
                tokens.push(Some(Token::Text(bytes_of_token(name))));
            }
            vocabulary.insert(name.to_owned(), id);
        }
        let mut bpe = bpe(gguf, family, vocabulary)?;
        bpe.add_tokens(&added);

        let id = |key: &str| -> Result<Option<u32>> {
            let id = gguf.optional_size(key)?;
            match id.filter(|id| *id >= listed.len()) {
                Some(id) => Err(invalid(format!("`{key}` is {id}, and there are {} tokens", listed.len()))),
                None => Ok(id.map(|id| id as u32)),
            }
        };
        let mut ends: Vec<u32> = END_NAMES.iter().filter_map(|name| controls.get(*name).copied()).collect();
        ends.extend(id("tokenizer.ggml.eos_token_id")?);
        ends.extend(id("tokenizer.ggml.eot_token_id")?);
        let bos = id("tokenizer.ggml.bos_token_id")?;
        let add_bos = gguf.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(family == Family::Llama3);
        Ok(Self { bpe, tokens, controls, bos, ends, add_bos })
    }

    /// Reads Hugging Face's `tokenizer.json`, if it is byte-level BPE.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        if text.len() > MAX_TOKENIZER_BYTES {
            return Err(invalid(format!("it is longer than {} MiB", MAX_TOKENIZER_BYTES >> 20)));
        }
        check_plain(text)?;
        let mut bpe = Bpe::<Steps>::from_bytes(text).map_err(invalid)?;
        if !matches!(bpe.get_model(), ModelWrapper::BPE(_)) {
            return Err(invalid("the model is not BPE"));
        }
        if !matches!(bpe.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
            return Err(invalid("the decoder is not ByteLevel"));
        }
        bpe.set_encode_special_tokens(true);
        // It would only add control tokens, which templates place here.
        bpe.with_post_processor(None::<PostProcessorWrapper>);
        bpe.with_truncation(None).map_err(invalid)?;
        bpe.with_padding(None);

        let added = bpe.get_added_tokens_decoder();
        let mut tokens = Vec::new();
        let mut controls = HashMap::new();
        for (name, id) in bpe.get_vocab(true) {
            if id as usize >= MAX_VOCABULARY {
                return Err(invalid(format!("a token has the id {id}; they end at {MAX_VOCABULARY}")));
            }
            if tokens.len() <= id as usize {
                tokens.resize(id as usize + 1, None);
            }
            tokens[id as usize] = Some(match added.get(&id) {
                Some(token) if token.special => Token::Control,
                Some(_) => Token::Text(name.as_bytes().to_vec()),
                None => Token::Text(bytes_of_token(&name)),
            });
            if tokens[id as usize] == Some(Token::Control) {
                controls.insert(name, id);
            }
        }
        let ends = END_NAMES.iter().filter_map(|name| controls.get(*name).copied()).collect();
        Ok(Self { bpe, tokens, controls, bos: None, ends, add_bos: false })
    }

    /// Text as it stands: no control token comes out, and none is added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.bpe.encode_fast(text, false).map_err(invalid)?;
        let ids = encoding.get_ids().to_vec();
        // Control tokens are outside the merges, so this never happens; if it did, text could command the model.
        if let Some(id) = ids.iter().find(|id| self.token(**id) == Some(&Token::Control)) {
            return Err(invalid(format!("text was encoded as control token {id}")));
        }
        Ok(ids)
    }

    /// Text that begins a document: with the BOS token in front where the file asks for one.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids: Vec<u32> = self.bos.filter(|_| self.add_bos).into_iter().collect();
        ids.extend(self.encode(text)?);
        Ok(ids)
    }

    /// The bytes a token adds to the text: none for a control token or an unknown id.
    pub fn bytes(&self, id: u32) -> &[u8] {
        match self.token(id) {
            Some(Token::Text(bytes)) => bytes,
            Some(Token::Control) | None => &[],
        }
    }

    /// The text of some tokens, with U+FFFD for what is not UTF-8.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.bytes(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The id of a control token.
    pub fn control(&self, name: &str) -> Result<u32> {
        self.controls.get(name).copied().ok_or_else(|| invalid(format!("there is no control token `{name}`")))
    }

    /// Whether an answer ends with this token.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// One more than the highest id.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// Fails where the model has not as many embeddings as there are tokens. More is usual: tables are padded.
    pub fn check_embeddings(&self, embeddings: usize) -> Result<()> {
        if self.vocab_size() > embeddings {
            let tokens = self.vocab_size();
            return Err(invalid(format!("there are {tokens} tokens and the model has {embeddings} embeddings")));
        }
        Ok(())
    }

    fn token(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize)?.as_ref()
    }
}

/// Steps that a byte-level BPE may take before the merges.
const NORMALIZERS: [&str; 9] =
    ["Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace", "Strip", "StripAccents"];
const PRE_TOKENIZERS: [&str; 4] = ["ByteLevel", "Digits", "Punctuation", "Split"];

/// Refuses what byte-level BPE does not have, before `tokenizers` 0.22 reads the file, because it believes it: affixes, by
/// which it cuts merges where they may be shorter (a panic); a `FixedLength` of 0 (a panic at the first text); a
/// `Precompiled` table, for which it takes the memory that the table claims. And dropout, with which the same text would
/// have other tokens each time.
fn check_plain(text: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct File {
        model: Model,
        normalizer: Option<Value>,
        pre_tokenizer: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Model {
        continuing_subword_prefix: Option<String>,
        end_of_word_suffix: Option<String>,
        dropout: Option<f64>,
    }
    let File { model, normalizer, pre_tokenizer } = serde_json::from_slice(text).map_err(invalid)?;
    let affixes = [&model.continuing_subword_prefix, &model.end_of_word_suffix];
    if affixes.into_iter().flatten().any(|affix| !affix.is_empty()) {
        return Err(invalid("its model marks the middle or the end of words: it is not byte-level BPE"));
    }
    if let Some(dropout) = model.dropout.filter(|dropout| *dropout != 0.0) {
        return Err(invalid(format!("its model has a dropout of {dropout}: it is for training")));
    }
    normalizer.as_ref().map_or(Ok(()), |step| check_step(step, "normalizers", &NORMALIZERS))?;
    pre_tokenizer.as_ref().map_or(Ok(()), |step| check_step(step, "pretokenizers", &PRE_TOKENIZERS))
}

/// One step of a `tokenizer.json`, or a sequence of such under the key `inner`.
fn check_step(step: &Value, inner: &str, known: &[&str]) -> Result<()> {
    let name = step["type"].as_str().unwrap_or("nothing that is said");
    if name == "Sequence" {
        let steps = step[inner].as_array().map_or(&[][..], Vec::as_slice);
        return steps.iter().try_for_each(|step| check_step(step, inner, known));
    }
    if !known.contains(&name) {
        return Err(invalid(format!("`{name}` is none of the {inner} of byte-level BPE")));
    }
    Ok(())
}

/// The steps that a `tokenizer.json` takes before it cuts text, each on a text of its own. `tokenizers` 0.22 takes them on
/// one text and notes where each character came from. It loses count where a step puts something where nothing was, and
/// panics at a later one; nobody here asks where a character came from.
#[derive(Deserialize)]
struct Steps(NormalizerWrapper);

impl Normalizer for Steps {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        *text = after(&self.0, text.get())?.into();
        Ok(())
    }
}

fn after(step: &NormalizerWrapper, text: &str) -> tokenizers::Result<String> {
    if let NormalizerWrapper::Sequence(steps) = step {
        return steps.as_ref().iter().try_fold(text.to_owned(), |text, step| after(step, &text));
    }
    let mut text = NormalizedString::from(text);
    step.normalize(&mut text)?;
    Ok(text.get().to_owned())
}

/// How a GGUF file cuts text, and its tokens in order of id with their types.
fn listed_tokens<'a>(gguf: &'a Gguf<'_>) -> Result<(Family, Vec<(&'a str, i64)>)> {
    let model = gguf.optional_string("tokenizer.ggml.model")?.unwrap_or("none");
    if model != "gpt2" {
        return Err(invalid(format!("`{model}` is not supported, only byte-level BPE (`gpt2`)")));
    }
    let family = Family::named(gguf.optional_string("tokenizer.ggml.pre")?.unwrap_or("default"))?;
    let names = gguf.strings("tokenizer.ggml.tokens")?;
    if names.len() > MAX_VOCABULARY {
        return Err(invalid(format!("it has {} tokens, more than {MAX_VOCABULARY}", names.len())));
    }
    let types = gguf.optional_integers("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![1; names.len()]);
    if types.len() != names.len() {
        return Err(invalid(format!("{} tokens have {} types", names.len(), types.len())));
    }
    Ok((family, names.into_iter().zip(types).collect()))
}

fn bpe<N: Normalizer>(gguf: &Gguf<'_>, family: Family, vocabulary: Vocab) -> Result<Bpe<N>> {
    let merges = gguf.strings("tokenizer.ggml.merges")?.into_iter().map(merge_pair).collect::<Result<Vec<_>>>()?;
    let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(family == Family::Llama3);
    let mut bpe = Bpe::new(bpe.build().map_err(invalid)?.into());
    bpe.with_pre_tokenizer(Some(family.pre_tokenizer()?));
    Ok(bpe)
}

/// The tokenizer of a GGUF file in the form of a `tokenizer.json`, where control tokens are special added tokens.
#[cfg(all(feature = "convert", not(target_family = "wasm")))]
pub(crate) fn bpe_from_gguf(gguf: &Gguf<'_>) -> Result<tokenizers::Tokenizer> {
    let (family, listed) = listed_tokens(gguf)?;
    let vocabulary = (0..).zip(&listed).map(|(id, &(name, _))| (name.to_owned(), id)).collect();
    let mut bpe: Bpe<NormalizerWrapper> = bpe(gguf, family, vocabulary)?;
    bpe.with_decoder(Some(ByteLevel::default()));
    let of_type = |wanted: i64, special: bool| -> Vec<AddedToken> {
        let names = listed.iter().filter(|(_, token_type)| *token_type == wanted);
        names.map(|(name, _)| AddedToken::from(*name, special).normalized(false)).collect()
    };
    bpe.add_special_tokens(&of_type(TYPE_CONTROL, true));
    bpe.add_tokens(&of_type(TYPE_USER_DEFINED, false));
    Ok(bpe.into())
}

/// How text is cut before the merges: llama.cpp's `tokenizer.ggml.pre`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Default,
    Gpt2,
    SmolLm,
    Llama3,
}

impl Family {
    fn named(name: &str) -> Result<Self> {
        match name {
            "default" => Ok(Self::Default),
            "gpt-2" => Ok(Self::Gpt2),
            "smollm" => Ok(Self::SmolLm),
            "llama-bpe" => Ok(Self::Llama3),
            other => Err(invalid(format!("the pre-tokenizer `{other}` is not supported"))),
        }
    }

    fn pre_tokenizer(self) -> Result<Sequence> {
        let patterns: &[&str] = match self {
            Self::Default => &DEFAULT,
            Self::Gpt2 => &[GPT_2],
            Self::SmolLm => &[DIGIT, GPT_2],
            Self::Llama3 => &[LLAMA_3],
        };
        let mut steps = Vec::new();
        for pattern in patterns {
            let pattern = SplitPattern::Regex((*pattern).into());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(invalid)?;
            steps.push(PreTokenizerWrapper::Split(split));
        }
        steps.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, false)));
        Ok(Sequence::new(steps))
    }
}

fn merge_pair(merge: &str) -> Result<(String, String)> {
    // The separator is a space, and a space inside a token is written as another character.
    let (left, right) = merge.split_once(' ').ok_or_else(|| invalid(format!("the merge `{merge}` is not a pair")))?;
    Ok((left.to_owned(), right.to_owned()))
}

/// The bytes that a byte-level token stands for. GPT-2 writes each byte as one printable character; a character that
/// stands for no byte means itself.
fn bytes_of_token(token: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for character in token.chars() {
        match byte_of_char(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// GPT-2's `bytes_to_unicode`, backwards: printable Latin-1 bytes are themselves, the 68 others follow from U+0100.
fn byte_of_char(character: char) -> Option<u8> {
    match u32::from(character) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8), // 0x00-0x20
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8), // 0x7f-0xa0
        0x143 => Some(0xad),
        _ => None,
    }
}

fn invalid(reason: impl std::fmt::Display) -> Error {
    Error::Tokenizer(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_character() {
        let alphabet = ByteLevel::alphabet();
        let mut bytes: Vec<u8> = alphabet.iter().filter_map(|character| byte_of_char(*character)).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(bytes_of_token("ĠcafÃ©"), " café".as_bytes());
    }
}
