//! What was chosen becomes what is read next, without passing through the CPU.

use burn::backend::TensorMetadata;
use burn::tensor::TensorData;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::launch::{Launch, NEXT_TOKEN};
use super::tensor;
use super::top2::TokenChoice;

/// Tokens that can be chosen before they are read: rows of the ring.
pub const MAX_RUN_AHEAD: usize = 16;

/// The next id and offset, and the ring with what was found at this one.
///
/// # Shapes
/// - `found`: as [`top2_reference`](super::top2_reference) has it; `ring`: `[MAX_RUN_AHEAD, 6]`
pub fn next_token_reference(found: &[u32], offset: u32, ring: &[u32]) -> (u32, u32, Vec<u32>) {
    let mut ring = ring.to_vec();
    ring[offset as usize % MAX_RUN_AHEAD * TokenChoice::WORDS..][..TokenChoice::WORDS].copy_from_slice(found);
    (found[0], offset + 1, ring)
}

/// `found`: `[6]`, `id`, `offset`: `[1]`, `ring`: `[MAX_RUN_AHEAD x 6]`; the last three are written in place.
pub(super) fn launch(found: CubeTensor, id: &CubeTensor, offset: &CubeTensor, ring: &CubeTensor) {
    Launch::new(NEXT_TOKEN, found).in_place(id).in_place(offset).in_place(ring).run((1, 1));
}

/// Writes words where as many are.
pub(super) fn write(tensor: &CubeTensor, words: Vec<u32>) {
    let (bytes, ..) = words_data(words).into_parts();
    tensor.client.write(&tensor.handle, bytes);
}

/// A row of words.
pub(super) fn words_data(words: Vec<u32>) -> TensorData {
    let count = words.len();
    TensorData::new(words, [count])
}

/// [`launch`] on the CPU.
pub(super) fn next(found: &FlexTensor, offset: &FlexTensor, ring: &FlexTensor) -> (FlexTensor, FlexTensor, FlexTensor) {
    let (found, shape) = (found.to_contiguous(), ring.shape());
    let offset = offset.storage::<u32>()[0];
    let (id, offset, ring) = next_token_reference(found.storage(), offset, ring.to_contiguous().storage());
    (tensor(vec![id], [1]), tensor(vec![offset], [1]), tensor(ring, shape))
}
