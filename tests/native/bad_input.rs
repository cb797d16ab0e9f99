//! Input that is broken, by accident or on purpose: always a typed error, never a panic, and never a wrong answer
//! where the damage can be encoded.

use std::path::Path;

use burn::tensor::Device;
use proptest::prelude::*;
use setokim::formats::manifest::Manifest;
use setokim::formats::safetensors::{read_safetensors_f32, write_safetensors_f32};
use setokim::image::Image;
use setokim::image::image_from_pixels;
use setokim::image::masks::LabelMap;
use setokim::image::overlay::{OverlayStyle, overlay};
use setokim::image::preprocess::{Crop, Normalisation, ResizeFilter, ResizeMode, preprocess};
use setokim::nn::tensor_store::TensorStore;

/// One of each format and kind of compression.
const PICTURES: [&str; 9] = [
    "orientation-6.jpg",
    "progressive.jpg",
    "cmyk.jpg",
    "noise.png",
    "palette.png",
    "two-frames.gif",
    "lossy.webp",
    "lossless.webp",
    "orientation-6.webp",
];

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn image_code(bytes: &[u8]) -> &'static str {
    match Image::decode(bytes) {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

#[test]
fn every_truncated_picture_is_an_error() {
    for name in PICTURES {
        let whole = file(name);
        assert_eq!(image_code(&whole), "ok", "{name}");
        // What may miss and leave the pixels whole: PNG's end chunk, GIF's later frames.
        let needed = match name {
            _ if name.ends_with(".png") => whole.len() - 16,
            _ if name.ends_with(".gif") => 60,
            _ => whole.len(),
        };
        for length in 0..needed {
            assert_eq!(image_code(&whole[..length]), "image-decode", "{length} bytes of {name}");
        }
        for length in needed..whole.len() {
            let code = image_code(&whole[..length]);
            assert!(["ok", "image-decode"].contains(&code), "{length} bytes of {name}: {code}");
        }
    }
}

#[test]
fn what_is_no_picture_is_an_error() {
    let texts: [&[u8]; 7] = [
        b"",
        b"\0",
        b"hello, I am a text file",
        b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        b"BM\x1e\0\0\0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
    ];
    for text in texts {
        assert_eq!(image_code(text), "image-decode", "{}", text.escape_ascii());
    }
}

#[test]
fn bytes_after_the_picture_do_no_harm() {
    for name in PICTURES {
        let mut bytes = file(name);
        bytes.extend(b"EXIF\xff\xff\xff\xff and more");
        assert_eq!(image_code(&bytes), "ok", "{name}");
    }
}

#[test]
fn a_chunk_that_claims_gigabytes_allocates_none() {
    let mut bytes = file("orientation-6.webp");
    let exif = bytes.windows(4).position(|chunk| chunk == b"EXIF").expect("the fixture has Exif");
    bytes[exif + 4..exif + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(image_code(&bytes), "image-decode");
}

fn any_mode() -> impl Strategy<Value = ResizeMode> {
    prop_oneof![Just(ResizeMode::Squash), Just(ResizeMode::Crop), Just(ResizeMode::Pad)]
}

fn any_picture() -> impl Strategy<Value = Image> {
    (1u32..40, 1u32..40).prop_flat_map(|(width, height)| {
        let bytes = proptest::collection::vec(any::<u8>(), (width * height * 3) as usize);
        bytes.prop_map(move |rgb| Image::from_rgb(rgb, width, height).expect("a sound picture"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_no_picture(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(image_code(&bytes), "image-decode");
    }

    #[test]
    fn damaged_pictures_never_panic(which in 0..PICTURES.len(), hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = file(PICTURES[which]);
        for (at, value) in hits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        prop_assert!(["ok", "image-decode", "image-too-large"].contains(&image_code(&bytes)));
    }

    #[test]
    fn every_picture_becomes_square(image in any_picture(), size in 1usize..40, mode in any_mode()) {
        let pre = preprocess(&image, size, mode, ResizeFilter::Bilinear, &Normalisation::default()).expect("a sound size");
        prop_assert_eq!(pre.pixels.len(), 3 * size * size);
        prop_assert!(pre.pixels.iter().all(|value| (-1.0..=1.0).contains(value)));
        let square = image_from_pixels(&pre.pixels, size).expect("values in range");
        let (low, high) = (image.rgb().iter().min(), image.rgb().iter().max());
        if mode != ResizeMode::Pad {
            // An average lies between the values it is made of, but for two roundings.
            prop_assert!(square.rgb().iter().min().zip(low).is_some_and(|(got, low)| got.saturating_add(2) >= *low));
            prop_assert!(square.rgb().iter().max().zip(high).is_some_and(|(got, high)| *got <= high.saturating_add(2)));
        }
    }

    #[test]
    fn every_label_map_covers_its_crop(image in any_picture(), mode in any_mode(), rows in 1usize..6, cols in 1usize..6) {
        let labels: Vec<u32> = (0..(rows * cols) as u32).collect();
        let crop = Crop::new(mode, image.width(), image.height());
        let map = LabelMap::new(&labels, [rows, cols], &crop, image.width(), image.height()).expect("labels fill the grid");
        let inside: usize = labels.iter().map(|&token| map.mask(token).area()).sum();
        let want = match mode {
            ResizeMode::Crop => image.width().min(image.height()).pow(2),
            _ => image.width() * image.height(),
        };
        prop_assert_eq!(inside, want as usize);
        for token in labels {
            let mask = map.mask(token);
            prop_assert_eq!(mask.to_rle().to_mask().expect("our own runs"), mask);
        }
        prop_assert!(overlay(&image, &map, OverlayStyle::default()).is_ok());
    }

    #[test]
    fn random_bytes_are_no_shard(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let error = TensorStore::new(&Device::flex()).add_shard("random", bytes.clone()).expect_err("not safetensors");
        prop_assert_eq!(error.code(), "shard-corrupt");
        prop_assert_eq!(read_safetensors_f32(&bytes, "features").expect_err("not safetensors").code(), "shard-corrupt");
    }

    #[test]
    fn damaged_shards_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = write_safetensors_f32("features", &[2, 3], &[1.0; 6]).expect("six values");
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = TensorStore::new(&Device::flex()).add_shard("damaged", bytes.clone());
        bytes.truncate(cut.index(bytes.len()));
        let error = TensorStore::new(&Device::flex()).add_shard("damaged", bytes).expect_err("cut short");
        prop_assert_eq!(error.code(), "shard-corrupt");
    }

    #[test]
    fn random_text_is_no_manifest(text in ".{0,200}") {
        prop_assert_eq!(Manifest::parse(&text).expect_err("not a manifest").code(), "manifest-invalid");
    }

    #[test]
    fn tensors_come_back(rows in 1usize..9, cols in 1usize..9, seed in any::<u32>()) {
        let values: Vec<f32> = (0..rows * cols).map(|at| f32::from_bits(seed.rotate_left(at as u32) & 0x7F7F_FFFF)).collect();
        let bytes = write_safetensors_f32("features", &[rows, cols], &values).expect("values fill the shape");
        prop_assert_eq!(read_safetensors_f32(&bytes, "features").expect("our own file"), (vec![rows, cols], values));
    }
}
