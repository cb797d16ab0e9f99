//! Tokenizers for a bundle: Hugging Face's `tokenizer.json` with the control tokens that images need.

use tokenizers::{AddedToken, Tokenizer as Bpe};

use crate::formats::gguf::Gguf;
use crate::model::config::SpecialTokens;
use crate::text::Tokenizer;
use crate::text::template::names;
use crate::text::tokenizer::bpe_from_gguf;
use crate::{Error, Result};

const PAD: &str = "<pad>";

/// Names of the control tokens of a model with `keep_count` pointers, in the order of [`SpecialTokens`].
pub(crate) fn special_tokens(keep_count: usize) -> Vec<String> {
    let fixed = [
        PAD,
        names::BEGIN,
        names::END,
        names::USER,
        names::ASSISTANT,
        names::IMAGE,
        names::IMAGE_END,
        names::VISUAL,
        names::SEGMENT,
    ];
    fixed.into_iter().map(str::to_owned).chain((0..keep_count).map(names::keep)).collect()
}

/// Adds control tokens to a `tokenizer.json`: its text, their ids, and one more than the highest id.
///
/// # Errors
/// [`Error::Tokenizer`] for a tokenizer that cannot be read; [`Error::Convert`] when it has one of the names for text.
pub(crate) fn add_controls(json: &[u8], controls: &[String]) -> Result<(Vec<u8>, SpecialTokens, usize)> {
    Tokenizer::from_json(json)?; // what could not be loaded is not written
    let mut bpe = Bpe::from_bytes(json).map_err(invalid)?;
    // Padding and truncation are for batches; a model that talks must not lose text.
    bpe.with_truncation(None).map_err(invalid)?;
    bpe.with_padding(None);
    let special = bpe.get_added_tokens_decoder();
    for name in controls {
        match bpe.token_to_id(name) {
            Some(id) if !special.get(&id).is_some_and(|token| token.special) => {
                return Err(Error::Convert(format!("the tokenizer has `{name}` as text, not as a control token")));
            }
            Some(_) => (),
            None => {
                bpe.add_special_tokens(&[AddedToken::from(name.as_str(), true).normalized(false)]);
            }
        }
    }
    let ids = controls.iter().map(|name| {
        bpe.token_to_id(name).ok_or_else(|| Error::Convert(format!("the tokenizer does not take `{name}`")))
    });
    let ids: Vec<u32> = ids.collect::<Result<_>>()?;
    let &[pad, begin, end, user, assistant, image_start, image_end, visual, segment, ref keep @ ..] = ids.as_slice()
    else {
        return Err(Error::Convert("too few control tokens".into()));
    };
    if keep.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        return Err(Error::Convert("the pointers `<keep_i>` of the tokenizer do not follow one another".into()));
    }
    let special = SpecialTokens {
        pad,
        begin,
        end,
        user,
        assistant,
        image_start,
        image_end,
        visual,
        segment,
        keep_first: keep.first().copied().unwrap_or_default(),
        keep_count: keep.len() as u32,
    };
    let size = bpe.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
    Ok((bpe.to_string(false).map_err(invalid)?.into_bytes(), special, size))
}

/// The tokenizer of a GGUF file as a `tokenizer.json`.
pub(crate) fn tokenizer_from_gguf(gguf: &Gguf<'_>) -> Result<Vec<u8>> {
    Ok(bpe_from_gguf(gguf)?.to_string(false).map_err(invalid)?.into_bytes())
}

fn invalid(reason: impl std::fmt::Display) -> Error {
    Error::Tokenizer(reason.to_string())
}
