//! Pictures that cannot be read, in words: which format it is, or which rare form of a known one.

/// The format of a file that is none of ours, with its article; nothing for one that nobody knows.
pub(super) fn other_format(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(4..8) == Some(b"ftyp") {
        return Some(iso_media(bytes));
    }
    let magics: [(&[u8], &str); 27] = [
        (b"BM", "a BMP picture"),
        (b"\0\0\x01\0", "an ICO icon"),
        (b"\0\0\x02\0", "a CUR pointer"),
        (b"icns", "an ICNS icon"),
        (b"II*\0", "a TIFF picture, or a camera's raw file"),
        (b"MM\0*", "a TIFF picture, or a camera's raw file"),
        (b"\xff\x0a", "a JPEG XL picture"),
        (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
        (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
        (b"8BPS", "a Photoshop document"),
        (b"gimp xcf", "a GIMP document"),
        (b"%PDF", "a PDF document"),
        (b"%!PS", "a PostScript document"),
        (b"qoif", "a QOI picture"),
        (b"DDS ", "a DDS texture"),
        (b"\xabKTX", "a KTX texture"),
        (b"v/1\x01", "an OpenEXR picture"),
        (b"#?RADIANCE", "a Radiance HDR picture"),
        (b"farbfeld", "a farbfeld picture"),
        (b"\x1a\x45\xdf\xa3", "a video (WebM, Matroska)"),
        (b"\x1f\x8b", "a file compressed with gzip"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"version https://git-lfs", "a pointer of Git LFS, not the picture itself"),
        (b"<svg", "an SVG drawing"),
        (b"<?xml", "an SVG drawing or another XML text"),
        (b"<!DOCTYPE", "a web page (HTML)"),
    ];
    let found = magics.into_iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, name)| name);
    found.or(match bytes {
        [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace() => Some("a PNM picture"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A' | b'W', ..] if bytes.get(8..12) != Some(b"WEBP") => {
            Some("a sound or a video (WAV, AVI)")
        }
        _ => None,
    })
}

/// The family of AVIF, HEIC and MP4 says what it is in its brands.
fn iso_media(bytes: &[u8]) -> &'static str {
    let length = bytes.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let mut brands = bytes[8..length.clamp(8, bytes.len().min(64))].as_chunks::<4>().0.iter();
    let named = |brand: &[u8; 4]| match brand {
        b"avif" | b"avis" => Some("an AVIF picture"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some("a HEIC picture"),
        b"crx " => Some("a camera's raw file (CR3)"),
        b"jxl " => Some("a JPEG XL picture"),
        _ => None,
    };
    match brands.find_map(named) {
        Some(name) => name,
        None if bytes.get(8..12) == Some(b"mif1") => "a HEIF picture",
        None => "a video (MP4, QuickTime)",
    }
}

/// What is rare about a JPEG that the decoder does not take.
pub(super) fn rare_jpeg(bytes: &[u8]) -> Option<&'static str> {
    let header = frame_header(bytes)?;
    let [kind, precision, components @ ..] = &header[..] else { return None };
    let arithmetic = "it is a JPEG with arithmetic coding, which browsers do not read either";
    match kind {
        0xC9 | 0xCA => return Some(arithmetic),
        0xC3 | 0xCB => return Some("it is a lossless JPEG, such as scanners in hospitals write"),
        0xC5..=0xC7 | 0xCD..=0xCF => return Some("it is a hierarchical JPEG"),
        _ if *precision != 8 => return Some("it is a JPEG of more than 8 bits a colour"),
        _ => {}
    }
    // Behind height and width and the number of components: for each a name, two factors in a byte, a table.
    let factors = components.get(5..)?.chunks_exact(3).map(|component| [component[1] >> 4, component[1] & 15]);
    let is_usual = |factor: u8| matches!(factor, 1 | 2 | 4);
    match factors.flatten().all(is_usual) {
        true => None,
        false => Some("it is a JPEG whose colours are stored at a third of its size (3x1 or 1x3 subsampling)"),
    }
}

/// A JPEG's frame header: the marker's second byte, then what follows the length.
fn frame_header(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes.get(2..)?;
    loop {
        let [0xFF, kind, after @ ..] = rest else {
            rest = rest.get(1..)?;
            continue;
        };
        let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
        match kind {
            0xC0..=0xCF if ![0xC4, 0xC8, 0xCC].contains(kind) => {
                return Some([&[*kind][..], after.get(2..length)?].concat());
            }
            0xC4 | 0xC8 | 0xCC | 0xD9..=0xFE => rest = after.get(length..)?,
            _ => rest = after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_called_by_their_names() {
        let cases: [(&[u8], &str); 8] = [
            (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf", "AVIF"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIC"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1miafMiHE", "HEIF"),
            (b"\0\0\0\x18ftypisom\0\0\0\0isom", "MP4"),
            (b"BM\x8a\xc0", "BMP"),
            (b"P6\n3 3", "PNM"),
            (b"RIFF\0\0\0\0WAVE", "WAV"),
            (b"\0\0\x01\0\x01\0", "ICO"),
        ];
        for (bytes, name) in cases {
            assert!(other_format(bytes).is_some_and(|found| found.contains(name)), "{name}");
        }
        for length in 0..40 {
            other_format(&b"\xff\xff\xff\xffftypmif1\0\0\0\0mif1heicmiaf and more and more"[..length]);
        }
        assert_eq!(other_format(b"RIFF\0\0\0\0WEBP"), None);
    }

    #[test]
    fn rare_jpegs_are_called_by_what_they_are() {
        let frame = |kind: u8, precision: u8, factors: u8| {
            let sizes = [0, 8, 0, 8, 1, 1, factors, 0];
            [&[0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 0, 0, 0xFF, kind, 0, 11, precision][..], &sizes, &[0xFF, 0xD9]].concat()
        };
        assert_eq!(rare_jpeg(&frame(0xC0, 8, 0x22)), None);
        for (kind, precision, factors, word) in [
            (0xC9, 8, 0x11, "arithmetic"),
            (0xCA, 8, 0x11, "arithmetic"),
            (0xC3, 8, 0x11, "lossless"),
            (0xC1, 12, 0x11, "8 bits"),
            (0xC0, 8, 0x31, "third"),
        ] {
            let whole = frame(kind, precision, factors);
            assert!(rare_jpeg(&whole).is_some_and(|found| found.contains(word)), "{word}");
            for length in 0..whole.len() {
                rare_jpeg(&whole[..length]);
            }
        }
    }
}
