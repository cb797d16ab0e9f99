//! The model: its parts in the order in which data passes through them, and [`Setokim`](setokim::Setokim), the whole.

pub mod config;
#[cfg(not(target_family = "wasm"))]
pub mod folder;
pub(crate) mod foreign;
pub mod setokim;
pub mod shard_loader;
pub(crate) mod siglip_folder;

pub mod detok;
pub mod encoded_image;
pub mod phrase;
pub mod projector;
pub mod setok;
pub mod vision;

pub mod abort;
pub mod answer;
pub mod answering;
pub mod complete;
pub mod decode;
pub mod events;
pub mod feature_maps;
pub mod language;
mod likeliest;
pub mod llm;
pub mod sampler;

pub mod diffusion;
mod find;
pub mod mask_head;
mod mask_places;
pub mod rendering;
mod token_names;
