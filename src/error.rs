//! The one error type. Every variant has a stable [`Error::code`] that the command line prints and TypeScript sees,
//! and a [`Error::remedy`]: what the person who reads it can do next.

use thiserror::Error;

/// What went wrong, in words for a person. The words may change from release to release; [`Error::code`] does not.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the picture cannot be read: {0}")]
    ImageDecode(String),
    #[error("the picture has {width} x {height} pixels, more than the limit of {limit} megapixels")]
    ImageTooLarge { width: u32, height: u32, limit: u32 },
    #[error("the picture's file has {bytes} bytes, more than the limit of {limit} MiB")]
    ImageFileTooLarge { bytes: usize, limit: usize },
    #[error("the config is not valid: {0}")]
    Config(String),
    #[error("the manifest is not valid: {0}")]
    Manifest(String),
    #[error("shard `{name}` is corrupt: {reason}")]
    Shard { name: String, reason: String },
    #[error("shard `{name}` does not match its SHA-256 in the manifest (want {want}, got {got})")]
    HashMismatch { name: String, want: String, got: String },
    #[error("tensor `{0}` is missing from the model's files")]
    TensorMissing(String),
    #[error("tensor `{name}` has shape {got:?}, expected {want:?}")]
    TensorShape { name: String, want: Vec<usize>, got: Vec<usize> },
    #[error("tensor `{name}` is stored as {dtype}, which is not supported here")]
    TensorType { name: String, dtype: String },
    #[error("the {what} hold a value that is not finite (first in row {row})")]
    NotFinite { what: &'static str, row: usize },
    #[error("the clustering settings do not fit: {0}")]
    Clustering(String),
    #[error("the GGUF file is not valid: {0}")]
    Gguf(String),
    #[error("the tokenizer is not valid: {0}")]
    Tokenizer(String),
    #[error("the prompt is not valid: {0}")]
    Prompt(String),
    #[error("the request needs {needed} tokens of context and the model has {available}: {} too many", needed - available)]
    ContextOverflow { needed: usize, available: usize },
    #[error("{0}")]
    Setting(String),
    #[error("there is nothing to edit: {0}")]
    NothingToEdit(&'static str),
    #[error("this edit is not possible: {0}")]
    EditUnsupported(String),
    #[error("this model has no {0}")]
    Unsupported(&'static str),
    #[error("the model cannot be converted: {0}")]
    Convert(String),
    #[error("no GPU device: {0}")]
    DeviceUnavailable(String),
    #[error("the GPU device was lost: {0}")]
    DeviceLost(String),
    #[error("stopped on request")]
    Aborted,
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
}

/// `Result` with our [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The stable name of this kind of error, the same in Rust, on the command line and in TypeScript.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ImageDecode(_) => "image-decode",
            Self::ImageTooLarge { .. } | Self::ImageFileTooLarge { .. } => "image-too-large",
            Self::Config(_) => "config-invalid",
            Self::Manifest(_) => "manifest-invalid",
            Self::Shard { .. } => "shard-corrupt",
            Self::HashMismatch { .. } => "hash-mismatch",
            Self::TensorMissing(_) => "tensor-missing",
            Self::TensorShape { .. } => "tensor-shape",
            Self::TensorType { .. } => "tensor-type",
            Self::NotFinite { .. } => "not-finite",
            Self::Clustering(_) => "clustering-invalid",
            Self::Gguf(_) => "gguf-invalid",
            Self::Tokenizer(_) => "tokenizer-invalid",
            Self::Prompt(_) => "prompt-invalid",
            Self::ContextOverflow { .. } => "context-overflow",
            Self::Setting(_) => "setting-invalid",
            Self::NothingToEdit(_) => "nothing-to-edit",
            Self::EditUnsupported(_) => "edit-unsupported",
            Self::Unsupported(_) => "unsupported",
            Self::Convert(_) => "convert-unsupported",
            Self::DeviceUnavailable(_) => "device-unavailable",
            Self::DeviceLost(_) => "device-lost",
            Self::Aborted => "aborted",
            Self::Io { .. } => "io",
        }
    }

    /// One sentence: what to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::ImageDecode(_) => "Use a whole PNG, JPEG, WebP or GIF file.",
            Self::ImageTooLarge { .. } | Self::ImageFileTooLarge { .. } => "Scale the picture down first.",
            Self::Config(_) => "Compare the model's config.json with the table in docs/config.md.",
            Self::Manifest(_) => "Export the model again, or download its manifest.json again.",
            Self::Shard { .. } | Self::HashMismatch { .. } => "Delete the cached file and download it again.",
            Self::TensorMissing(_) | Self::TensorShape { .. } => {
                "Check that config.json and the weights come from the same model."
            }
            Self::TensorType { .. } => {
                "Convert the weights to F32, F16, BF16 or a packed type of docs/weights.md first."
            }
            Self::NotFinite { .. } => "Check the weights and the input: a sound model never gives NaN or infinity.",
            Self::Clustering(_) => "Choose 1 <= k <= number of patches, k <= 32, k_max >= 1 and a finite threshold.",
            Self::Gguf(_) => "Download the GGUF file again; F32, F16, Q8_0, Q4_0 and Q4_1 tensors are supported.",
            Self::Tokenizer(_) => "Check that the vocabulary belongs to this model.",
            Self::Prompt(_) => "Change the request as the message says.",
            Self::ContextOverflow { .. } => "Shorten the request, drop earlier turns, or ask for fewer new tokens.",
            Self::Setting(_) => "Change the setting as the message says.",
            Self::NothingToEdit(_) => "Name a thing that is in the picture and does not fill it.",
            Self::EditUnsupported(_) => {
                "Ask to remove, recolour, blur, pixelate, brighten, darken or cut out a thing that is there, to turn it grey, or to replace it with a colour."
            }
            Self::Unsupported(_) => "Load a model that has this part.",
            Self::Convert(_) => "See docs/convert.md for what can be converted, and what can be left out.",
            Self::DeviceUnavailable(_) => "Choose the device `cpu` or `auto`.",
            Self::DeviceLost(_) => "Ask again, or load the model again; choose the device `cpu` if it happens often.",
            Self::Aborted => "Ask again to get an answer.",
            Self::Io { .. } => "Check the path and its permissions.",
        }
    }

    /// An [`Error::Io`] that names the file.
    pub fn io(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().display().to_string(), source }
    }
}
