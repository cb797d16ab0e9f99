//! Orientation tags wherever they may stand, and pictures that cannot be read, in words for a person.

use setokim::image::Image;

use super::{BLOCKS, LOSSY, assert_blocks, file, image, pixel};

/// An Exif block with nothing but an orientation in it.
fn exif(orientation: u8, heading: &[u8]) -> Vec<u8> {
    let tag = [0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0];
    [heading, b"MM\0*\0\0\0\x08\0\x01", &tag, &[0; 4]].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let named = [&name[..], body].concat();
    [&(body.len() as u32).to_be_bytes()[..], &named, &crc32(&named).to_be_bytes()].concat()
}

/// A PNG with one more chunk, behind `before` bytes.
fn png_with(name: &str, before: usize, chunk: &[u8]) -> Vec<u8> {
    let png = file(name);
    [&png[..before], chunk, &png[before..]].concat()
}

/// A WebP whose Exif block is another one.
fn webp_with(block: &[u8]) -> Vec<u8> {
    let webp = file("orientation-6.webp");
    let at = webp.windows(4).position(|name| name == b"EXIF").expect("the fixture has Exif");
    let length = (block.len() as u32).to_le_bytes();
    let mut changed = [&webp[..at], b"EXIF", &length, block, &[0; 1][..block.len() % 2]].concat();
    let whole = changed.len() as u32 - 8;
    changed[4..8].copy_from_slice(&whole.to_le_bytes());
    changed
}

/// Where a shown pixel is stored, in a picture that is stored `w` wide and `h` high.
fn stored(orientation: u8, [x, y]: [u32; 2], [w, h]: [u32; 2]) -> [u32; 2] {
    match orientation {
        2 => [w - 1 - x, y],
        3 => [w - 1 - x, h - 1 - y],
        4 => [x, h - 1 - y],
        5 => [y, x],
        6 => [y, h - 1 - x],
        7 => [w - 1 - y, h - 1 - x],
        8 => [w - 1 - y, x],
        _ => [x, y],
    }
}

fn assert_turned(what: &str, orientation: u8, shown: &Image, raw: &Image) {
    let size = [raw.width(), raw.height()];
    let [width, height] = if orientation < 5 { size } else { [size[1], size[0]] };
    assert_eq!([shown.width(), shown.height()], [width, height], "{what} {orientation}");
    for at in (0..width).flat_map(|x| (0..height).map(move |y| [x, y])) {
        let [x, y] = stored(orientation, at, size);
        assert_eq!(pixel(shown, at[0], at[1]), pixel(raw, x, y), "{what} {orientation} {at:?}");
    }
}

#[test]
fn every_orientation_of_every_format_is_applied() {
    let webp = Image::decode(&webp_with(&exif(1, b""))).expect("a sound picture");
    let png = image("noise.png");
    let end = file("noise.png").len() - 12;
    for orientation in 0..=9 {
        let meant = if (1..=8).contains(&orientation) { orientation } else { 1 };
        for heading in [&b""[..], b"Exif\0\0"] {
            let block = exif(orientation, heading);
            let decode = |bytes: Vec<u8>| Image::decode(&bytes).expect("a sound picture");
            assert_turned("WebP", meant, &decode(webp_with(&block)), &webp);
            let chunk = chunk(b"eXIf", &block);
            assert_turned("PNG, before the pixels", meant, &decode(png_with("noise.png", 33, &chunk)), &png);
            assert_turned("PNG, behind the pixels", meant, &decode(png_with("noise.png", end, &chunk)), &png);
        }
    }
}

/// zune-image #359 and #442: refinements skipped behind restart markers, inks upside down.
#[test]
fn jpegs_that_decoders_stumble_over_are_right() {
    assert_eq!(image("progressive-restart.jpg"), image("progressive.jpg"), "the same coefficients");
    assert_blocks("ycck.jpg", &image("ycck.jpg"), BLOCKS, 2 * LOSSY); // through two changes of colours
}

#[track_caller]
fn assert_said(bytes: &[u8], words: &str) {
    let error = Image::decode(bytes).expect_err(words);
    assert_eq!(error.code(), "image-decode");
    assert!(error.to_string().contains(words), "`{words}` is not in: {error}");
}

#[test]
fn what_cannot_be_read_is_said_in_words() {
    assert_said(b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf", "an AVIF picture; PNG, JPEG, WebP and GIF can be read");
    assert_said(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "a HEIC picture");
    assert_said(b"BM\x8a\xc0\0\0\0\0", "a BMP picture");
    assert_said(b"\0\0\x01\0\x01\0\x10\x10", "an ICO icon");
    assert_said(b"<!DOCTYPE html>", "a web page");
    assert_said(&png_with("noise.png", 8, &chunk(b"CgBI", &[0x50, 0, 0x20, 6])), "iOS");

    let patched = |find: &[u8], replace: &[u8]| {
        let mut jpeg = file("orientation-1.jpg");
        let at = jpeg.windows(find.len()).position(|bytes| bytes == find).expect("in the fixture");
        jpeg[at..at + replace.len()].copy_from_slice(replace);
        jpeg
    };
    assert_said(&patched(b"\xff\xc0\0\x11", b"\xff\xc9"), "arithmetic coding");
    assert_said(&patched(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "more than 8 bits");
    assert_said(&patched(b"\x01\x11\0", b"\x01\x31\0"), "a third of its size");
}

/// As browsers show it: a gamma of 1 brightens, one of 1 / 2.2 is sRGB's own, and a profile stands above it.
#[test]
fn a_png_is_shown_by_its_gamma() {
    let gamma = |hundred_thousandths: u32| chunk(b"gAMA", &hundred_thousandths.to_be_bytes());
    let decoded = |chunks: &[u8]| Image::decode(&png_with("noise.png", 33, chunks)).unwrap();
    let (plain, linear) = (decoded(&[]), decoded(&gamma(100_000)));
    for (&stored, &shown) in plain.rgb().iter().zip(linear.rgb()) {
        let light = f64::from(stored) / 255.0;
        let srgb = if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
        assert!((f64::from(shown) - 255.0 * srgb).abs() <= 0.51, "{stored} {shown}");
    }
    assert_eq!(decoded(&gamma(45_455)), plain);
    assert_eq!(decoded(&[gamma(100_000), chunk(b"sRGB", &[0])].concat()), plain);
}
