//! SeTok and Setokim: a multimodal language model that sees, talks, segments, generates and edits, on the reader's own
//! GPU, natively and in a web page.
//!
//! What this page lists is what the library promises. The modules behind it are public for its own tests and its command
//! line, and may change from release to release.
//!
//! Letters used in every shape comment:
//! `B` batch, `N` patches of an image, `C` width of a patch feature, `L` semantic tokens of an image (decided by the
//! image), `D` width of a semantic token, `T` positions of a text sequence, `H` width of the language model,
//! `S` side of the square input image in pixels.

#![warn(missing_docs)]

// Lower floors first; `cargo xtask test layers` holds that none imports a floor above it. They are hidden where
// documentation is built and nowhere else: the compiler does not ask for documentation of what is hidden, and so it does.
#[cfg_attr(doc, doc(hidden))]
pub mod error;
#[cfg_attr(doc, doc(hidden))]
pub mod limits;

#[cfg_attr(doc, doc(hidden))]
pub mod formats;
#[cfg_attr(doc, doc(hidden))]
pub mod kernels;
#[cfg_attr(doc, doc(hidden))]
pub mod runtime;

#[cfg_attr(doc, doc(hidden))]
pub mod image;
#[cfg_attr(doc, doc(hidden))]
pub mod nn;
#[cfg_attr(doc, doc(hidden))]
pub mod text;

#[cfg_attr(doc, doc(hidden))]
pub mod model;
#[cfg_attr(doc, doc(hidden))]
pub mod tasks;

#[cfg(all(feature = "convert", not(target_family = "wasm")))]
#[cfg_attr(doc, doc(hidden))]
pub mod convert;

#[cfg(target_family = "wasm")]
mod web;

pub use crate::error::{Error, Result};
pub use crate::image::Image;
pub use crate::image::edit::{Change, EditedImage};
pub use crate::image::masks::{LabelMap, Mask, Rle};
pub use crate::image::preprocess::Crop;
pub use crate::image::soft_mask::SoftMask;
pub use crate::model::abort::AbortHandle;
pub use crate::model::answer::AnswerOptions;
pub use crate::model::answering::Answering;
pub use crate::model::complete::{CompleteOptions, Completion, complete};
pub use crate::model::decode::Finish;
pub use crate::model::diffusion::DiffusionOptions;
pub use crate::model::encoded_image::{EncodedImage, ImageCache};
pub use crate::model::events::{Answer, AnswerPart, Event, Seconds, Usage};
pub use crate::model::language::{Message, Part};
pub use crate::model::mask_head::{CoveredToken, Segmentation};
pub use crate::model::rendering::{GeneratedImage, GeneratedToken};
pub use crate::model::sampler::Sampling;
pub use crate::model::setok::{Clusters, TokenName, TokenNames};
pub use crate::model::setokim::{Setokim, Size, Timings, Token, TokenReport, VisualTokens};
pub use crate::runtime::device::{DeviceChoice, DeviceKind, DeviceReport, OpenDevice, open as open_device, probe};
pub use crate::tasks::photo_edit::{PhotoEdit, Target};
pub use crate::tasks::{Generated, Segment};
pub use crate::text::{Role, Tokenizer};

/// The README's Rust is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
