//! The one error type. Every variant has a stable [`Error::code`] that the command line prints and TypeScript sees,
//! and a [`Error::remedy`]: what the person who reads it can do next.

use thiserror::Error;

/// What went wrong, in words for a person. The words may change from release to release; [`Error::code`] does not.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are no whole image of a known format.
    #[error("the picture cannot be read: {0}")]
    ImageDecode(String),
    /// An image with more pixels than are read.
    #[error("the picture has {width} x {height} pixels, more than the limit of {limit} megapixels")]
    ImageTooLarge {
        /// Columns of pixels.
        width: u32,
        /// Rows of pixels.
        height: u32,
        /// Megapixels at the most.
        limit: u32,
    },
    /// An image file with more bytes than are read.
    #[error("the picture's file has {bytes} bytes, more than the limit of {limit} MiB")]
    ImageFileTooLarge {
        /// Bytes that it has.
        bytes: usize,
        /// MiB at the most.
        limit: usize,
    },
    /// A `config.json` with a value that cannot be.
    #[error("the config is not valid: {0}")]
    Config(String),
    /// A `manifest.json` that lists what cannot be.
    #[error("the manifest is not valid: {0}")]
    Manifest(String),
    /// A file of weights that breaks its format.
    #[error("shard `{name}` is corrupt: {reason}")]
    Shard {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that is not the one the manifest lists.
    #[error("shard `{name}` does not match its SHA-256 in the manifest (want {want}, got {got})")]
    HashMismatch {
        /// The file.
        name: String,
        /// SHA-256 in the manifest.
        want: String,
        /// SHA-256 of the file.
        got: String,
    },
    /// A tensor that the config asks for and no file has, by its name.
    #[error("tensor `{0}` is missing from the model's files")]
    TensorMissing(String),
    /// A tensor of another shape than the config says.
    #[error("tensor `{name}` has shape {got:?}, expected {want:?}")]
    TensorShape {
        /// The tensor.
        name: String,
        /// The shape by the config.
        want: Vec<usize>,
        /// The shape in the file.
        got: Vec<usize>,
    },
    /// A tensor stored in a type that is not read here.
    #[error("tensor `{name}` is stored as {dtype}, which is not supported here")]
    TensorType {
        /// The tensor.
        name: String,
        /// The type.
        dtype: String,
    },
    /// NaN or infinity where a sound model has none.
    #[error("the {what} hold a value that is not finite (first in row {row})")]
    NotFinite {
        /// What holds it, such as "logits".
        what: &'static str,
        /// The first row that does, from 0.
        row: usize,
    },
    /// NaN or infinity in a tensor that the model is made of.
    #[error("tensor `{name}` holds a value that is not finite (first in row {row})")]
    WeightNotFinite {
        /// The tensor.
        name: String,
        /// The first row that does, from 0.
        row: usize,
    },
    /// Settings that cannot cluster so many patches.
    #[error("the clustering settings do not fit: {0}")]
    Clustering(String),
    /// A GGUF file that breaks its format or asks for what is not supported.
    #[error("the GGUF file is not valid: {0}")]
    Gguf(String),
    /// A tokenizer that breaks its format or does not belong to the model.
    #[error("the tokenizer is not valid: {0}")]
    Tokenizer(String),
    /// A request that has nothing to answer, or too much of it.
    #[error("the prompt is not valid: {0}")]
    Prompt(String),
    /// More positions than the model can tell apart.
    #[error("the request needs {needed} tokens of context and the model has {available}: {} too many", needed - available)]
    ContextOverflow {
        /// Positions that the request needs.
        needed: usize,
        /// Positions that the model has.
        available: usize,
    },
    /// A setting out of its range.
    #[error("{0}")]
    Setting(String),
    /// A mask without pixels, or one of all pixels that shall be removed.
    #[error("there is nothing to edit: {0}")]
    NothingToEdit(&'static str),
    /// A change of a photograph that a mask does not allow, such as something new.
    #[error("this edit is not possible: {0}")]
    EditUnsupported(String),
    /// A part that this model does not have.
    #[error("this model has no {0}")]
    Unsupported(&'static str),
    /// Sound, as far as can be told, but of a kind that this library does not run.
    #[error("{what} is not supported")]
    NotSupported {
        /// What it is, as the beginning of a sentence.
        what: String,
        /// What would help.
        help: &'static str,
    },
    /// A file of another kind than its name says.
    #[error("{name} is {found}")]
    WrongFile {
        /// The file.
        name: String,
        /// The code of the kind that was expected.
        code: &'static str,
        /// What it is.
        found: &'static str,
        /// What would help.
        help: &'static str,
    },
    /// A checkpoint that cannot become a model folder.
    #[error("the model cannot be converted: {0}")]
    Convert(String),
    /// There is no GPU that can be used, and one was asked for.
    #[error("no GPU device: {0}")]
    DeviceUnavailable(String),
    /// The GPU went away while it worked.
    #[error("the GPU device was lost: {0}")]
    DeviceLost(String),
    /// The request was stopped.
    #[error("stopped on request")]
    Aborted,
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
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
            Self::NothingToEdit(_) => "nothing-to-edit",
            Self::EditUnsupported(_) => "edit-unsupported",
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
                "Take the model as Q4_K_M, Q8_0, F16 or another of the types in docs/weights.md; every tensor counts."
            }
            Self::NotFinite { .. } => "Check the weights and the input: a sound model never gives NaN or infinity.",
            Self::WeightNotFinite { .. } => "Download the weights again; if they are the same, the model is broken.",
            Self::Clustering(_) => "Choose 1 <= k <= number of patches, k <= 32, k_max >= 1 and a finite threshold.",
            Self::Gguf(_) => "Download the GGUF file again.",
            Self::Tokenizer(_) => "Check that the vocabulary belongs to this model.",
            Self::Prompt(_) => "Change the request as the message says.",
            Self::ContextOverflow { .. } => "Shorten the request, drop earlier turns, or ask for fewer new tokens.",
            Self::Setting(_) => "Change the setting as the message says.",
            Self::NothingToEdit(_) => "Name a thing that is in the picture and does not fill it.",
            Self::EditUnsupported(_) => {
                "Ask to remove, recolour, blur, pixelate, brighten, darken or cut out a thing that is there, to turn it grey, or to replace it with a colour."
            }
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
