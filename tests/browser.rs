//! The same bodies in a browser: `cargo xtask test browser` runs this file in headless Chromium with WebGPU.
#![cfg(target_family = "wasm")]

mod clustering;
mod kernels;
mod stages;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
