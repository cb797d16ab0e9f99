//! The model in `fixtures/tiny-setokim`, which has every part and random weights.

use setokim::model::config::SetokimConfig;
use setokim::model::setokim::Setokim;
use setokim::nn::tensor_store::TensorStore;
use setokim::runtime::device::OpenDevice;
use setokim::text::Tokenizer;

pub const CONFIG: &str = include_str!("../fixtures/tiny-setokim/config.json");
pub const MANIFEST: &str = include_str!("../fixtures/tiny-setokim/manifest.json");
pub const SHARD: &[u8] = include_bytes!("../fixtures/tiny-setokim/setok-00001-of-00001.safetensors");
pub const SHARD_NAME: &str = "setok-00001-of-00001.safetensors";
pub const TOKENIZER: &[u8] = include_bytes!("../fixtures/tiny-setokim/tokenizer.json");

pub fn config() -> SetokimConfig {
    SetokimConfig::from_json(CONFIG).expect("a valid config")
}

pub fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(TOKENIZER).expect("a valid tokenizer")
}

pub fn store(open: &OpenDevice) -> TensorStore {
    let mut store = TensorStore::new(&open.device);
    store.add_shard(SHARD_NAME, SHARD.to_vec()).expect("the shard");
    store
}

pub fn model(open: OpenDevice) -> Setokim {
    Setokim::load_with_text(config(), store(&open), tokenizer(), open).expect("the model")
}
