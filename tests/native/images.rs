//! Images in and out: decoding, resizing, labels and overlays. Images and Pillow's results in `fixtures/images`,
//! made by the `generate.py` there.

use std::path::Path;

use burn::tensor::Device;
use setokim::Error;
use setokim::image::Image;
use setokim::image::masks::{LabelMap, Mask, Rle};
use setokim::image::overlay::{OverlayStyle, overlay};
use setokim::image::palette::palette;
use setokim::image::preprocess::{Crop, Normalisation, Preprocessed, ResizeFilter, ResizeMode, preprocess};
use setokim::image::resize::PAD;
use setokim::image::resize::frame_from_square;
use setokim::image::{image_from_pixels, png_from_image};

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const YELLOW: [u8; 3] = [255, 255, 0];
const BLACK: [u8; 3] = [0, 0, 0];
const WHITE: [u8; 3] = [255, 255, 255];

/// JPEG and lossy WebP of large plain blocks, in the middle of a block.
const LOSSY: u8 = 12;

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn image(name: &str) -> Image {
    Image::decode(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn pixel(image: &Image, x: u32, y: u32) -> [u8; 3] {
    let at = (y * image.width() + x) as usize * 3;
    [image.rgb()[at], image.rgb()[at + 1], image.rgb()[at + 2]]
}

/// Checks the middles of the six blocks of the fixture.
fn assert_blocks(name: &str, image: &Image, want: [[[u8; 3]; 3]; 2], tolerance: u8) {
    assert_eq!((image.width(), image.height()), (24, 16), "{name}");
    for (row, colours) in want.iter().enumerate() {
        for (col, want) in colours.iter().enumerate() {
            let got = pixel(image, col as u32 * 8 + 4, row as u32 * 8 + 4);
            let close = got.iter().zip(want).all(|(got, want)| got.abs_diff(*want) <= tolerance);
            assert!(close, "{name}, block {row} {col}: got {got:?}, want {want:?}");
        }
    }
}

const BLOCKS: [[[u8; 3]; 3]; 2] = [[RED, GREEN, BLUE], [YELLOW, BLACK, WHITE]];

/// The largest difference between two images of one size, with the numbers side by side when there is one.
fn worst_step(ours: &[u8], theirs: &[u8]) -> u8 {
    assert_eq!(ours.len(), theirs.len());
    let worst = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    if worst > 0 {
        let at = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(0);
        println!("from value {at}: ours {:?}", &ours[at..ours.len().min(at + 5)]);
        println!("from value {at}: theirs {:?}", &theirs[at..ours.len().min(at + 5)]);
    }
    worst
}

fn bytes_of(pre: &Preprocessed) -> Vec<u8> {
    let square = image_from_pixels(&pre.pixels, pre.size).expect("values in range");
    square.rgb().to_vec()
}

fn noise(width: u32, height: u32) -> Image {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let rgb = (0..width * height * 3).map(|_| next()).collect();
    Image::from_rgb(rgb, width, height).expect("a sound picture")
}

fn square_of(image: &Image, size: usize, mode: ResizeMode) -> Preprocessed {
    preprocess(image, size, mode, ResizeFilter::Bilinear, &Normalisation::default()).expect("a sound size")
}

const MODES: [ResizeMode; 3] = [ResizeMode::Squash, ResizeMode::Crop, ResizeMode::Pad];

// --- reading

#[test]
fn follows_every_exif_orientation() {
    for value in 1..=8 {
        let name = format!("orientation-{value}.jpg");
        assert_blocks(&name, &image(&name), BLOCKS, LOSSY);
    }
    for name in ["orientation-6.png", "orientation-6.webp"] {
        assert_blocks(name, &image(name), BLOCKS, 0);
    }
}

#[test]
fn reads_every_format() {
    for name in ["lossless.webp", "palette.png", "two-frames.gif"] {
        assert_blocks(name, &image(name), BLOCKS, 0);
    }
    for name in ["progressive.jpg", "cmyk.jpg"] {
        assert_blocks(name, &image(name), BLOCKS, LOSSY);
    }
    let gray = |[r, g, b]: [u8; 3]| {
        // ITU-R 601 luma, as Pillow
        [(0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)).round() as u8; 3]
    };
    let gray_blocks = BLOCKS.map(|row| row.map(gray));
    assert_blocks("gray.png", &image("gray.png"), gray_blocks, 1);
    assert_blocks("gray.jpg", &image("gray.jpg"), gray_blocks, LOSSY);
}

#[test]
fn reads_lossy_webp() {
    // Colour is stored at half the size there: wider tolerance.
    assert_blocks("lossy.webp", &image("lossy.webp"), BLOCKS, 40);
}

#[test]
fn lays_transparency_over_white() {
    let want = [RED, [255, 63, 63], [255, 127, 127], [255, 191, 191], WHITE];
    for name in ["alpha.png", "alpha.webp"] {
        assert_eq!(image(name).rgb(), want.as_flattened(), "{name}");
    }
    assert_eq!(image("clear.gif").rgb(), [RED, WHITE].as_flattened());
    let rgba: Vec<u8> = [255, 192, 128, 64, 0].into_iter().flat_map(|alpha| [255, 0, 0, alpha]).collect();
    let canvas = Image::from_rgba(&rgba, 5, 1).expect("five pixels");
    assert_eq!(canvas.rgb(), want.as_flattened());
    assert_eq!(canvas.to_rgba()[16..], [255; 4]);
}

#[test]
fn brings_16_bits_to_8() {
    assert_eq!(image("gray16.png").rgb(), [[0; 3], [0; 3], [1; 3], [128; 3], [255; 3]].as_flattened());
    assert_eq!(image("rgb16.png").rgb(), [[255, 0, 128], [1, 0, 0]].as_flattened());
}

#[test]
fn refuses_a_huge_header_before_its_pixels() {
    let huge = file("huge.png");
    for bytes in [&huge[..], &huge[..33]] {
        let error = Image::decode(bytes).expect_err("900 megapixels");
        assert!(matches!(error, Error::ImageTooLarge { width: 30_000, height: 30_000, limit: 64 }), "{error}");
        assert_eq!(error.code(), "image-too-large");
    }
    let canvas = Image::from_rgba(&[], 30_000, 30_000).expect_err("900 megapixels");
    assert_eq!(canvas.code(), "image-too-large");
}

#[test]
fn refuses_what_does_not_fill_its_size() {
    for (bytes, width, height) in [(16, 2, 3), (0, 0, 0), (0, 0, 5), (25, 2, 3), (0, 1, 1)] {
        let error = Image::from_rgba(&vec![0; bytes], width, height).expect_err("another size");
        assert_eq!(error.code(), "image-decode", "{bytes} bytes for {width} x {height}");
        assert_eq!(Image::from_rgb(vec![0; bytes], width, height).expect_err("another size").code(), "image-decode");
    }
}

// --- resizing

#[test]
fn resizes_as_pillow() {
    let cases = [
        ("noise.png", ResizeMode::Squash, 1, "resize-squash-1.png"),
        ("noise.png", ResizeMode::Squash, 8, "resize-squash-8.png"),
        ("noise.png", ResizeMode::Squash, 23, "resize-squash-23.png"),
        ("noise.png", ResizeMode::Squash, 48, "resize-squash-48.png"),
        ("noise.png", ResizeMode::Crop, 16, "resize-crop-16.png"),
        ("noise.png", ResizeMode::Pad, 16, "resize-pad-16.png"),
        ("noise.png", ResizeMode::Pad, 48, "resize-pad-48.png"),
    ];
    for (input, mode, size, want) in cases {
        let ours = bytes_of(&square_of(&image(input), size, mode));
        assert_eq!(worst_step(&ours, image(want).rgb()), 0, "{want}");
    }
}

#[test]
fn resizes_as_pillow_with_the_bicubic_filter() {
    let cases = [
        ("noise.png", ResizeMode::Squash, 8, "bicubic-squash-8.png"),
        ("noise.png", ResizeMode::Squash, 23, "bicubic-squash-23.png"),
        ("noise.png", ResizeMode::Squash, 64, "bicubic-squash-64.png"),
        ("noise.png", ResizeMode::Crop, 16, "bicubic-crop-16.png"),
        ("noise.png", ResizeMode::Pad, 48, "bicubic-pad-48.png"),
    ];
    for (input, mode, size, want) in cases {
        let pre = preprocess(&image(input), size, mode, ResizeFilter::Bicubic, &Normalisation::default());
        let ours = bytes_of(&pre.expect("a sound size"));
        assert_eq!(worst_step(&ours, image(want).rgb()), 0, "{want}");
    }
}

#[test]
fn resizes_a_tall_strip_within_a_step_of_pillow() {
    // Columns first here (see `resample`), and the values between are rounded.
    let ours = bytes_of(&square_of(&image("strip.png"), 16, ResizeMode::Squash));
    assert!(worst_step(&ours, image("resize-strip-16.png").rgb()) <= 1);
}

#[test]
fn keeps_a_picture_of_the_right_size() {
    let image = noise(32, 32);
    for mode in MODES {
        let pre = square_of(&image, 32, mode);
        assert_eq!(bytes_of(&pre), image.rgb(), "{mode:?}");
        assert_eq!(pre.crop, Crop { x: 0.0, y: 0.0, width: 32.0, height: 32.0 });
        for (at, value) in pre.pixels.iter().enumerate() {
            let (channel, pixel) = (at / (32 * 32), at % (32 * 32));
            let want = f64::from(image.rgb()[pixel * 3 + channel]) / 127.5 - 1.0;
            assert_eq!(*value, want as f32, "channel {channel}, pixel {pixel}");
        }
    }
}

#[test]
fn makes_a_batch_of_one() {
    let pre = square_of(&noise(8, 5), 4, ResizeMode::Squash);
    let tensor = pre.to_tensor(&Device::flex());
    assert_eq!(tensor.dims(), [1, 3, 4, 4]);
    assert_eq!(tensor.into_data().try_to_vec::<f32>().expect("floats"), pre.pixels);
}

#[test]
fn normalises_by_channel() {
    let grey = Image::from_rgb(vec![51; 3], 1, 1).expect("one pixel");
    let normalisation = Normalisation { mean: [0.0, 0.1, 0.2], std: [1.0, 0.5, 2.0] };
    let pre = preprocess(&grey, 1, ResizeMode::Squash, ResizeFilter::Bilinear, &normalisation).expect("a sound size");
    for (got, want) in pre.pixels.iter().zip([0.2, 0.2, 0.0]) {
        assert!((got - want).abs() < 1e-6, "{:?}", pre.pixels);
    }
}

#[test]
fn refuses_settings_that_make_no_square() {
    let image = noise(2, 2);
    for size in [0, 5000] {
        let error = preprocess(&image, size, ResizeMode::Squash, ResizeFilter::Bilinear, &Normalisation::default())
            .expect_err("no square");
        assert_eq!(error.code(), "config-invalid");
    }
    for std in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let normalisation = Normalisation { std: [0.5, std, 0.5], ..Default::default() };
        let error =
            preprocess(&image, 2, ResizeMode::Squash, ResizeFilter::Bilinear, &normalisation).expect_err("no division");
        assert_eq!(error.code(), "config-invalid");
    }
}

#[test]
fn bears_extremes() {
    for (width, height) in [(1, 1), (1, 5000), (5000, 1), (2, 3), (4097, 3)] {
        let plain = Image::from_rgb([10, 200, 77].repeat((width * height) as usize), width, height).expect("plain");
        for mode in MODES {
            let pre = square_of(&plain, 16, mode);
            assert_eq!(pre.pixels.len(), 3 * 16 * 16);
            if mode != ResizeMode::Pad {
                let square = bytes_of(&pre);
                let close = square.as_chunks::<3>().0.iter().all(|&p| worst_step(&p, &[10, 200, 77]) <= 1);
                assert!(close, "{width} x {height}, {mode:?}: a plain picture stays plain");
            }
        }
    }
}

#[test]
fn pads_with_grey() {
    let white = Image::from_rgb(vec![255; 4 * 2 * 3], 4, 2).expect("white");
    let pre = square_of(&white, 4, ResizeMode::Pad);
    assert_eq!(pre.crop, Crop { x: 0.0, y: -1.0, width: 4.0, height: 4.0 });
    let rows: Vec<u8> = bytes_of(&pre).chunks(12).map(|row| row[0]).collect();
    assert_eq!(rows, [PAD, 255, 255, PAD]);
}

#[test]
fn covers_what_the_mode_says() {
    let crop = |mode, width, height| {
        let Crop { x, y, width, height } = Crop::new(mode, width, height);
        [x, y, width, height]
    };
    assert_eq!(crop(ResizeMode::Squash, 40, 30), [0.0, 0.0, 40.0, 30.0]);
    assert_eq!(crop(ResizeMode::Crop, 40, 31), [4.0, 0.0, 31.0, 31.0]);
    assert_eq!(crop(ResizeMode::Pad, 40, 31), [0.0, -4.0, 40.0, 40.0]);
    assert_eq!(crop(ResizeMode::Pad, 1, 2), [0.0, 0.0, 2.0, 2.0]);
    assert_eq!(serde_json::to_string(&ResizeMode::Pad).expect("a name"), "\"pad\"");
}

#[test]
fn comes_back_from_the_square() {
    for (width, height) in [(40, 31), (31, 40), (7, 7), (1, 500)] {
        for mode in MODES {
            let crop = Crop::new(mode, width, height);
            for (x, y) in [(0.0, 0.0), (f64::from(width), f64::from(height)), (0.3, 0.9)] {
                let (across, down) = crop.square_from_original(x, y);
                let (x2, y2) = crop.original_from_square(across, down);
                assert!((x - x2).abs() < 1e-9 && (y - y2).abs() < 1e-9, "{mode:?} {width} x {height}");
                let inside = (0.0..=1.0).contains(&across) && (0.0..=1.0).contains(&down);
                assert!(inside || mode == ResizeMode::Crop, "only a crop leaves parts of the picture out");
            }
        }
    }
}

/// Draws a square of colour patches, takes it back into the frame, and looks for each patch where the label map says.
#[test]
fn pixels_and_labels_meet_in_the_frame() {
    let (width, height) = (90, 60);
    let labels: Vec<u32> = (0..9).collect();
    let colours: Vec<[u8; 3]> = labels.iter().map(|&id| palette(id)).collect();
    let rgb = (0..30 * 30).flat_map(|at| colours[at / 30 / 10 * 3 + at % 30 / 10]).collect();
    let square = Image::from_rgb(rgb, 30, 30).expect("a square");
    for mode in MODES {
        let crop = Crop::new(mode, width, height);
        let map = LabelMap::new(&labels, [3, 3], &crop, width, height).expect("nine labels");
        let framed = frame_from_square(&square, &crop, width, height).expect("a frame");
        assert_eq!((framed.width(), framed.height()), (width, height));
        for (x, y) in [(24, 8), (45, 30), (67, 52), (24, 30), (45, 52)] {
            let token = map.get(x, y).expect("inside of every crop");
            assert_eq!(pixel(&framed, x, y), palette(token), "{mode:?} at {x} {y}");
        }
    }
    let crop = Crop::new(ResizeMode::Crop, width, height);
    let framed = frame_from_square(&square, &crop, width, height).expect("a frame");
    assert_eq!(pixel(&framed, 2, 30), [PAD; 3], "the crop does not know what is left of it");
}

// --- labels

#[test]
fn labels_go_to_the_nearest_patch() {
    let squash = Crop::new(ResizeMode::Squash, 4, 2);
    let map = LabelMap::new(&[0, 1, 2, 3], [2, 2], &squash, 4, 2).expect("four labels");
    let all: Vec<_> = (0..2).flat_map(|y| (0..4).map(move |x| (x, y))).map(|(x, y)| map.get(x, y)).collect();
    assert_eq!(all, [0, 0, 1, 1, 2, 2, 3, 3].map(Some));
    assert_eq!(map.get(4, 0), None);

    let cropped = Crop::new(ResizeMode::Crop, 4, 2);
    let map = LabelMap::new(&[5, 6], [1, 2], &cropped, 4, 2).expect("two labels");
    let row: Vec<_> = (0..4).map(|x| map.get(x, 1)).collect();
    assert_eq!(row, [None, Some(5), Some(6), None]);

    let padded = Crop::new(ResizeMode::Pad, 4, 2);
    let map = LabelMap::new(&[0, 1, 2, 3], [4, 1], &padded, 4, 2).expect("four labels");
    assert_eq!([map.get(0, 0), map.get(3, 1)], [Some(1), Some(2)], "0 and 3 are padding");
}

#[test]
fn masks_split_the_picture() {
    let crop = Crop::new(ResizeMode::Squash, 13, 7);
    let labels = [0, 1, 1, 2, 0, 2];
    let map = LabelMap::new(&labels, [2, 3], &crop, 13, 7).expect("six labels");
    let masks = [0, 1, 2].map(|token| map.mask(token));
    assert_eq!(masks.iter().map(Mask::area).sum::<usize>(), 13 * 7);
    assert_eq!(map.mask(9).area(), 0);

    let png = Image::decode(&masks[1].to_png().expect("a PNG")).expect("our own PNG");
    let bits: Vec<bool> = png.rgb().iter().step_by(3).map(|&value| value == 255).collect();
    assert_eq!(bits, masks[1].bits());
}

#[test]
fn run_lengths_come_back() {
    let mask = Mask::new(vec![true, true, false, false, false, true], 3, 2).expect("six flags");
    let rle = mask.to_rle();
    assert_eq!(serde_json::to_string(&rle).expect("plain data"), r#"{"size":[2,3],"counts":[0,1,1,1,2,1]}"#);
    assert_eq!(rle.to_mask().expect("our own runs"), mask);
    // By hand: rows `. # #` and `# # .`, so columns `. #`, `# #`, `# .`.
    let bits = vec![false, true, true, true, true, false];
    let by_hand = Mask::new(bits, 3, 2).expect("six flags");
    assert_eq!(by_hand.to_rle(), Rle { size: [2, 3], counts: vec![1, 4, 1] });
    let short = Rle { counts: vec![1, 2], ..rle };
    assert_eq!(short.to_mask().expect_err("too few").code(), "setting-invalid");
    let huge = Rle { size: [1, u32::MAX], counts: vec![u32::MAX] };
    assert_eq!(huge.to_mask().expect_err("too many").code(), "image-too-large");
}

#[test]
fn refuses_labels_that_do_not_fill_the_grid() {
    let crop = Crop::new(ResizeMode::Squash, 4, 4);
    for (labels, grid) in [(3, [2, 2]), (0, [0, 0]), (0, [0, 5]), (1, [usize::MAX, usize::MAX])] {
        let error = LabelMap::new(&vec![0; labels], grid, &crop, 4, 4).expect_err("another number");
        assert_eq!(error.code(), "setting-invalid", "{labels} labels, {grid:?}");
    }
    let nowhere = Crop { width: f64::NAN, ..crop };
    assert_eq!(LabelMap::new(&[0], [1, 1], &nowhere, 4, 4).expect_err("no crop").code(), "setting-invalid");
}

// --- overlays

#[test]
fn overlay_of_a_tiny_case() {
    let white = Image::from_rgb(vec![255; 4 * 2 * 3], 4, 2).expect("white");
    let crop = Crop::new(ResizeMode::Squash, 4, 2);
    let map = LabelMap::new(&[0, 1], [1, 2], &crop, 4, 2).expect("two labels");
    let ([a, b], half) = ([palette(0), palette(1)], |colour: [u8; 3]| colour.map(|value| 255 - (255 - value) / 2));
    let rows = |border| {
        let style = OverlayStyle { opacity: 0.5, border };
        let got = overlay(&white, &map, style).expect("a sound style");
        [0, 1, 2, 3].map(|x| pixel(&got, x, 1))
    };
    assert_eq!(rows(0), [half(a), half(a), half(b), half(b)]);
    assert_eq!(rows(1), [half(a), a, half(b), half(b)]);
    assert_eq!(rows(2), [half(a), a, b, half(b)]);

    let clear = overlay(&white, &map, OverlayStyle { opacity: 0.0, border: 0 }).expect("a sound style");
    assert_eq!(clear, white);
    let png = png_from_image(&clear).expect("a PNG");
    assert_eq!(Image::decode(&png).expect("our own PNG"), white);
}

#[test]
fn overlay_leaves_what_is_outside_the_crop() {
    let image = noise(6, 2);
    let crop = Crop::new(ResizeMode::Crop, 6, 2);
    let map = LabelMap::new(&[3], [1, 1], &crop, 6, 2).expect("one label");
    let got = overlay(&image, &map, OverlayStyle { opacity: 1.0, border: 2 }).expect("a sound style");
    for x in [0, 1, 4, 5] {
        assert_eq!(pixel(&got, x, 0), pixel(&image, x, 0));
    }
    assert_eq!([pixel(&got, 2, 0), pixel(&got, 3, 0)], [palette(3); 2]);
}

#[test]
fn refuses_an_overlay_that_does_not_fit() {
    let crop = Crop::new(ResizeMode::Squash, 4, 2);
    let map = LabelMap::new(&[0], [1, 1], &crop, 4, 2).expect("one label");
    let other = noise(2, 4);
    assert_eq!(overlay(&other, &map, OverlayStyle::default()).expect_err("another size").code(), "setting-invalid");
    let image = noise(4, 2);
    for style in [(-0.1, 1), (1.1, 1), (f32::NAN, 1), (0.5, 3)] {
        let style = OverlayStyle { opacity: style.0, border: style.1 };
        assert_eq!(overlay(&image, &map, style).expect_err("no such style").code(), "setting-invalid");
    }
}

// --- pixels

#[test]
fn pixels_become_a_picture() {
    let mut pixels = vec![0.0; 3 * 4];
    (pixels[0], pixels[4], pixels[8]) = (-1.0, 1.0, 7.0);
    let square = image_from_pixels(&pixels, 2).expect("twelve values");
    assert_eq!([pixel(&square, 0, 0), pixel(&square, 1, 1)], [[0, 255, 255], [128; 3]]);
    assert_eq!(image_from_pixels(&pixels, 3).expect_err("another size").code(), "setting-invalid");
    assert_eq!(image_from_pixels(&[], 0).expect_err("no size").code(), "setting-invalid");
    pixels[6] = f32::NAN;
    assert!(matches!(image_from_pixels(&pixels, 2), Err(Error::NotFinite { what: "pixels", row: 1 })));
}

#[test]
fn a_frame_keeps_a_squashed_picture() {
    let square = noise(16, 16);
    let crop = Crop::new(ResizeMode::Squash, 16, 16);
    assert_eq!(frame_from_square(&square, &crop, 16, 16).expect("a frame"), square);
    assert_eq!(frame_from_square(&square, &crop, 30_000, 30_000).expect_err("too large").code(), "image-too-large");
}
