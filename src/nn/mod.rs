//! What models are built of: layers with plain or packed weights, and the store that they take their tensors from.

pub mod attention;
pub mod block;
pub mod conv;
pub mod linear;
pub mod norm_linear;
pub mod norms;
pub mod quantized_matrix;
pub mod tensor_store;
