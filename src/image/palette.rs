//! Colours of tokens, the same ones as in the page (`pkg/src/palette.ts`): steps of the golden angle through OKLCH hues.

/// 360 degrees over the golden ratio squared: no two of the first hundreds of hues fall together.
const GOLDEN_ANGLE: f64 = 137.507_764;
/// Three steps of lightness, so that colours also differ for those who see hues alike.
const LIGHTNESS: [f64; 3] = [0.72, 0.6, 0.82];
const CHROMA: f64 = 0.17;
const FIRST_HUE: f64 = 262.0;

/// The 8-bit sRGB colour of token `id`, the same in every image.
pub fn palette(id: u32) -> [u8; 3] {
    let lightness = LIGHTNESS[id as usize % LIGHTNESS.len()];
    let hue = (FIRST_HUE + f64::from(id) * GOLDEN_ANGLE) % 360.0;
    // The most saturated colour of this hue and lightness that a screen can show; grey always can.
    let chromas = (0..).map(|step| CHROMA - 0.005 * f64::from(step)).take_while(|chroma| *chroma > 0.0);
    let mut colors = chromas.filter_map(|chroma| color_from_oklch(lightness, chroma, hue));
    colors.next().unwrap_or([(lightness * 255.0).round() as u8; 3])
}

/// OKLCH (Björn Ottosson, <https://bottosson.github.io/posts/oklab/>) -> sRGB; none outside the gamut.
fn color_from_oklch(lightness: f64, chroma: f64, hue: f64) -> Option<[u8; 3]> {
    let (sin, cos) = hue.to_radians().sin_cos();
    let (a, b) = (chroma * cos, chroma * sin);
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548 * b).powi(3);
    let linear = [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701 * s,
    ];
    let is_shown = linear.iter().all(|value| (0.0..=1.0).contains(value));
    is_shown.then(|| linear.map(|value| (255.0 * gamma(value)).round() as u8))
}

/// Linear light to sRGB, 0 to 1.
fn gamma(value: f64) -> f64 {
    if value <= 0.003_130_8 { 12.92 * value } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 }
}

#[cfg(test)]
mod tests {
    use super::palette;

    /// As `tests/web/unit/overlay.test.ts` has them.
    #[test]
    fn the_first_colours_are_those_of_the_page() {
        assert_eq!([0, 1, 2, 3].map(palette), [[113, 163, 255], [208, 83, 34], [20, 227, 194], [203, 128, 237]]);
    }
}
