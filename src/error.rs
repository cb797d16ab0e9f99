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
    #[error("tensor `{name}` holds a value that is not finite (first in row {row})")]
    WeightNotFinite { name: String, row: usize },
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
    #[error("this model has no {0}")]
    Unsupported(&'static str),
    /// Sound, as far as can be told, but of a kind that this library does not run.
    #[error("{what} is not supported")]
    NotSupported { what: String, help: &'static str },
    /// A file of another kind than its name says. `code` is that of the kind that was expected.
    #[error("{name} is {found}")]
    WrongFile { name: String, code: &'static str, found: &'static str, help: &'static str },
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
            Self::NotFinite { .. } | Self::WeightNotFinite { .. } => "not-finite",
            Self::Clustering(_) => "clustering-invalid",
            Self::Gguf(_) => "gguf-invalid",
            Self::Tokenizer(_) => "tokenizer-invalid",
            Self::Prompt(_) => "prompt-invalid",
            Self::ContextOverflow { .. } => "context-overflow",
            Self::Setting(_) => "setting-invalid",
            Self::Unsupported(_) | Self::NotSupported { .. } => "unsupported",
            Self::WrongFile { code, .. } => code,
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
                "Take the model in F32, F16, BF16, Q8_0, Q4_0 or Q4_1; every tensor of the file must be of one of these."
            }
            Self::NotFinite { .. } => "Check the weights and the input: a sound model never gives NaN or infinity.",
            Self::WeightNotFinite { .. } => "Download the weights again; if they are the same, the model is broken.",
            Self::Clustering(_) => "Choose 1 <= k <= number of patches, k <= 32, k_max >= 1 and a finite threshold.",
            Self::Gguf(_) => "Download the GGUF file again.",
            Self::Tokenizer(_) => "Check that the vocabulary belongs to this model.",
            Self::Prompt(_) => "Change the request as the message says.",
            Self::ContextOverflow { .. } => "Shorten the request, drop earlier turns, or ask for fewer new tokens.",
            Self::Setting(_) => "Change the setting as the message says.",
            Self::Unsupported(_) => "Load a model that has this part.",
            Self::NotSupported { help, .. } | Self::WrongFile { help, .. } => help,
            Self::Convert(_) => "See docs/convert.md for what can be converted, and what can be left out.",
            Self::DeviceUnavailable(_) => "Choose the device `cpu` or `auto`.",
            Self::DeviceLost(_) => "Ask again, or load the model again; choose the device `cpu` if it happens often.",
            Self::Aborted => "Ask again to get an answer.",
            Self::Io { .. } => "Check the path and its permissions.",
        }
    }

    /// An [`Error::NotSupported`].
    pub(crate) fn not_supported(what: impl Into<String>, help: &'static str) -> Self {
        Self::NotSupported { what: what.into(), help }
    }

    /// An [`Error::Io`] that names the file.
    pub fn io(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().display().to_string(), source }
    }
}
