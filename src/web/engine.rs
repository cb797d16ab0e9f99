//! A loaded model and its requests.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use js_sys::{Array, Float32Array, Function, Promise, Uint32Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::MessageChannel;

use super::js_error;
use super::values::{
    js_answer, js_drawing, js_event, js_mask, js_picture, js_value, messages, object, picture, pictures, set, settings,
};
use crate::Result;
use crate::drawing::Drawing;
use crate::event::{Event, Usage};
use crate::language::{check_messages, read_floats};
use crate::preprocess::Picture;
use crate::seen::{Album, Seen};
use crate::setokim::{Setokim, VisualTokens};
use crate::weights::HeldWeights;

#[wasm_bindgen]
pub struct Engine {
    model: Setokim,
    weights: WeightsReport,
    /// So that a chat that goes on does not look at its pictures again.
    album: RefCell<Album>,
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
    pub(super) flag: Arc<AtomicBool>,
}

#[wasm_bindgen]
impl Abort {
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn abort(&self) {
        self.flag.store(true, Ordering::Relaxed);
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
        let features = async {
            let square = self.model.preprocess(&picture(&shown)?)?;
            read_floats(self.model.encode(&square)).await
        };
        features.await.map(|values| Float32Array::from(values.as_slice())).map_err(js_error)
    }

    /// Encoded picture -> semantic tokens.
    pub async fn tokenize(&self, bytes: Vec<u8>) -> Result<JsValue, JsValue> {
        self.tokens_of(Picture::decode(&bytes)).await.map_err(js_error)
    }

    /// `height` rows of `width` pixels of RGBA -> semantic tokens.
    pub async fn tokenize_rgba(&self, rgba: Vec<u8>, width: u32, height: u32) -> Result<JsValue, JsValue> {
        self.tokens_of(Picture::from_rgba(&rgba, width, height)).await.map_err(js_error)
    }

    /// Encoded picture -> tokens -> picture.
    pub async fn reconstruct(&self, bytes: Vec<u8>) -> Result<JsValue, JsValue> {
        self.picture_of(Picture::decode(&bytes)).await.map_err(js_error)
    }

    /// `height` rows of `width` pixels of RGBA -> tokens -> picture.
    pub async fn reconstruct_rgba(&self, rgba: Vec<u8>, width: u32, height: u32) -> Result<JsValue, JsValue> {
        self.picture_of(Picture::from_rgba(&rgba, width, height)).await.map_err(js_error)
    }

    /// Answers the last of some messages, into which the pictures belong in their order.
    pub async fn chat(
        &self,
        said: Array,
        shown: Array,
        options: JsValue,
        on_event: Function,
        abort: &Abort,
    ) -> Result<JsValue, JsValue> {
        let abort = abort.flag.clone();
        let chat = async {
            let (said, options) = (messages(&said)?, settings(options)?);
            check_messages(&said, shown.length() as usize)?; // before any picture is looked at
            let mut seen = Vec::new();
            for picture in pictures(&shown)? {
                seen.push(self.see(picture).await?);
            }
            let seen: Vec<&Seen> = seen.iter().map(|seen| &**seen).collect();
            let answer = self.model.chat(&said, &seen, &options, &abort, tell(&on_event)).await?;
            for drawing in answer.images() {
                self.album.borrow_mut().add(drawing.to_seen());
            }
            Ok(js_answer(&answer))
        };
        chat.await.map_err(js_error)
    }

    /// The mask of what a phrase means in a picture.
    pub async fn segment(
        &self,
        shown: JsValue,
        phrase: String,
        options: JsValue,
        on_event: Function,
        abort: &Abort,
    ) -> Result<JsValue, JsValue> {
        let abort = abort.flag.clone();
        let segment = async {
            let (seen, options) = (self.see(picture(&shown)?).await?, settings(options)?);
            let answer = self.model.segment(&seen, &phrase, &options, &abort, tell(&on_event)).await?;
            Ok(object([
                ("found", answer.found.as_ref().map_or(JsValue::NULL, js_mask)),
                ("said", answer.said.into()),
                ("usage", js_value(&answer.usage)),
            ]))
        };
        segment.await.map_err(js_error)
    }

    /// A picture of what a prompt describes.
    pub async fn generate(
        &self,
        prompt: String,
        options: JsValue,
        on_event: Function,
        abort: &Abort,
    ) -> Result<JsValue, JsValue> {
        let abort = abort.flag.clone();
        let generate = async {
            let answer = self.model.generate(&prompt, &settings(options)?, &abort, tell(&on_event)).await?;
            Ok(self.js_drawn(answer.drawing.as_ref(), answer.said, &answer.usage))
        };
        generate.await.map_err(js_error)
    }

    /// A picture, changed as an instruction says.
    pub async fn edit(
        &self,
        shown: JsValue,
        instruction: String,
        options: JsValue,
        on_event: Function,
        abort: &Abort,
    ) -> Result<JsValue, JsValue> {
        let abort = abort.flag.clone();
        let edit = async {
            let (seen, options) = (self.see(picture(&shown)?).await?, settings(options)?);
            let answer = self.model.edit(&seen, &instruction, &options, &abort, tell(&on_event)).await?;
            Ok(self.js_drawn(answer.drawing.as_ref(), answer.said, &answer.usage))
        };
        edit.await.map_err(js_error)
    }
}

impl Engine {
    pub(super) fn new(model: Setokim, weights: WeightsReport) -> Self {
        Self { model, weights, album: RefCell::default() }
    }

    /// A picture or words; the picture can be asked about from now on.
    fn js_drawn(&self, drawing: Option<&Drawing>, said: String, usage: &Usage) -> JsValue {
        if let Some(drawing) = drawing {
            self.album.borrow_mut().add(drawing.to_seen());
        }
        object([
            ("image", drawing.map_or(JsValue::NULL, js_drawing)),
            ("said", said.into()),
            ("usage", js_value(usage)),
        ])
    }

    async fn tokens_of(&self, picture: Result<Picture>) -> Result<JsValue> {
        let visual = self.model.tokenize(&picture?).await?;
        self.js_tokens(&visual).await
    }

    async fn picture_of(&self, picture: Result<Picture>) -> Result<JsValue> {
        let (again, visual) = self.model.reconstruct(&picture?).await?;
        let result = js_picture(&again);
        set(&result, "tokens", self.js_tokens(&visual).await?);
        Ok(result)
    }

    async fn js_tokens(&self, visual: &VisualTokens) -> Result<JsValue> {
        let names = self.model.name_tokens(visual).await?;
        let tokens = js_value(&visual.report);
        set(&tokens, "labels", Uint32Array::from(visual.report.labels.as_slice()).into());
        set(&tokens, "names", js_value(&names)); // null for a model without name heads
        Ok(tokens)
    }

    async fn see(&self, picture: Picture) -> Result<Rc<Seen>> {
        if let Some(seen) = self.album.borrow_mut().find(&picture) {
            return Ok(seen);
        }
        let seen = self.model.see(&picture).await?;
        Ok(self.album.borrow_mut().add(seen))
    }
}

/// Passes events on, and lets the browser do what has come up after each: show the answer so far, or stop it.
fn tell(on_event: &Function) -> impl AsyncFnMut(Event) {
    async |event| {
        let told = on_event.call1(&JsValue::NULL, &js_event(&event));
        if let Err(error) = told.and(next_task().await) {
            web_sys::console::error_1(&error); // the listener's own fault, and no reason to lose the answer
        }
    }
}

/// Waits until the browser has taken up what was waiting before.
pub(super) async fn next_task() -> Result<JsValue, JsValue> {
    let channel = MessageChannel::new()?;
    let (here, there) = (channel.port1(), channel.port2());
    let told = Promise::new(&mut |resolve, _| here.set_onmessage(Some(&resolve)));
    there.post_message(&JsValue::NULL)?;
    JsFuture::from(told).await?;
    here.close();
    Ok(JsValue::UNDEFINED)
}
