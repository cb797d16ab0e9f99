//! Files of weights, as bytes: nothing here knows of a device.

pub mod blocks;
pub mod file_quants;
pub mod gguf;
mod gguf_metadata;
pub mod manifest;
pub mod quantize;
pub mod safetensors;
pub(crate) mod sniff;
