//! TODO

pub mod quant_matmul;
