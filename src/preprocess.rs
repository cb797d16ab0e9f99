//! Picture in: encoded bytes -> [`Picture`] -> the encoder's square input `[3, S, S]`, remembering which part of the
//! picture the square covers ([`Crop`]), so that a mask can be mapped back.

use std::io::Cursor;

use burn::tensor::{DType, Device, Tensor, TensorData};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The largest picture that is read, in millions of pixels.
pub const MAX_MEGAPIXELS: u32 = 64;

/// The largest file of a picture that is read, in bytes.
pub const MAX_PICTURE_BYTES: usize = 128 << 20;

/// The longest side that [`preprocess`] makes.
pub const MAX_SIZE: usize = 4096;

/// What [`ResizeMode::Pad`] puts beside the picture: CSS `gray`, within half a step of zero once normalised.
pub const PAD: u8 = 128;

/// Most memory that a decoder may take: [`MAX_MEGAPIXELS`] at 16 bits of red, green, blue and alpha.
pub const DECODER_BYTES: u64 = 512 << 20;

/// An upright picture without transparency: 8 bits each of red, green and blue, row by row from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// Reads a PNG, JPEG, WebP or GIF (the first frame). The Exif orientation is applied, transparent parts are laid
    /// over white, 16 bits become 8, and grey, palette and CMYK become RGB; colour profiles are not applied.
    ///
    /// # Errors
    ///
    /// [`Error::ImageFileTooLarge`] over [`MAX_PICTURE_BYTES`];
    /// [`Error::ImageTooLarge`] over [`MAX_MEGAPIXELS`], decided from the header before any pixel is allocated;
    /// [`Error::ImageDecode`] for anything else, files that end too early included.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_PICTURE_BYTES {
            return Err(Error::ImageFileTooLarge { bytes: bytes.len(), limit: MAX_PICTURE_BYTES >> 20 });
        }
        let format = format_of(bytes)?;
        let (bytes, orientation) = match format {
            ImageFormat::Png => (check_png_size(bytes)?, None),
            ImageFormat::Jpeg => (whole_jpeg(bytes)?, None),
            ImageFormat::WebP => whole_webp(bytes).map(|(bytes, orientation)| (bytes, Some(orientation)))?,
            _ => (bytes, None),
        };
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(decoder_limits());
        let mut decoder = reader.into_decoder().map_err(unreadable)?;
        let (width, height) = decoder.dimensions();
        check_size(width, height)?;
        // A damaged Exif block does not cost the picture: it is shown as stored, as browsers do.
        let orientation = orientation.or_else(|| decoder.orientation().ok());
        let mut image = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
        image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
        Ok(Self::from_image(image))
    }

    /// A picture from `height` rows of `width` pixels of red, green and blue.
    ///
    /// # Errors
    ///
    /// [`Error::ImageDecode`] when the number of bytes is not `width * height * 3` or is zero,
    /// [`Error::ImageTooLarge`] over [`MAX_MEGAPIXELS`].
    pub fn from_rgb(rgb: Vec<u8>, width: u32, height: u32) -> Result<Self> {
        check_buffer(&rgb, width, height, 3)?;
        Ok(Self { width, height, rgb })
    }

    /// A picture from `height` rows of `width` pixels of red, green, blue and (straight) alpha, as a canvas gives
    /// them; laid over white.
    ///
    /// # Errors
    ///
    /// [`Error::ImageDecode`] when the number of bytes is not `width * height * 4` or is zero,
    /// [`Error::ImageTooLarge`] over [`MAX_MEGAPIXELS`].
    pub fn from_rgba(rgba: &[u8], width: u32, height: u32) -> Result<Self> {
        check_buffer(rgba, width, height, 4)?;
        Ok(Self { width, height, rgb: over_white(rgba) })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels: `height` rows of `width` times red, green, blue.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixels with an opaque alpha, as a canvas takes them.
    pub fn to_rgba(&self) -> Vec<u8> {
        self.rgb.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, u8::MAX]).collect()
    }

    fn from_image(image: DynamicImage) -> Self {
        let (width, height) = (image.width(), image.height());
        let rgb = if image.color().has_alpha() {
            over_white(image.into_rgba8().as_raw())
        } else {
            image.into_rgb8().into_raw()
        };
        Self { width, height, rgb }
    }
}

/// How a picture becomes square.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// The whole picture, its proportions given up.
    #[default]
    Squash,
    /// The largest square in the middle.
    Crop,
    /// The smallest square around it, filled up with [`PAD`].
    Pad,
}

/// Per channel: `(value / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Default for Normalisation {
    /// `value / 127.5 - 1`: ours, and SigLIP's.
    fn default() -> Self {
        Self { mean: [0.5; 3], std: [0.5; 3] }
    }
}

impl Normalisation {
    /// What each of the 256 values of each channel becomes, rounded once.
    fn table(&self) -> Result<[[f32; 256]; 3]> {
        let fits = |mean: f32, std: f32| mean.is_finite() && std.is_finite() && std > 0.0;
        if !(0..3).all(|c| fits(self.mean[c], self.std[c])) {
            return Err(Error::Config(format!(
                "normalisation needs finite means and positive standard deviations, got mean {:?} and std {:?}",
                self.mean, self.std
            )));
        }
        Ok(std::array::from_fn(|c| {
            let (mean, std) = (f64::from(self.mean[c]), f64::from(self.std[c]));
            std::array::from_fn(|value| ((value as f64 / 255.0 - mean) / std) as f32)
        }))
    }
}

/// The part of the original picture that the square covers, in original pixels. It reaches beyond the picture when
/// the square was padded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Crop {
    /// What `mode` keeps of a picture. Corners fall on whole pixels, so that a square picture is never resampled
    /// without need.
    pub fn new(mode: ResizeMode, width: u32, height: u32) -> Self {
        let side = match mode {
            ResizeMode::Squash => {
                return Self { x: 0.0, y: 0.0, width: width.into(), height: height.into() };
            }
            ResizeMode::Crop => width.min(height),
            ResizeMode::Pad => width.max(height),
        };
        let side = f64::from(side);
        let start = |length: u32| ((f64::from(length) - side) / 2.0).trunc() + 0.0; // + 0.0: no negative zero in JSON
        Self { x: start(width), y: start(height), width: side, height: side }
    }

    /// Where a point of the square, `0.0..=1.0` across and down, lies in the original picture.
    pub fn original_from_square(&self, across: f64, down: f64) -> (f64, f64) {
        (self.x + across * self.width, self.y + down * self.height)
    }

    /// Where a point of the original picture lies in the square; outside `0.0..=1.0` when the square does not cover it.
    pub fn square_from_original(&self, x: f64, y: f64) -> (f64, f64) {
        ((x - self.x) / self.width, (y - self.y) / self.height)
    }
}

/// The encoder's input, and how to come back from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessed {
    /// Normalised values `[3, S, S]`, channel by channel.
    pub pixels: Vec<f32>,
    /// The side `S` in pixels.
    pub size: usize,
    /// The part of the original picture that the square covers.
    pub crop: Crop,
    /// Width of the original picture in pixels.
    pub width: u32,
    /// Height of the original picture in pixels.
    pub height: u32,
}

impl Preprocessed {
    /// The input as a batch of one.
    ///
    /// # Shapes
    ///
    /// - output: `[1, 3, S, S]`, 32-bit floats
    pub fn to_tensor(&self, device: &Device) -> Tensor<4> {
        let data = TensorData::new(self.pixels.clone(), [1, 3, self.size, self.size]);
        Tensor::from_data(data, (device, DType::F32))
    }
}

/// Makes a picture square, `size` by `size` pixels, and normalises it.
///
/// Resized as Pillow's `Image.resize(.., BILINEAR)`, antialiased, and equal to it to the bit (but for strips narrower
/// than `size` and taller, where rounding may differ by one step). A picture that already is `size` by `size` keeps
/// its pixels.
///
/// # Errors
///
/// [`Error::Config`] when `size` is not in `1..=`[`MAX_SIZE`] or the normalisation divides by zero.
pub fn preprocess(
    picture: &Picture,
    size: usize,
    mode: ResizeMode,
    normalisation: &Normalisation,
) -> Result<Preprocessed> {
    if !(1..=MAX_SIZE).contains(&size) {
        return Err(Error::Config(format!("the side of the input must be 1 to {MAX_SIZE} pixels, got {size}")));
    }
    let table = normalisation.table()?;
    let (width, height) = (picture.width, picture.height);
    let crop = Crop::new(mode, width, height);
    let square = resample(picture, &crop, size as u32, size as u32);
    let channel = |c: usize| square.rgb.iter().skip(c).step_by(3).map(move |&value| (c, value));
    let pixels = (0..3).flat_map(channel).map(|(c, value)| table[c][usize::from(value)]).collect();
    Ok(Preprocessed { pixels, size, crop, width, height })
}

// --- reading

fn format_of(bytes: &[u8]) -> Result<ImageFormat> {
    if bytes.is_empty() {
        return Err(Error::ImageDecode("the file is empty".into()));
    }
    match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Gif)) => Ok(format),
        _ => Err(Error::ImageDecode("it is not a PNG, JPEG, WebP or GIF file".into())),
    }
}

fn decoder_limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(DECODER_BYTES);
    limits
}

fn unreadable(error: ImageError) -> Error {
    Error::ImageDecode(error.to_string())
}

fn ends_early() -> Error {
    Error::ImageDecode("the file ends before the picture does".into())
}

pub(crate) fn check_size(width: u32, height: u32) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::ImageDecode(format!("it has no pixels ({width} x {height})")));
    }
    if u64::from(width) * u64::from(height) > u64::from(MAX_MEGAPIXELS) * 1_000_000 {
        return Err(Error::ImageTooLarge { width, height, limit: MAX_MEGAPIXELS });
    }
    Ok(())
}

fn check_buffer(bytes: &[u8], width: u32, height: u32, channels: usize) -> Result<()> {
    check_size(width, height)?;
    let want = width as usize * height as usize * channels; // no overflow: the size is within its limit
    if bytes.len() != want {
        return Err(Error::ImageDecode(format!(
            "{width} x {height} pixels of {channels} channels take {want} bytes, got {}",
            bytes.len()
        )));
    }
    Ok(())
}

/// Looks at the size in a PNG's first chunk: the decoder reads on to the first pixels before it tells.
fn check_png_size(bytes: &[u8]) -> Result<&[u8]> {
    if let Some(&[a, b, c, d, e, f, g, h]) = bytes.get(16..24) {
        check_size(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))?;
    }
    Ok(bytes)
}

/// Follows a JPEG's markers to its end-of-image marker. The decoder would paint what is missing grey and say nothing.
fn whole_jpeg(bytes: &[u8]) -> Result<&[u8]> {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [0xFF, 0xD9, ..] => return Ok(bytes),
            // Segments with a length, stepped over: a thumbnail inside has an end marker of its own.
            [0xFF, 0xC0..=0xCF | 0xDA..=0xFE, high, low, ..] => {
                rest.get(2 + usize::from(u16::from_be_bytes([*high, *low]))..).unwrap_or_default()
            }
            [_, tail @ ..] => tail,
            [] => return Err(ends_early()),
        };
    }
}

/// Walks a WebP's chunks: every one must lie within the file. Gives the bytes without anything that follows the
/// picture, and the Exif orientation.
///
/// The decoder allocates the size that an Exif chunk states, up to 4 GiB, which would end a web page's wasm for good.
fn whole_webp(bytes: &[u8]) -> Result<(&[u8], Orientation)> {
    let size = bytes.get(4..8).and_then(le_u32).ok_or_else(ends_early)?;
    let bytes = size.checked_add(8).and_then(|end| bytes.get(..end)).ok_or_else(ends_early)?;
    let mut rest = bytes.get(12..).ok_or_else(ends_early)?;
    let mut orientation = None;
    while !rest.is_empty() {
        let size = rest.get(4..8).and_then(le_u32).ok_or_else(ends_early)?;
        let body = rest[8..].get(..size).ok_or_else(ends_early)?;
        if rest.starts_with(b"EXIF") {
            orientation = orientation.or(Orientation::from_exif_chunk(body));
        }
        rest = rest[8..].get(size.next_multiple_of(2)..).unwrap_or_default(); // some writers omit the last padding byte
    }
    Ok((bytes, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn le_u32(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// RGBA over white -> RGB, rounded to the nearest.
fn over_white(rgba: &[u8]) -> Vec<u8> {
    let blend = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    rgba.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, a]| [blend(r, a), blend(g, a), blend(b, a)]).collect()
}

// --- resizing

/// Fixed-point bits of a weight: Pillow's number, so that rounding agrees.
const WEIGHT_BITS: u32 = 22;

/// Draws `window` of `picture` (in its pixels) as `width` by `height` pixels, antialiased; [`PAD`] where the window
/// reaches beyond the picture.
pub(crate) fn resample(picture: &Picture, window: &Crop, width: u32, height: u32) -> Picture {
    let across =
        Axis { length: picture.width as usize, start: window.x, extent: window.width, outputs: width as usize };
    let down =
        Axis { length: picture.height as usize, start: window.y, extent: window.height, outputs: height as usize };
    // Rows first, as Pillow; but for a tall strip that would make a picture larger than both ends.
    let rgb = if across.outputs > across.length && down.outputs < down.length {
        resample_rows(&resample_columns(&picture.rgb, &down), &across)
    } else {
        resample_columns(&resample_rows(&picture.rgb, &across), &down)
    };
    Picture { width, height, rgb }
}

/// `[h, across.length, 3]` -> `[h, across.outputs, 3]`.
fn resample_rows(rgb: &[u8], across: &Axis) -> Vec<u8> {
    let (stride, out_stride) = (across.length * 3, across.outputs * 3);
    let mut out = vec![0; rgb.len() / stride * out_stride];
    let mut taps = Taps::default();
    for index in 0..across.outputs {
        across.taps(index, &mut taps);
        for (row, out_row) in rgb.chunks_exact(stride).zip(out.chunks_exact_mut(out_stride)) {
            let mut sums = [taps.outside(); 3];
            for (pixel, weight) in row[taps.first * 3..].as_chunks::<3>().0.iter().zip(&taps.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(*value);
                }
            }
            for (value, sum) in out_row[index * 3..].iter_mut().zip(sums) {
                *value = value_from_sum(sum);
            }
        }
    }
    out
}

/// `[down.length, w, 3]` -> `[down.outputs, w, 3]`.
fn resample_columns(rgb: &[u8], down: &Axis) -> Vec<u8> {
    let stride = rgb.len() / down.length;
    let mut out = Vec::with_capacity(down.outputs * stride);
    let mut sums = vec![0; stride];
    let mut taps = Taps::default();
    for index in 0..down.outputs {
        down.taps(index, &mut taps);
        sums.fill(taps.outside());
        for (row, weight) in rgb[taps.first * stride..].chunks_exact(stride).zip(&taps.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(*value);
            }
        }
        out.extend(sums.iter().map(|&sum| value_from_sum(sum)));
    }
    out
}

fn value_from_sum(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// One direction of a resize: `outputs` pixels spread evenly over `extent` input pixels from `start` on, out of an
/// input of `length` pixels.
struct Axis {
    length: usize,
    start: f64,
    extent: f64,
    outputs: usize,
}

/// The inputs that make one output: `weights` of the pixels from `first` on, and the weight of what lies `beyond`.
#[derive(Default)]
struct Taps {
    first: usize,
    weights: Vec<i32>,
    beyond: i32,
}

impl Taps {
    /// What a sum starts from: one half for rounding, and the padding.
    fn outside(&self) -> i32 {
        (1 << (WEIGHT_BITS - 1)) + self.beyond * i32::from(PAD)
    }
}

impl Axis {
    /// A triangle, two outputs wide (two inputs when enlarging), centred on the output. Where the window stays within
    /// the input, the triangle is cut off at the edge of the input; else it sees padding.
    fn taps(&self, index: usize, taps: &mut Taps) {
        let scale = self.extent / self.outputs as f64;
        let reach = scale.max(1.0);
        let centre = self.start + (index as f64 + 0.5) * scale;
        let length = self.length as f64;
        let low = (centre - reach + 0.5).floor().max(self.start.min(0.0).floor());
        let high = (centre + reach + 0.5).floor().min((self.start + self.extent).max(length).ceil());

        taps.weights.clear();
        if !(high > 0.0 && low < length) {
            (taps.first, taps.beyond) = (0, 1 << WEIGHT_BITS); // nothing but padding
            return;
        }
        let (low, high) = (low as i64, high as i64);
        let (first, end) = (low.max(0), high.min(self.length as i64));
        let weight = |at: i64| (1.0 - ((at as f64 - centre + 0.5) / reach).abs()).max(0.0);
        let beyond: f64 = (low..first).chain(end..high).map(weight).sum();
        let total: f64 = (first..end).map(weight).sum::<f64>() + beyond;
        let fixed = |weight: f64| (0.5 + weight / total * f64::from(1 << WEIGHT_BITS)) as i32;
        taps.first = first as usize;
        taps.weights.extend((first..end).map(|at| fixed(weight(at))));
        taps.beyond = if beyond > 0.0 { fixed(beyond) } else { 0 };
    }
}
