//! OKLab (Björn Ottosson, <https://bottosson.github.io/posts/oklab/>): colours as lightness and two axes of colour in which
//! equal steps look equal.

use std::sync::LazyLock;

/// Steps of linear light for the way back; the darkest of the 256 values is five of them wide.
const STEPS: usize = 1 << 14;

static LINEAR: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|value| {
        let value = value as f32 / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    })
});

static GAMMA: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let gamma = |light: f32| if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
    (0..=STEPS).map(|step| (gamma(step as f32 / STEPS as f32) * 255.0).round() as u8).collect()
});

/// 8-bit sRGB -> linear light, 0 to 1.
pub(super) fn linear(rgb: [u8; 3]) -> [f32; 3] {
    rgb.map(|value| LINEAR[usize::from(value)])
}

/// Linear light -> 8-bit sRGB, cut off outside 0 to 1.
pub(super) fn srgb(light: [f32; 3]) -> [u8; 3] {
    light.map(|value| GAMMA[((value * STEPS as f32 + 0.5).max(0.0) as usize).min(STEPS)])
}

/// sRGB -> lightness 0 to 1, and the axes green to red and blue to yellow.
pub(super) fn oklab(rgb: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = linear(rgb);
    let l = (0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
    let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
    let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
    [
        0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
        1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
        0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
    ]
}

/// The way back; colours that no screen shows are cut off.
pub(super) fn color_from_oklab([lightness, a, b]: [f32; 3]) -> [u8; 3] {
    let l = (lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let m = (lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let s = (lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    srgb([
        4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
        -1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s,
        -0.004_196_086 * l - 0.703_418_6 * m + 1.707_614_7 * s,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_come_back() {
        for at in 0..4096u32 {
            let rgb = [at * 37 % 256, at * 101 % 256, at * 211 % 256].map(|value| value as u8);
            let again = color_from_oklab(oklab(rgb));
            assert!(rgb.iter().zip(again).all(|(a, b)| a.abs_diff(b) <= 1), "{rgb:?} {again:?}");
        }
        // The page's own values of pure red (CSS Color 4).
        let red = oklab([255, 0, 0]);
        assert!(red.iter().zip([0.627_96, 0.224_86, 0.125_85]).all(|(a, b)| (a - b).abs() < 1e-4), "{red:?}");
    }
}
