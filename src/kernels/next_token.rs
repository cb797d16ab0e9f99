//! What was chosen becomes what is read next, without passing through the CPU.

use burn::backend::TensorMetadata;
use burn::tensor::TensorData;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::best_two::FOUND;
use super::launch::{Launch, NEXT_TOKEN};
use super::tensor;

/// Tokens that can be chosen before they are read: rows of the ring.
pub const ROUND: usize = 16;

/// The next id and place, and the ring with what was found at this one.
///
/// # Shapes
/// - `found`: as [`best_two_reference`](super::best_two_reference) has it; `ring`: `[ROUND, 5]`
pub fn next_token_reference(chosen: u32, found: &[u32], place: u32, ring: &[u32]) -> (u32, u32, Vec<u32>) {
    let mut ring = ring.to_vec();
    ring[place as usize % ROUND * FOUND..][..FOUND].copy_from_slice(found);
    (chosen, place + 1, ring)
}

/// `chosen`, `id`, `place`: `[1]`, `found`: `[5]`, `ring`: `[ROUND x 5]`; the last three are written in place.
pub(super) fn launch(chosen: CubeTensor, found: CubeTensor, id: &CubeTensor, place: &CubeTensor, ring: &CubeTensor) {
    Launch::new(NEXT_TOKEN, chosen).input(found).in_place(id).in_place(place).in_place(ring).run((1, 1));
}

/// Writes a number where one is.
pub(super) fn write(tensor: &CubeTensor, word: u32) {
    let (bytes, ..) = TensorData::new(vec![word], [1]).into_parts();
    tensor.client.write(&tensor.handle, bytes);
}

/// [`launch`] on the CPU.
pub(super) fn next(
    chosen: &FlexTensor,
    found: &FlexTensor,
    place: &FlexTensor,
    ring: &FlexTensor,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let first = |tensor: &FlexTensor| tensor.storage::<u32>()[0];
    let (found, shape) = (found.to_contiguous(), ring.shape());
    let (id, place, ring) =
        next_token_reference(first(chosen), found.storage(), first(place), ring.to_contiguous().storage());
    (tensor(vec![id], [1]), tensor(vec![place], [1]), tensor(ring, shape))
}
