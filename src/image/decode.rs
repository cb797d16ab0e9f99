//! Encoded files -> [`Image`].

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::kinds::{other_format, rare_jpeg};
use super::{Image, check_size, over_white};
use crate::limits::{MAX_DECODER_BYTES, MAX_IMAGE_BYTES};
use crate::{Error, Result};

impl Image {
    /// Reads a PNG, JPEG, WebP or GIF (the first frame). The Exif orientation is applied, transparent parts are laid
    /// over white, 16 bits become 8, and grey, palette and CMYK become RGB. A PNG's gamma is applied, colour profiles are not.
    ///
    /// # Errors
    ///
    /// [`Error::ImageFileTooLarge`] over [`MAX_IMAGE_BYTES`];
    /// [`Error::ImageTooLarge`] over [`MAX_MEGAPIXELS`](crate::limits::MAX_MEGAPIXELS), decided from the header before any pixel is allocated;
    /// [`Error::ImageDecode`] for anything else, files that end too early included.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_IMAGE_BYTES {
            return Err(Error::ImageFileTooLarge { bytes: bytes.len(), limit: MAX_IMAGE_BYTES >> 20 });
        }
        let format = format_of(bytes)?;
        let (bytes, orientation) = match format {
            ImageFormat::Png => (check_png(bytes)?, png_orientation(bytes)),
            ImageFormat::Jpeg => (whole_jpeg(bytes)?, None),
            ImageFormat::WebP => whole_webp(bytes).map(|(bytes, orientation)| (bytes, Some(orientation)))?,
            _ => (bytes, None),
        };
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(decoder_limits());
        let unreadable = |error: ImageError| match rare_jpeg(bytes).filter(|_| format == ImageFormat::Jpeg) {
            Some(rare) => Error::ImageDecode(rare.into()),
            None => Error::ImageDecode(error.to_string()),
        };
        let mut decoder = reader.into_decoder().map_err(unreadable)?;
        let (width, height) = decoder.dimensions();
        check_size(width, height)?;
        // A damaged Exif block does not cost the image: it is shown as stored, as browsers do.
        let orientation = orientation.or_else(|| decoder.orientation().ok());
        let mut image = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
        image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
        let curve = if format == ImageFormat::Png { png_curve(bytes) } else { None };
        Ok(Self::from_image(image, curve.as_ref()))
    }

    /// `curve` gives the value to show for each that is stored.
    fn from_image(image: DynamicImage, curve: Option<&[u8; 256]>) -> Self {
        let (width, height) = (image.width(), image.height());
        let show = |value: &mut u8| *value = curve.map_or(*value, |curve| curve[usize::from(*value)]);
        let rgb = if image.color().has_alpha() {
            let mut pixels = image.into_rgba8();
            pixels.pixels_mut().for_each(|pixel| pixel.0[..3].iter_mut().for_each(show));
            over_white(pixels.as_raw())
        } else {
            let mut rgb = image.into_rgb8().into_raw();
            rgb.iter_mut().for_each(show);
            rgb
        };
        Self { width, height, rgb }
    }
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat> {
    if bytes.is_empty() {
        return Err(Error::ImageDecode("the file is empty".into()));
    }
    match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Gif)) => Ok(format),
        _ => Err(Error::ImageDecode(match other_format(bytes) {
            Some(name) => format!("it is {name}; PNG, JPEG, WebP and GIF can be read"),
            None => "it is not a PNG, JPEG, WebP or GIF file".into(),
        })),
    }
}

fn decoder_limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    limits
}

fn ends_early() -> Error {
    Error::ImageDecode("the file ends before the picture does".into())
}

/// Looks at the size in a PNG's first chunk: the decoder reads on to the first pixels before it tells.
fn check_png(bytes: &[u8]) -> Result<&[u8]> {
    if bytes.get(12..16) == Some(b"CgBI") {
        let message = "it is a PNG in the form that iOS apps are built with (CgBI); save it as an ordinary PNG";
        return Err(Error::ImageDecode(message.into()));
    }
    if let Some(&[a, b, c, d, e, f, g, h]) = bytes.get(16..24) {
        check_size(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))?;
    }
    Ok(bytes)
}

/// What a PNG's stored values are shown as, where it states a gamma and no profile, as browsers do; none where that changes
/// nothing.
fn png_curve(bytes: &[u8]) -> Option<[u8; 256]> {
    const UNIT: f32 = 100_000.0;
    const ORDINARY: f32 = 45_455.0; // of 2.2, taken for sRGB's own curve
    let mut gamma = None;
    let mut rest = bytes.get(8..)?;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let (name, body) = (rest.get(4..8)?, rest.get(8..)?.get(..length)?);
        match name {
            b"gAMA" => gamma = body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as f32),
            b"sRGB" | b"iCCP" | b"cICP" => return None,
            b"IDAT" => break,
            _ => {}
        }
        rest = rest[8..][length..].get(4..)?; // its checksum
    }
    let gamma = gamma.filter(|&gamma| gamma > 0.0 && (gamma - ORDINARY).abs() > 0.05 * ORDINARY)?;
    Some(std::array::from_fn(|value| {
        let light = (value as f32 / 255.0).powf(UNIT / gamma);
        let shown = if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
        (255.0 * shown).round() as u8
    }))
}

/// The Exif orientation of a PNG, which may also stand behind the pixels, where the decoder does not look.
fn png_orientation(bytes: &[u8]) -> Option<Orientation> {
    let mut rest = bytes.get(8..)?;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let (name, body) = (rest.get(4..8)?, rest.get(8..)?.get(..length)?);
        if name == b"eXIf" {
            return exif_orientation(body);
        }
        rest = rest[8..][length..].get(4..)?; // its checksum
    }
}

/// Some writers put JPEG's heading before the block where it has none.
fn exif_orientation(block: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(block.strip_prefix(b"Exif\0\0").unwrap_or(block))
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
/// image, and the Exif orientation.
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
            orientation = orientation.or(exif_orientation(body));
        }
        rest = rest[8..].get(size.next_multiple_of(2)..).unwrap_or_default(); // some writers omit the last padding byte
    }
    Ok((bytes, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn le_u32(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}
