//! A loaded model and its requests.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use js_sys::{Array, Float32Array, Function, Promise, Uint32Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::MessageChannel;

use super::js_error;
use super::values::{
    image, js_answer, js_event, js_generated_image, js_image, js_mask, js_value, messages, object, set, settings,
};
use crate::Result;
use crate::image::Image;
use crate::model::abort::AbortHandle;
use crate::model::answer::AnswerOptions;
use crate::model::answering::Answering;
use crate::model::encoded_image::{EncodedImage, ImageCache};
use crate::model::events::Usage;
use crate::model::language::{Message, Part, check_messages};
use crate::model::rendering::GeneratedImage;
use crate::model::setokim::{Setokim, VisualTokens};
use crate::nn::tensor_store::HeldWeights;
use crate::text;

#[wasm_bindgen]
pub struct Engine {
    model: Setokim,
    weights: WeightsReport,
    /// So that a chat that goes on does not look at its images again.
    image_cache: RefCell<ImageCache>,
}

#[derive(Serialize)]
pub(super) struct WeightsReport {
    stored: BTreeSet<String>,
    memory: String,
    memory_bytes: u64,
}

impl WeightsReport {
    pub(super) fn new(dtype: String, held: &HeldWeights) -> Self {
        Self { stored: held.stored.clone(), memory: dtype, memory_bytes: held.memory_bytes }
    }
}

/// Stops a request at its next token.
#[wasm_bindgen]
#[derive(Default)]
pub struct Abort {
    pub(super) handle: AbortHandle,
}

#[wasm_bindgen]
impl Abort {
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn abort(&self) {
        self.handle.abort();
    }
}

#[wasm_bindgen]
impl Engine {
    /// Which device was taken, and why.
    pub fn device(&self) -> JsValue {
        js_value(&self.model.device().report)
    }

    /// The model's config.
    pub fn config(&self) -> JsValue {
        js_value(self.model.config())
    }

    /// `{ stored, memory, memory_bytes }`: the types of the weights in the files, the `dtype` that was asked for, and the
    /// bytes they take in memory.
    pub fn weights(&self) -> JsValue {
        js_value(&self.weights)
    }

    /// What this model can do, by the names of the methods here.
    pub fn tasks(&self) -> JsValue {
        js_value(&self.model.tasks())
    }

    /// `{ bytes }` or `{ rgba, width, height }` -> features of its patches `[N, C]`, row-major, as the encoder leaves them.
    pub async fn features(&self, shown: JsValue) -> Result<Float32Array, JsValue> {
        let features = async { self.model.features(&image(&shown)?).await };
        features.await.map(|(_, values)| Float32Array::from(values.as_slice())).map_err(js_error)
    }

    /// Encoded image -> semantic tokens.
    pub async fn tokenize(&self, bytes: Vec<u8>) -> Result<JsValue, JsValue> {
        self.tokens_of(Image::decode(&bytes)).await.map_err(js_error)
    }

    /// `height` rows of `width` pixels of RGBA -> semantic tokens.
    pub async fn tokenize_rgba(&self, rgba: Vec<u8>, width: u32, height: u32) -> Result<JsValue, JsValue> {
        self.tokens_of(Image::from_rgba(&rgba, width, height)).await.map_err(js_error)
    }

    /// Encoded image -> tokens -> image.
    pub async fn reconstruct(&self, bytes: Vec<u8>) -> Result<JsValue, JsValue> {
        self.image_of(Image::decode(&bytes)).await.map_err(js_error)
    }

    /// `height` rows of `width` pixels of RGBA -> tokens -> image.
    pub async fn reconstruct_rgba(&self, rgba: Vec<u8>, width: u32, height: u32) -> Result<JsValue, JsValue> {
        self.image_of(Image::from_rgba(&rgba, width, height)).await.map_err(js_error)
    }

    /// Answers the last of some messages.
    pub async fn chat(
        &self,
        chat: Array,
        options: JsValue,
        on_event: Function,
        abort: &Abort,
    ) -> Result<JsValue, JsValue> {
        let abort = abort.handle.clone();
        let chat = async {
            let (chat, options) = (messages(&chat)?, answer_options(options, abort)?);
            check_messages(&chat)?; // before any image is looked at
            let mut encoded = Vec::new();
            for message in chat {
                encoded.push(self.encode_images(message).await?);
            }
            let answer = answered(self.model.chat(&encoded, &options), &on_event).await?;
            for generated in answer.images() {
                self.image_cache.borrow_mut().add(generated.to_encoded());
            }
            Ok(js_answer(&answer))
        };
        chat.await.map_err(js_error)
    }

    /// What is in an image, in the words of the question that the model was trained with.
    pub async fn describe(
        &self,
        shown: JsValue,
        options: JsValue,
        on_event: Function,
        abort: &Abort,
    ) -> Result<JsValue, JsValue> {
        let abort = abort.handle.clone();
        let describe = async {
            let (encoded, options) = (self.encode_image(image(&shown)?).await?, answer_options(options, abort)?);
            Ok(js_answer(&answered(self.model.describe(&encoded, &options), &on_event).await?))
        };
        describe.await.map_err(js_error)
    }

    /// The mask of what a phrase means in an image.
    pub async fn segment(
        &self,
        shown: JsValue,
        phrase: String,
        options: JsValue,
        on_event: Function,
        abort: &Abort,
    ) -> Result<JsValue, JsValue> {
        let abort = abort.handle.clone();
        let segment = async {
            let (encoded, options) = (self.encode_image(image(&shown)?).await?, answer_options(options, abort)?);
            let answer = answered(self.model.segment(&encoded, &phrase, &options), &on_event).await?;
            Ok(object([
                ("mask", answer.mask.as_ref().map_or(JsValue::NULL, js_mask)),
                ("text", answer.text.into()),
                ("usage", js_value(&answer.usage)),
            ]))
        };
        segment.await.map_err(js_error)
    }

    /// An image of what a prompt describes.
    pub async fn generate(
        &self,
        prompt: String,
        options: JsValue,
        on_event: Function,
        abort: &Abort,
    ) -> Result<JsValue, JsValue> {
        let abort = abort.handle.clone();
        let generate = async {
            let options = answer_options(options, abort)?;
            let answer = answered(self.model.generate(&prompt, &options), &on_event).await?;
            Ok(self.js_generated(answer.image.as_ref(), answer.text, &answer.usage))
        };
        generate.await.map_err(js_error)
    }

    /// An image, changed as an instruction says.
    pub async fn edit(
        &self,
        shown: JsValue,
        instruction: String,
        options: JsValue,
        on_event: Function,
        abort: &Abort,
    ) -> Result<JsValue, JsValue> {
        let abort = abort.handle.clone();
        let edit = async {
            let (encoded, options) = (self.encode_image(image(&shown)?).await?, answer_options(options, abort)?);
            let answer = answered(self.model.edit(&encoded, &instruction, &options), &on_event).await?;
            Ok(self.js_generated(answer.image.as_ref(), answer.text, &answer.usage))
        };
        edit.await.map_err(js_error)
    }
}

impl Engine {
    pub(super) fn new(model: Setokim, weights: WeightsReport) -> Self {
        Self { model, weights, image_cache: RefCell::default() }
    }

    /// An image or words; the image can be asked about from now on.
    fn js_generated(&self, generated: Option<&GeneratedImage>, text: String, usage: &Usage) -> JsValue {
        // A photograph that was edited has no tokens yet; they are made when it is asked about.
        if let Some(generated) = generated.filter(|generated| !generated.values.is_empty()) {
            self.image_cache.borrow_mut().add(generated.to_encoded());
        }
        object([
            ("image", generated.map_or(JsValue::NULL, js_generated_image)),
            ("text", text.into()),
            ("usage", js_value(usage)),
        ])
    }

    async fn tokens_of(&self, image: Result<Image>) -> Result<JsValue> {
        let visual = self.model.tokenize(&image?).await?;
        self.js_tokens(&visual).await
    }

    async fn image_of(&self, image: Result<Image>) -> Result<JsValue> {
        let (again, visual) = self.model.reconstruct(&image?).await?;
        let result = js_image(&again);
        set(&result, "tokens", self.js_tokens(&visual).await?);
        Ok(result)
    }

    async fn js_tokens(&self, visual: &VisualTokens) -> Result<JsValue> {
        let names = self.model.name_tokens(visual).await?;
        let tokens = js_value(&visual.report);
        set(&tokens, "labels", Uint32Array::from(visual.report.labels.as_slice()).into());
        // Null for a model that cannot name tokens, or has no measure of what it knows.
        set(&tokens, "unfamiliar", js_value(&names.as_ref().and_then(|names| names.unfamiliar)));
        set(&tokens, "names", js_value(&names.map(|names| names.names)));
        Ok(tokens)
    }

    /// A message whose images were looked at.
    async fn encode_images(&self, message: text::Message<JsValue>) -> Result<Message> {
        let mut parts = Vec::new();
        for part in message.parts {
            parts.push(match part {
                text::Part::Text(text) => Part::Text(text),
                text::Part::Image(shown) => Part::Image(self.encode_image(image(&shown)?).await?),
                text::Part::Mask => Part::Mask,
            });
        }
        Ok(Message { role: message.role, parts })
    }

    async fn encode_image(&self, image: Image) -> Result<Arc<EncodedImage>> {
        if let Some(encoded) = self.image_cache.borrow_mut().find(&image) {
            return Ok(encoded);
        }
        let encoded = self.model.encode_image(&image).await?;
        Ok(self.image_cache.borrow_mut().add(encoded))
    }
}

/// The options of a request that `abort` stops.
fn answer_options(options: JsValue, abort: AbortHandle) -> Result<AnswerOptions> {
    Ok(AnswerOptions { abort, ..settings(options)? })
}

/// Passes events on, and lets the browser do what has come up after each: show the answer so far, or stop it.
async fn answered<T>(mut answering: Answering<impl Future<Output = Result<T>>>, on_event: &Function) -> Result<T> {
    while let Some(event) = answering.next().await {
        tell(on_event, &js_event(&event)).await;
    }
    answering.await
}

/// Tells a listener, and lets the browser do what has come up.
pub(super) async fn tell(listener: &Function, event: &JsValue) {
    let told = listener.call1(&JsValue::NULL, event);
    if let Err(error) = told.and(next_task().await) {
        web_sys::console::error_1(&error); // the listener's own fault, and no reason to lose the answer
    }
}

/// Waits until the browser has taken up what was waiting before.
async fn next_task() -> Result<JsValue, JsValue> {
    let channel = MessageChannel::new()?;
    let (here, there) = (channel.port1(), channel.port2());
    let told = Promise::new(&mut |resolve, _| here.set_onmessage(Some(&resolve)));
    there.post_message(&JsValue::NULL)?;
    JsFuture::from(told).await?;
    here.close();
    Ok(JsValue::UNDEFINED)
}
