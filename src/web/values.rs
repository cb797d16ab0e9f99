//! Rust values as plain JavaScript objects, and back.

use js_sys::{Array, Object, Reflect, Uint8Array, Uint32Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

use crate::image::Image;
use crate::image::edit::rgba_from_image;
use crate::model::events::{Answer, AnswerPart, Event};
use crate::model::mask_head::Segmentation;
use crate::model::rendering::GeneratedImage;
use crate::text::{Message, Part, Role};
use crate::{Error, Result};

/// Plain objects, not `Map`s.
pub(super) fn js_value(value: &impl Serialize) -> JsValue {
    value.serialize(&serde_wasm_bindgen::Serializer::json_compatible()).unwrap_or(JsValue::NULL)
}

/// A plain object of some properties.
pub(super) fn object<const N: usize>(properties: [(&str, JsValue); N]) -> JsValue {
    let object = Object::new();
    for (key, value) in properties {
        set(&object, key, value);
    }
    object.into()
}

/// Setting a property of an object that we made ourselves cannot fail.
pub(super) fn set(object: &JsValue, key: &str, value: JsValue) {
    let _ = Reflect::set(object, &key.into(), &value);
}

// --- in

/// Settings; what is not given has its default.
pub(super) fn settings<T: DeserializeOwned>(value: JsValue) -> Result<T> {
    serde_wasm_bindgen::from_value(value.clone()).map_err(|error| match culprit::<T>(&value) {
        Some(name) => Error::Setting(format!("`{name}`: {error}")),
        None => Error::Setting(error.to_string()),
    })
}

/// The setting without which the others can be read, such as `sampling.seed`: serde does not say where it failed.
fn culprit<T: DeserializeOwned>(settings: &JsValue) -> Option<String> {
    let is_read = |settings: JsValue| serde_wasm_bindgen::from_value::<T>(settings).is_ok();
    let key = keys(settings).into_iter().find(|key| is_read(without(settings, key)))?;
    let inner = get(settings, &key);
    let inner_key = keys(&inner).into_iter().find(|inner_key| {
        let settings = without(settings, &key);
        set(&settings, &key, without(&inner, inner_key));
        is_read(settings)
    });
    Some(inner_key.map_or(key.clone(), |inner_key| format!("{key}.{inner_key}")))
}

/// Of a plain object; none of anything else.
fn keys(value: &JsValue) -> Vec<String> {
    let names = value.dyn_ref::<Object>().filter(|_| !Array::is_array(value)).map(Object::keys);
    names.into_iter().flat_map(|names| names.iter().filter_map(|name| name.as_string()).collect::<Vec<_>>()).collect()
}

/// A copy of an object that lacks a property.
fn without(value: &JsValue, key: &str) -> JsValue {
    let copy = object([]);
    keys(value).iter().filter(|other| *other != key).for_each(|other| set(&copy, other, get(value, other)));
    copy
}

/// `{ bytes }` of an encoded file, or `{ rgba, width, height }`.
pub(super) fn image(value: &JsValue) -> Result<Image> {
    let bytes = |key: &str| get(value, key).dyn_into::<Uint8Array>().ok().map(|array| array.to_vec());
    if let Some(bytes) = bytes("bytes") {
        return Image::decode(&bytes);
    }
    let side = |key: &str| get(value, key).as_f64().filter(|side| side.fract() == 0.0 && (0.0..=1e9).contains(side));
    match (bytes("rgba"), side("width"), side("height")) {
        (Some(rgba), Some(width), Some(height)) => Image::from_rgba(&rgba, width as u32, height as u32),
        _ => Err(Error::ImageDecode("neither `bytes` nor `rgba`, `width` and `height` were given".into())),
    }
}

/// `{ role, parts: { type, text?, image? }[] }[]`, whose images are not read yet.
pub(super) fn messages(values: &Array) -> Result<Vec<Message<JsValue>>> {
    values.iter().map(|value| message(&value)).collect()
}

fn message(value: &JsValue) -> Result<Message<JsValue>> {
    let role = match get(value, "role").as_string().as_deref() {
        Some("system") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        other => return Err(Error::Prompt(format!("a message has the role {other:?}, not user or assistant"))),
    };
    let parts = get(value, "parts").dyn_into::<Array>();
    let parts = parts.map_err(|_| Error::Prompt("a message has no list of parts".into()))?;
    Ok(Message { role, parts: parts.iter().map(|part| message_part(&part)).collect::<Result<_>>()? })
}

fn message_part(value: &JsValue) -> Result<Part<JsValue>> {
    match (get(value, "type").as_string().as_deref(), get(value, "text").as_string()) {
        (Some("text"), Some(text)) => Ok(Part::Text(text)),
        (Some("image"), _) => Ok(Part::Image(get(value, "image"))),
        (Some("mask"), _) => Ok(Part::Mask),
        (other, _) => Err(Error::Prompt(format!("a message has a part of type {other:?}, not text, image or mask"))),
    }
}

/// Undefined for a property that is not there, or of something that has none.
fn get(value: &JsValue, key: &str) -> JsValue {
    Reflect::get(value, &key.into()).unwrap_or(JsValue::UNDEFINED)
}

// --- out

pub(super) fn js_image(image: &Image) -> JsValue {
    object([
        ("width", image.width().into()),
        ("height", image.height().into()),
        ("rgba", Uint8Array::from(image.to_rgba().as_slice()).into()),
    ])
}

pub(super) fn js_mask(found: &Segmentation) -> JsValue {
    let bits: Vec<u8> = found.mask.bits().iter().map(|&bit| bit.into()).collect();
    object([
        ("width", found.mask.width().into()),
        ("height", found.mask.height().into()),
        ("bits", Uint8Array::from(bits.as_slice()).into()),
        ("score", found.score.into()),
        ("box", js_value(&found.mask.bounds())),
        ("point", js_value(&found.point)),
        ("tokens", js_value(&found.tokens)),
    ])
}

/// The image's properties, and which token drew what.
pub(super) fn js_generated_image(generated: &GeneratedImage) -> JsValue {
    let value = js_image(&generated.image);
    if generated.alpha.is_some() {
        let rgba = rgba_from_image(&generated.image, generated.alpha.as_ref());
        set(&value, "rgba", Uint8Array::from(rgba.as_slice()).into());
    }
    set(&value, "grid", js_value(&generated.grid));
    set(&value, "crop", js_value(&generated.crop));
    set(&value, "labels", Uint32Array::from(generated.labels.as_slice()).into());
    set(&value, "tokens", js_value(&generated.tokens));
    set(&value, "removed", js_value(&generated.removed));
    value
}

pub(super) fn js_event(event: &Event) -> JsValue {
    match event {
        Event::Text(text) => js_text(text),
        Event::VisualToken { index, copied } => {
            object([("type", "visual-token".into()), ("index", js_value(index)), ("copied", js_value(copied))])
        }
        Event::Mask(found) => object([("type", "mask".into()), ("mask", js_mask(found))]),
        Event::Image(generated) => object([("type", "image".into()), ("image", js_generated_image(generated))]),
        Event::Done(usage) => object([("type", "done".into()), ("usage", js_value(usage))]),
    }
}

pub(super) fn js_answer(answer: &Answer) -> JsValue {
    let part = |part: &AnswerPart| match part {
        AnswerPart::Text(text) => js_text(text),
        AnswerPart::Mask(found) => object([("type", "mask".into()), ("mask", js_mask(found))]),
        AnswerPart::Image(generated) => object([("type", "image".into()), ("image", js_generated_image(generated))]),
    };
    let parts: Array = answer.parts.iter().map(part).collect();
    object([("parts", parts.into()), ("usage", js_value(&answer.usage))])
}

fn js_text(text: &str) -> JsValue {
    object([("type", "text".into()), ("text", text.into())])
}
