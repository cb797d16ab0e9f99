//! What is the most that is read, allocated or computed: files and settings come from outside, and each of these is checked
//! before it costs memory or time. Read by config checks and kernels alike.

/// Most files in a manifest.
pub const MAX_FILES: usize = 4096;

/// Most bytes in one file of a manifest: what an `ArrayBuffer` takes in every browser.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// Most tensors in one file.
pub const MAX_TENSORS: usize = 1 << 16;

/// Most bytes of a `config.json` or `manifest.json`.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// Most bytes in the header of a safetensors file; a header takes about 100 bytes per tensor.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;

/// The largest image that is read, in millions of pixels.
pub const MAX_MEGAPIXELS: u32 = 64;

/// The largest file of an image that is read, in bytes.
pub const MAX_IMAGE_BYTES: usize = 128 << 20;

/// The longest side that [`preprocess`](crate::image::preprocess::preprocess) makes.
pub const MAX_SQUARE_SIZE: usize = 4096;

/// Most memory that a decoder may take: [`MAX_MEGAPIXELS`] at 16 bits of red, green, blue and alpha.
pub const MAX_DECODER_BYTES: u64 = 512 << 20;

/// Most patches of an image.
pub const MAX_PATCHES: usize = 16_384;

/// Most refusals that a model names: each is looked at for every word of the vocabulary.
pub const MAX_REFUSALS: usize = 64;

/// Farthest that compositing looks for what an edit left behind, in pixels: it looks at a square of twice that.
pub const MAX_REMNANT_REACH: usize = 32;

/// The kernel sorts the centres in workgroup memory, this many at most.
pub const MAX_CENTERS: usize = 1024;

/// The kernel keeps its neighbours in registers, this many at most.
pub const MAX_NEIGHBORS: usize = 32;

/// The widest head that `causal_attention.wgsl` has workgroup memory for. It reads four numbers at a time.
pub const MAX_HEAD_DIM: usize = 256;

/// Most tensors, and most metadata keys.
pub const MAX_GGUF_ENTRIES: u64 = 1 << 16;

/// Most values in all metadata arrays together. A value takes 32 bytes here and may take one in the file, so the file's
/// length alone is no bound on memory.
pub const MAX_GGUF_VALUES: u64 = 1 << 22;

/// Most bytes of a `tokenizer.json`.
pub const MAX_TOKENIZER_BYTES: usize = 64 << 20;

/// Every id lies below this. A table of all ids is made, so one absurd id would cost gigabytes.
pub const MAX_VOCABULARY: usize = 1 << 20;

/// Most text in one request, in bytes. The context is smaller; this is what is looked at to find that out.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Most images in one request.
pub const MAX_IMAGES: usize = 64;
