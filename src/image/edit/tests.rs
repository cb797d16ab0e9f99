use super::*;
use crate::image::masks::Mask;

const EVERY: [Change; 9] = [
    Change::Remove,
    Change::Recolor([30, 60, 220]),
    Change::Fill([255; 3]),
    Change::Blur,
    Change::Pixelate,
    Change::Grey,
    Change::Brighten,
    Change::Darken,
    Change::CutOut,
];

fn noise(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 7 & 0xFF) as u8
}

/// An image of `color`, and a mask of a disc in its middle.
fn disc(width: u32, height: u32, color: impl Fn(u32, u32, bool) -> [u8; 3]) -> (Image, Mask) {
    let (middle_x, middle_y, radius) =
        (f64::from(width) / 2.0, f64::from(height) / 2.0, f64::from(width.min(height)) / 5.0);
    let is_inside = |x: u32, y: u32| (f64::from(x) + 0.5 - middle_x).hypot(f64::from(y) + 0.5 - middle_y) < radius;
    let places = || (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let rgb = places().flat_map(|(x, y)| color(x, y, is_inside(x, y))).collect();
    let bits = places().map(|(x, y)| is_inside(x, y)).collect();
    (Image::from_rgb(rgb, width, height).unwrap(), Mask::new(bits, width, height).unwrap())
}

fn noisy(width: u32, height: u32) -> (Image, Mask) {
    disc(width, height, |x, y, _| [0, 1, 2].map(|c| noise(((y * width + x) * 3 + c) as usize)))
}

/// Whether a pixel of the mask is at most `reach` away, across or down.
fn is_near(mask: &Mask, at: usize, reach: u32) -> bool {
    let (width, reach) = (mask.width() as usize, reach as usize);
    let (x, y) = (at % width, at / width);
    let columns = x.saturating_sub(reach)..(x + reach + 1).min(width);
    let rows = y.saturating_sub(reach)..(y + reach + 1).min(mask.height() as usize);
    rows.into_iter().any(|y| columns.clone().any(|x| mask.bits()[y * width + x]))
}

#[test]
fn pixels_outside_the_mask_and_its_rim_are_the_sources() {
    let (image, mask) = noisy(1300, 90);
    let soft = SoftMask::from_mask(&mask);
    let rim = SoftMask::rim(1300, 90);
    assert_eq!(rim, 2);
    for change in EVERY {
        let edited = edit(&image, &soft, change, false).unwrap();
        let reach = if change == Change::Remove { 3 * rim } else { rim };
        let pixels = image.rgb().as_chunks::<3>().0.iter().zip(edited.image.rgb().as_chunks::<3>().0);
        let mut changed = 0;
        for (at, (before, after)) in pixels.enumerate() {
            assert!(before == after || is_near(&mask, at, reach), "{change:?} at {at}");
            changed += usize::from(before != after);
        }
        assert_eq!(changed == 0, change == Change::CutOut, "{change:?} changes something");
    }
    let cut = edit(&image, &soft, Change::CutOut, false).unwrap();
    let rgba = rgba_from_image(&cut.image, cut.alpha.as_ref());
    for (at, (pixel, before)) in rgba.as_chunks::<4>().0.iter().zip(image.rgb().as_chunks::<3>().0).enumerate() {
        assert!(pixel[3] == 0 || pixel[..3] == *before);
        assert!(pixel[3] > 0 || *pixel == [0; 4], "what was around it is not in the file");
        assert!(pixel[3] == 0 || is_near(&mask, at, rim));
    }
    let png = image::load_from_memory(&cut.to_png().unwrap()).unwrap();
    assert_eq!(png.into_rgba8().into_raw(), rgba);
}

#[test]
fn a_rim_fades_over_both_sides_of_the_border() {
    let mask = Mask::new((0..1800 * 3).map(|at| at % 1800 >= 900).collect(), 1800, 3).unwrap();
    let soft = SoftMask::from_mask(&mask);
    assert_eq!(soft.alpha()[896..904], [0, 36, 72, 109, 145, 182, 218, 255]);
    assert_eq!(soft.inverted().alpha()[896..904], [255, 219, 183, 146, 110, 73, 37, 0]);
    assert_eq!(soft.to_mask(), mask);
    assert_eq!(soft.bounds(), Some(crate::image::soft_mask::Bounds { x: 897, y: 0, width: 903, height: 3 }));
}

#[test]
fn masks_that_allow_nothing_are_refused() {
    let (image, _) = noisy(8, 8);
    let empty = SoftMask::new(vec![0; 64], 8, 8).unwrap();
    for change in EVERY {
        assert_eq!(edit(&image, &empty, change, false).unwrap_err().code(), "nothing-to-edit", "{change:?}");
        assert_eq!(edit(&image, &SoftMask::whole(8, 7), change, false).unwrap_err().code(), "setting-invalid");
        let all = edit(&image, &SoftMask::whole(8, 8), change, false);
        assert_eq!(all.is_err(), change == Change::Remove, "{change:?}");
    }
    let error = edit(&image, &SoftMask::whole(8, 8), Change::Remove, false).unwrap_err();
    assert_eq!(error.code(), "nothing-to-edit");
}

#[test]
fn extremes() {
    for (width, height) in [(1, 1), (1, 700), (700, 1), (2, 3), (5, 5), (40, 3)] {
        let image = Image::from_rgb([70, 80, 90].repeat((width * height) as usize), width, height).unwrap();
        let first = SoftMask::new((0..width * height).map(|at| if at == 0 { 255 } else { 0 }).collect(), width, height);
        for change in EVERY {
            for mask in [first.as_ref().unwrap(), &SoftMask::whole(width, height)] {
                match edit(&image, mask, change, true) {
                    Ok(edited) => assert_eq!((edited.image.width(), edited.image.height()), (width, height)),
                    Err(error) => assert_eq!((error.code(), change), ("nothing-to-edit", Change::Remove)),
                }
            }
        }
    }
}

#[test]
fn one_colour_stays_one_colour() {
    let (image, mask) = disc(200, 150, |_, _, _| [90, 140, 60]);
    let soft = SoftMask::from_mask(&mask);
    for change in [Change::Remove, Change::Blur, Change::Pixelate] {
        let edited = edit(&image, &soft, change, false).unwrap();
        assert!(edited.image.rgb().iter().zip(image.rgb()).all(|(a, b)| a.abs_diff(*b) <= 1), "{change:?}");
    }
}

#[test]
fn what_is_removed_leaves_stripes_and_sky_behind() {
    // A white disc on stripes below a sky that fades: both go on where it was, also where a pixel of the reduced size is 3 wide.
    for scale in [1, 3] {
        let (width, height) = (240 * scale, 160 * scale);
        let plain = |x: u32, y: u32| {
            if y < height / 2 {
                [60, 90, 250 - (y / scale) as u8]
            } else {
                [if (x / (4 * scale)).is_multiple_of(2) { 40 } else { 160 }, 80, 30]
            }
        };
        let (image, mask) = disc(width, height, |x, y, is_inside| if is_inside { [255; 3] } else { plain(x, y) });
        let edited = edit(&image, &SoftMask::from_mask(&mask), Change::Remove, false).unwrap();
        let (mut error, mut pixels) = (0.0, 0.0);
        for (at, pixel) in (0..).zip(edited.image.rgb().as_chunks::<3>().0).filter(|&(at, _)| mask.bits()[at as usize])
        {
            let want = plain(at % width, at / width);
            error += pixel.iter().zip(want).map(|(a, b)| f64::from(a.abs_diff(b))).sum::<f64>() / 3.0;
            pixels += 1.0;
        }
        assert!(error / pixels < 8.0, "off by {} steps of 255 at scale {scale}", error / pixels);
        if scale == 1 {
            let again = edit(&image, &SoftMask::from_mask(&mask), Change::Remove, false).unwrap();
            assert_eq!(edited, again, "the same each time");
        }
    }
}

#[test]
fn another_colour_keeps_the_shades() {
    let shade = |x: u32| 90 + (x % 100) as u8;
    let (image, mask) = disc(300, 200, |x, _, _| [shade(x), shade(x) - 10, shade(x) - 20]);
    let edited = edit(&image, &SoftMask::from_mask(&mask), Change::Recolor([215, 30, 35]), false).unwrap();
    let middle = &edited.image.rgb()[(100 * 300 + 110) * 3..(100 * 300 + 190) * 3];
    let mut before = 0.0;
    for &[r, g, b] in middle.as_chunks::<3>().0 {
        assert!(u32::from(r) * 2 > u32::from(g.max(b)) * 3, "{r} {g} {b} is red");
        let [lightness, ..] = oklab::oklab([r, g, b]);
        assert!(before < lightness + 0.003, "lighter where it was lighter, but for rounding");
        before = lightness;
    }
    let grey = edit(&image, &SoftMask::whole(300, 200), Change::Grey, false).unwrap();
    assert!(grey.image.rgb().as_chunks::<3>().0.iter().all(|&[r, g, b]| r == g && g == b));
}

#[test]
fn a_thing_does_not_run_into_the_blur_behind_it() {
    let (image, mask) = disc(400, 300, |_, _, is_inside| if is_inside { [250, 20, 20] } else { [20, 60, 120] });
    let behind = SoftMask::from_mask(&mask).inverted();
    let edited = edit(&image, &behind, Change::Blur, true).unwrap();
    for (pixel, &bit) in edited.image.rgb().as_chunks::<3>().0.iter().zip(mask.bits()) {
        assert!(bit || pixel[0] < 150, "{pixel:?}"); // only the rim is mixed
    }
}
