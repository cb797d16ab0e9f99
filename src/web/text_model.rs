//! A language model alone, out of a GGUF file: the raw continuation of a prompt.

use std::ops::Range;

use js_sys::{Function, Uint8Array};
use wasm_bindgen::prelude::*;

use super::engine::{Abort, tell};
use super::js_error;
use super::values::{js_value, object, settings};
use crate::Result;
use crate::formats::gguf::Gguf;
use crate::kernels::quant_matmul::Activations;
use crate::model::complete::{CompleteOptions, Completion, complete};
use crate::model::llm::Llama;
use crate::runtime::device::{self, DeviceReport};
use crate::text::Tokenizer;

#[wasm_bindgen]
pub struct TextModel {
    model: Llama,
    tokenizer: Tokenizer,
    device: DeviceReport,
}

#[wasm_bindgen]
impl TextModel {
    /// Reads a LLaMA-family GGUF file onto a device (`auto`, `gpu` or `cpu`); its weights stay packed. The file stays where it
    /// is: memory of WebAssembly, which never shrinks, has one tensor of it at a time.
    pub async fn create(gguf: Uint8Array, device: String) -> Result<TextModel, JsValue> {
        let create = async {
            let device = device::open(device.parse()?).await?;
            // From here on nothing waits, so that nobody can take the array away.
            let bytes = |range: Range<usize>| gguf.subarray(range.start as u32, range.end as u32).to_vec().into();
            let gguf = Gguf::open(gguf.length() as usize, bytes)?;
            let tokenizer = Tokenizer::from_gguf(&gguf)?;
            let model = Llama::from_gguf(&gguf, Activations::default(), &device.device)?;
            Ok(Self { model, tokenizer, device: device.report })
        };
        create.await.map_err(js_error)
    }

    /// Which device was taken, and why.
    pub fn device(&self) -> JsValue {
        js_value(&self.device)
    }

    /// Continues `prompt` without a chat template; `on_text` gets each piece of text. `options` are those of
    /// `complete.rs`.
    pub async fn complete(
        &self,
        prompt: String,
        options: JsValue,
        on_text: Function,
        abort: &Abort,
    ) -> Result<JsValue, JsValue> {
        let abort = abort.handle.clone();
        let complete = async {
            let options = CompleteOptions { abort, ..settings(options)? };
            let mut completing = complete(&self.model, &self.tokenizer, &prompt, &options);
            while let Some(text) = completing.next().await {
                tell(&on_text, &text.into()).await;
            }
            completing.await
        };
        complete.await.map(|completion| js_completion(&completion)).map_err(js_error)
    }
}

fn js_completion(completion: &Completion) -> JsValue {
    object([
        ("text", completion.text.as_str().into()),
        ("prompt_tokens", completion.prompt_ids.len().into()),
        ("tokens", completion.steps.len().into()),
        ("finish", js_value(&completion.finish)),
        ("prefill_seconds", completion.prefill_seconds.into()),
        ("decode_seconds", completion.decode_seconds.into()),
    ])
}
