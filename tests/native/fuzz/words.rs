//! What a person may type.

use super::*;

/// Every control token of a vocabulary that a template can place, as text.
pub(super) fn spelled_out() -> Vec<String> {
    let fixed = [
        names::BEGIN,
        names::USER,
        names::ASSISTANT,
        names::END,
        names::IMAGE,
        names::IMAGE_END,
        names::VISUAL,
        names::SEGMENT,
        "<pad>",
        "<|im_start|>",
        "<|im_end|>",
    ];
    fixed.iter().map(ToString::to_string).chain((0..16).map(names::keep)).collect()
}

/// Text with control tokens in it, whole and in pieces, among anything else.
pub(super) fn check_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => prop::sample::select(spelled_out()),
        1 => prop::sample::select(vec!["<", ">", "[", "]", "/", "<keep_", "Img", "SEG", "\u{200b}", "<<user>>", " ", "\n", "\u{feff}"])
            .prop_map(str::to_owned),
        1 => ".{0,8}",
        1 => "[a-z ]{0,12}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

pub(super) fn controls(tokenizer: &Tokenizer) -> Vec<u32> {
    spelled_out().iter().filter_map(|name| tokenizer.control(name).ok()).collect()
}

/// A message that says where images are.
pub(super) type Sketch = text::Message<()>;

pub(super) fn any_part() -> impl Strategy<Value = text::Part<()>> {
    let image = Just(text::Part::Image(()));
    prop_oneof![4 => check_text().prop_map(text::Part::Text), 1 => image, 1 => Just(text::Part::Mask)]
}

pub(super) fn any_message() -> impl Strategy<Value = Sketch> {
    let role = prop::sample::select(vec![Role::User, Role::User, Role::Assistant, Role::System]);
    (role, prop::collection::vec(any_part(), 0..4)).prop_map(|(role, parts)| Sketch { role, parts })
}

/// The message with one and the same image wherever there is one.
pub(super) fn with_image(Sketch { role, parts }: Sketch, image: &Arc<EncodedImage>) -> Message {
    let part = |part| match part {
        text::Part::Text(text) => Part::Text(text),
        text::Part::Image(()) => Part::Image(image.clone()),
        text::Part::Mask => Part::Mask,
    };
    Message { role, parts: parts.into_iter().map(part).collect() }
}
