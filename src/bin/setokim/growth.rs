//! How cost grows: the encoder with the side of the image, decoding with the context.

use std::borrow::Cow;
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Result, bail};
use burn::tensor::{DType, Device, Tensor, TensorData};
use setokim::formats::blocks::WeightKind;
use setokim::formats::gguf::RawTensor;
use setokim::formats::safetensors::write_safetensors_f32;
use setokim::kernels::quant_matmul::Activations;
use setokim::model::config::{SetokimConfig, VisionConfig};
use setokim::model::folder::{read_config, read_weights};
use setokim::model::llm::{KvCache, Llama, LlamaConfig, WeightSource};
use setokim::model::vision::VisionEncoder;
use setokim::nn::linear::Linear;
use setokim::nn::tensor_store::TensorStore;

/// Sizes of SmolLM2-135M: what a small language model in a page is today.
pub const SMOLLM2: &str = r#"{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192, "rms_norm_eps": 1e-05,
    "rope_theta": 100000, "tie_word_embeddings": true}"#;

/// As many layers, so narrow that what a launch costs is nearly all of a token's time on a GPU.
pub const NARROW: &str = r#"{"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 30,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8192, "rms_norm_eps": 1e-05,
    "rope_theta": 100000, "tie_word_embeddings": true}"#;

/// A model's encoder for squares of another side: its weights, but for positions that are all 0.
pub fn encoder(folder: &Path, side: usize, device: &Device) -> Result<(VisionEncoder, Tensor<4>)> {
    const POSITIONS: &str = "vision.pos";
    let VisionConfig::Vit(mut config) = SetokimConfig::from_json(&read_config(folder)?)?.vision else {
        bail!("the encoder of `{}` is not of our own kind, whose sides can be chosen", folder.display());
    };
    config.image_size = side;
    let is_read = Rc::new(Cell::new(false));
    let wants_positions = Rc::clone(&is_read);
    let keep = move |name: &str| name.starts_with("vision.") && (name != POSITIONS || wants_positions.get());
    let mut store = TensorStore::keeping(device, keep);
    read_weights(folder, &mut store, &mut |_| ())?;
    is_read.set(true);
    let patches = (side / config.patch_size).pow(2);
    let positions = write_safetensors_f32(POSITIONS, &[patches, config.width], &vec![0.0; patches * config.width])?;
    store.add_shard("positions", positions)?;
    let encoder = VisionEncoder::load(&mut store, &VisionConfig::Vit(config))?;
    let pixels = (0..3 * side * side).map(|i| (i * 7919 % 255) as f32 / 127.5 - 1.0).collect();
    Ok((encoder, Tensor::from_data(TensorData::new(pixels, [1, 3, side, side]), (device, DType::F32))))
}

/// A language model of these sizes with random weights of 4 bits, and a cache with room for `context` positions.
pub fn language(sizes: &str, context: usize, device: &Device) -> Result<(Llama, KvCache)> {
    let config = LlamaConfig::from_json(sizes)?;
    let model = Llama::load(config, &mut RandomWeights(device.clone()), "", device)?;
    let cache = model.new_cache(context)?;
    Ok((model, cache))
}

/// Reads positions until there are as many.
pub fn fill(model: &Llama, cache: &mut KvCache, context: usize) -> setokim::Result<()> {
    let ids: Vec<u32> = (cache.len()..context).map(|at| (at * 7919 % model.config().vocab_size) as u32).collect();
    if !ids.is_empty() {
        model.forward(model.embed(&ids)?, cache)?;
    }
    Ok(())
}

struct RandomWeights(Device);

impl WeightSource for RandomWeights {
    fn linear(&mut self, _name: &str, rows: usize, columns: usize) -> setokim::Result<Linear> {
        const SCALE: [u8; 2] = [0x00, 0x18]; // .002 as f16
        let block = |at: usize| SCALE.into_iter().chain((0..16).map(move |i| (at * 31 + i * 73) as u8));
        let bytes: Vec<u8> = (0..rows * columns / 32).flat_map(block).collect();
        let raw = RawTensor { kind: WeightKind::Q4_0, shape: vec![rows, columns], bytes: Cow::Owned(bytes) };
        Ok(Linear::from_raw(&raw, rows, columns, Activations::default(), &self.0))
    }

    fn vector(&mut self, _name: &str, width: usize) -> setokim::Result<Tensor<1>> {
        Ok(Tensor::ones([width], &self.0))
    }
}
