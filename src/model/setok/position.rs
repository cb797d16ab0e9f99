//! Two-dimensional sine positions.

use burn::tensor::{Device, Tensor, TensorData};

/// Row `y * side + x` is `[sin(y w), cos(y w), sin(x w), cos(x w)]` with `w_i = 10000^(-i / q)`, `q = width / 4`.
///
/// # Shapes
/// - output: `[side * side, width]`, `width` a multiple of 4
pub fn sine_positions(side: usize, width: usize, device: &Device) -> Tensor<2> {
    let half = |position: f64| {
        let angles = || (0..width / 4).map(move |i| position * frequency(i, width));
        angles().map(f64::sin).chain(angles().map(f64::cos)).collect()
    };
    positions(side, width, half, device)
}

/// The same numbers in the reference code's order: `[sin(y w_0), cos(y w_0), sin(y w_1), ..]`, then those of `x`.
///
/// # Shapes
/// - output: `[side * side, width]`, `width` a multiple of 4
pub fn interleaved_positions(side: usize, width: usize, device: &Device) -> Tensor<2> {
    let half = |position: f64| {
        let angles = (0..width / 4).map(|i| position * frequency(i, width));
        angles.flat_map(|angle| [angle.sin(), angle.cos()]).collect()
    };
    positions(side, width, half, device)
}

fn frequency(i: usize, width: usize) -> f64 {
    10_000f64.powf(-(i as f64) / (width / 4) as f64)
}

/// Row `y * side + x` is what `half` makes of `y`, then what it makes of `x`.
fn positions(side: usize, width: usize, half: impl Fn(f64) -> Vec<f64>, device: &Device) -> Tensor<2> {
    let halves: Vec<Vec<f64>> = (0..side).map(|position| half(position as f64)).collect();
    let mut values = Vec::with_capacity(side * side * width);
    for y in &halves {
        for x in &halves {
            values.extend(y.iter().chain(x).map(|&value| value as f32));
        }
    }
    Tensor::from_data(TensorData::new(values, [side * side, width]), device)
}
