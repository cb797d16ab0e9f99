//! SeTok and Setokim: a multimodal language model that sees, talks, segments, generates and edits, on the reader's own
//! GPU, natively and in a web page.
//!
//! Letters used in every shape comment:
//! `B` batch, `N` patches of an image, `C` width of a patch feature, `L` semantic tokens of an image (decided by the
//! image), `D` width of a semantic token, `T` positions of a text sequence, `H` width of the language model,
//! `S` side of the square input image in pixels.

// Lower floors first; `cargo xtask test layers` holds that none imports a floor above it.
pub mod error;
pub mod limits;

pub mod formats;
pub mod kernels;
pub mod runtime;

pub mod image;
pub mod nn;
pub mod text;

pub mod model;
pub mod tasks;

#[cfg(not(target_family = "wasm"))]
pub mod convert;

#[cfg(target_family = "wasm")]
mod web;

pub use error::{Error, Result};
