//! Values back from the device: the only place where the program waits for it.

use burn::tensor::{Element, ExecutionError, Int, Tensor, TensorData, Transaction};

use crate::{Error, Result};

/// The values of a float tensor, row-major.
///
/// # Errors
/// [`Error::DeviceLost`].
pub async fn read_floats<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    Ok(values(tensor.into_data_async().await.map_err(lost)?))
}

/// The values of a tensor of words, row-major.
///
/// # Errors
/// [`Error::DeviceLost`].
pub async fn read_words(tensor: Tensor<1, Int>) -> Result<Vec<u32>> {
    Ok(values(tensor.into_data_async().await.map_err(lost)?))
}

/// Several tensors in one wait, in the order in which they were registered.
///
/// # Errors
/// [`Error::DeviceLost`].
///
/// # Panics
/// Where not `N` were registered.
pub async fn read_together<const N: usize>(tensors: Transaction) -> Result<[TensorData; N]> {
    let read = tensors.execute_async().await.map_err(lost)?;
    Ok(read.try_into().expect("as many tensors come back as were registered"))
}

/// The values of what was read.
///
/// # Panics
/// Where they are of another type: who reads knows what was written, so that is a mistake here and not the device's.
pub fn values<E: Element>(data: TensorData) -> Vec<E> {
    data.try_into_vec().expect("a tensor is read back as the type it was made with")
}

fn lost(error: ExecutionError) -> Error {
    Error::DeviceLost(error.to_string())
}
