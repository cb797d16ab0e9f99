//! Files of weights, as bytes: nothing here knows of a device.

pub mod blocks;
pub mod gguf;
pub mod manifest;
pub mod quantize;
pub mod safetensors;
