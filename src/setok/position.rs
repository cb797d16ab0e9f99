//! Two-dimensional sine positions.

use burn::tensor::{Device, Tensor, TensorData};

/// Row `y * side + x` is `[sin(y w), cos(y w), sin(x w), cos(x w)]` with `w_i = 10000^(-i / q)`, `q = width / 4`.
///
/// # Shapes
/// - output: `[side * side, width]`, `width` a multiple of 4
pub fn sine_positions(side: usize, width: usize, device: &Device) -> Tensor<2> {
    let quarter = width / 4;
    let frequency = |i: usize| 10_000f64.powf(-(i as f64) / quarter as f64);
    let mut values = Vec::with_capacity(side * side * width);
    for y in 0..side {
        for x in 0..side {
            for position in [y as f64, x as f64] {
                values.extend((0..quarter).map(|i| (position * frequency(i)).sin() as f32));
                values.extend((0..quarter).map(|i| (position * frequency(i)).cos() as f32));
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [side * side, width]), device)
}
