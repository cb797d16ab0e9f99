//! What JavaScript sees. Conversions only: everything that computes is in the files that `lib.rs` lists.

use js_sys::{Reflect, Uint8Array, Uint32Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::config::SetokimConfig;
use crate::device::{self, OpenDevice};
use crate::preprocess::Picture;
use crate::setokim::{Setokim, VisualTokens};
use crate::weights::{Manifest, ShardLoader, TensorStore};
use crate::{Error, Result};

/// Runs once when the module is instantiated.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
    // An error here means that a logger is set already, by a page that instantiates the module twice.
    if log::set_logger(&CONSOLE).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

/// Warnings and errors, burn's and wgpu's too, in the browser's console.
struct Console;

static CONSOLE: Console = Console;

impl log::Log for Console {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = JsValue::from(format!("{}: {}", record.target(), record.args()));
        match record.level() {
            log::Level::Error => web_sys::console::error_1(&line),
            log::Level::Warn => web_sys::console::warn_1(&line),
            _ => {}
        }
    }

    fn flush(&self) {}
}

/// A JavaScript `Error` with `code` and `remedy` beside its `message`.
fn js_error(error: Error) -> JsValue {
    let object = js_sys::Error::new(&error.to_string());
    object.set_name("SetokimError");
    for (key, value) in [("code", error.code()), ("remedy", error.remedy())] {
        // Setting a property of a fresh, extensible object cannot fail.
        let _ = Reflect::set(&object, &key.into(), &value.into());
    }
    object.into()
}

/// Plain objects, not `Map`s.
fn js_value(value: &impl Serialize) -> JsValue {
    value.serialize(&serde_wasm_bindgen::Serializer::json_compatible()).unwrap_or(JsValue::NULL)
}

/// The device that `auto` would take and why; never fails.
#[wasm_bindgen]
pub async fn probe() -> JsValue {
    js_value(&device::probe().await)
}

/// A model on its way in: made from `config.json` and `manifest.json`, fed one shard at a time.
#[wasm_bindgen]
pub struct Loader {
    config: SetokimConfig,
    device: OpenDevice,
    shards: ShardLoader,
}

#[wasm_bindgen]
impl Loader {
    /// Checks both texts and opens the device (`auto`, `gpu` or `cpu`).
    pub async fn create(config: String, manifest: String, device: String) -> Result<Loader, JsValue> {
        let create = async {
            let config = SetokimConfig::from_json(&config)?;
            let manifest = Manifest::parse(&manifest)?;
            let device = device::open(device.parse()?).await?;
            let shards = ShardLoader::new(&manifest, TensorStore::new(&device.device));
            Ok(Self { config, device, shards })
        };
        create.await.map_err(js_error)
    }

    /// The shards still wanted: `{ name, bytes, sha256 }[]`.
    pub fn files(&self) -> JsValue {
        js_value(&self.shards.wanted())
    }

    /// Verifies a shard against the manifest and moves its tensors to the device. Async, so that a later version may wait
    /// for the device between tensors.
    pub async fn add(&mut self, name: String, bytes: Vec<u8>) -> Result<(), JsValue> {
        self.shards.add(&name, bytes).map_err(js_error)
    }

    /// Builds the model; the loader is used up.
    pub async fn finish(self) -> Result<Engine, JsValue> {
        let finish = || Setokim::load(self.config, self.shards.finish()?, self.device);
        Ok(Engine { model: finish().map_err(js_error)? })
    }
}

/// A loaded model.
#[wasm_bindgen]
pub struct Engine {
    model: Setokim,
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
}

impl Engine {
    async fn tokens_of(&self, picture: Result<Picture>) -> Result<JsValue> {
        let visual = self.model.tokenize(&picture?).await?;
        self.js_tokens(&visual).await
    }

    async fn picture_of(&self, picture: Result<Picture>) -> Result<JsValue> {
        let (again, visual) = self.model.reconstruct(&picture?).await?;
        let result = js_sys::Object::new();
        set(&result, "width", again.width().into());
        set(&result, "height", again.height().into());
        set(&result, "rgba", Uint8Array::from(again.to_rgba().as_slice()).into());
        set(&result, "tokens", self.js_tokens(&visual).await?);
        Ok(result.into())
    }

    async fn js_tokens(&self, visual: &VisualTokens) -> Result<JsValue> {
        let names = self.model.name_tokens(visual).await?;
        let tokens = js_value(&visual.report);
        set(&tokens, "labels", Uint32Array::from(visual.report.labels.as_slice()).into());
        set(&tokens, "names", js_value(&names)); // null for a model without name heads
        Ok(tokens)
    }
}

/// Setting a property of an object that we made ourselves cannot fail.
fn set(object: &JsValue, key: &str, value: JsValue) {
    let _ = Reflect::set(object, &key.into(), &value);
}
