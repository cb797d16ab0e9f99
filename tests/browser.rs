//! The same bodies in a browser: `cargo xtask test browser` runs this file in headless Chromium with WebGPU.
#![cfg(target_family = "wasm")]
#![allow(clippy::duplicate_mod, reason = "each of these files brings its own `mod common` when it runs natively")]

// With a path each, so that their `mod common` is still tests/common.
#[path = "clustering.rs"]
mod clustering;
#[path = "kernels.rs"]
mod kernels;
#[path = "llm.rs"]
mod llm;
#[path = "multimodal.rs"]
mod multimodal;
#[path = "photo.rs"]
mod photo;
#[path = "stages.rs"]
mod stages;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
