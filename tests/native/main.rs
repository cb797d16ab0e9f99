//! Tests that only run natively: files, the command line, hostile input. One program, because each links all of burn.
#![cfg(not(target_family = "wasm"))]

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod cli;
mod convert;
mod fuzz;
mod gguf;
mod golden;
mod images;
mod multimodal_cli;
mod packed;
mod photo_language;
mod shaders;
mod weights;
