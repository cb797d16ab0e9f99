//! Tests that run natively and, by `cargo xtask test browser`, in headless Chromium with WebGPU: kernels, models and answers.

#[path = "../common/mod.rs"]
mod common;

mod adapters;
mod clustering;
mod kernels;
mod llm;
mod multimodal;
mod photo;
mod stages;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
