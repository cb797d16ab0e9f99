//! A model on its way in: made from `config.json` and `manifest.json`, fed one file at a time.

use wasm_bindgen::prelude::*;

use super::engine::{Engine, WeightsReport};
use super::js_error;
use super::values::js_value;
use crate::formats::manifest::{FileEntry, Manifest};
use crate::formats::quantize::Precision;
use crate::model::config::SetokimConfig;
use crate::model::setokim::Setokim;
use crate::model::shard_loader::ShardLoader;
use crate::nn::tensor_store::TensorStore;
use crate::runtime::device::{self, OpenDevice};
use crate::text::Tokenizer;
use crate::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";

#[wasm_bindgen]
pub struct Loader {
    config: SetokimConfig,
    device: OpenDevice,
    dtype: String,
    shards: ShardLoader,
    /// The text tokenizer's file while it is still to come.
    wanted_text: Option<FileEntry>,
    text: Option<Tokenizer>,
}

#[wasm_bindgen]
impl Loader {
    /// Checks both texts and opens the device (`auto`, `gpu` or `cpu`). The language model's weights are held in memory as
    /// `dtype` says: `stored`, `f32`, `q8_0` or `q4_0`.
    pub async fn create(
        config: String,
        manifest: String,
        device: String,
        dtype: Option<String>,
    ) -> Result<Loader, JsValue> {
        let create = async {
            let config = SetokimConfig::from_json(&config)?;
            let manifest = Manifest::parse(&manifest)?;
            let wanted_text = match &config.llm {
                Some(_) => Some(tokenizer_entry(&manifest)?),
                None => None,
            };
            let dtype = dtype.unwrap_or_else(|| "stored".into());
            let precision = precision_of(&dtype)?;
            let device = device::open(device.parse()?).await?;
            let store = TensorStore::new(&device.device).with_language_precision(precision);
            let shards = ShardLoader::new(&manifest, store);
            Ok(Self { config, device, dtype, shards, wanted_text, text: None })
        };
        create.await.map_err(js_error)
    }

    /// The files still wanted: `{ name, bytes, sha256 }[]`.
    pub fn files(&self) -> JsValue {
        js_value(&self.wanted_text.iter().chain(self.shards.wanted()).collect::<Vec<_>>())
    }

    /// Verifies a file against the manifest and takes it in: tensors go to the device. Async, so that a later version may
    /// wait for the device between tensors.
    pub async fn add(&mut self, name: String, bytes: Vec<u8>) -> Result<(), JsValue> {
        self.take(&name, bytes).map_err(js_error)
    }

    /// Builds the model; the loader is used up.
    pub async fn finish(self) -> Result<Engine, JsValue> {
        self.build().map_err(js_error)
    }
}

impl Loader {
    fn take(&mut self, name: &str, bytes: Vec<u8>) -> Result<()> {
        match self.wanted_text.take_if(|file| file.name == name) {
            Some(file) => {
                match file.verify(&bytes).and_then(|()| Tokenizer::from_json(&bytes)) {
                    Ok(text) => self.text = Some(text),
                    Err(error) => {
                        self.wanted_text = Some(file); // refused, so still wanted
                        return Err(error);
                    }
                }
                Ok(())
            }
            None => self.shards.add(name, bytes),
        }
    }

    fn build(self) -> Result<Engine> {
        if let Some(FileEntry { name, .. }) = self.wanted_text {
            return Err(Error::Shard { name, reason: "it was not loaded".into() });
        }
        let store = self.shards.finish()?;
        let weights = WeightsReport::new(self.dtype, store.held());
        let model = match self.text {
            Some(text) => Setokim::load_with_text(self.config, store, text, self.device)?,
            None => Setokim::load(self.config, store, self.device)?,
        };
        Ok(Engine::new(model, weights))
    }
}

fn precision_of(dtype: &str) -> Result<Precision> {
    match dtype {
        "stored" => Ok(Precision::Keep),
        "f32" => Ok(Precision::F32),
        "q8_0" => Ok(Precision::Q8),
        "q4_0" => Ok(Precision::Q4),
        other => Err(Error::Setting(format!("`dtype` is `{other}`, not one of stored, f32, q8_0 and q4_0"))),
    }
}

fn tokenizer_entry(manifest: &Manifest) -> Result<FileEntry> {
    let entry = manifest.files.iter().find(|file| file.name == TOKENIZER).cloned();
    entry.ok_or_else(|| Error::Manifest(format!("config.json has `llm`, and there is no {TOKENIZER} in the list")))
}
