//! SeTok and Setokim: a multimodal language model that sees, talks, segments, generates and edits, on the reader's own
//! GPU, natively and in a web page.
//!
//! The files below are in the order in which data passes through them. Letters used in every shape comment:
//! `B` batch, `N` patches of a picture, `C` width of a patch feature, `L` semantic tokens of a picture (decided by the
//! picture), `D` width of a semantic token, `T` positions of a text sequence, `H` width of the language model,
//! `S` side of the square input picture in pixels.

pub mod config;
pub mod device;
pub mod error;
pub mod layers;
pub mod matrix;
pub mod precision;
pub mod weights;

// image in
pub mod preprocess;

// see
pub mod vision;

// group patches into semantic tokens, and back into pixels
pub mod detok;
pub mod setok;

// talk
pub mod complete;
pub mod gguf;
pub mod llm;
pub mod sample;
pub mod text;

// talk about pictures: see one, splice it into the text, decode the answer
pub mod event;
pub mod generate;
pub mod language;
pub mod projector;
pub mod seen;

// out of the language model: tokens, masks
pub mod diffusion;
pub mod drawing;
pub mod mask_head;

// image out
pub mod palette;
pub mod postprocess;

// the whole, and what it is for
pub mod setokim;
pub mod tasks;

// from other programs' checkpoints
#[cfg(not(target_family = "wasm"))]
pub mod convert;

// GPU kernels and their plain references
pub mod kernels;
pub mod selftest;

#[cfg(target_family = "wasm")]
mod web;

pub use error::{Error, Result};
