//! Types that only files have, against the `gguf` package (`training/fixtures/file_quants.py`).

use safetensors::SafeTensors;
use setokim::formats::blocks::{BLOCK, dequantize};
use setokim::formats::file_quants::FileQuant;
use setokim::formats::gguf::Gguf;
use setokim::formats::safetensors::read_safetensors_f32;

use super::File;

const FIXTURE: &[u8] = include_bytes!("../../fixtures/file_quants.safetensors");
/// Half of the last bit of an f16.
const HALF_A_BIT: f32 = 1.0 / 2048.0;

fn blocks(kind: FileQuant) -> Vec<u8> {
    SafeTensors::deserialize(FIXTURE).unwrap().tensor(kind.name()).unwrap().data().to_vec()
}

fn weights(kind: FileQuant) -> Vec<f32> {
    read_safetensors_f32(FIXTURE, &format!("{}.weights", kind.name())).unwrap().1
}

#[test]
fn blocks_mean_what_ggml_says() {
    for kind in FileQuant::ALL {
        let (ours, theirs) = (kind.dequantize(&blocks(kind)), weights(kind));
        assert_eq!(ours.len(), theirs.len(), "{}", kind.name());
        for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            // The order of two products of f32 may differ.
            assert!((ours - theirs).abs() <= 1e-6 * theirs.abs().max(1.0), "{} {i}: {ours} {theirs}", kind.name());
        }
    }
}

/// Errors that [`FileQuant::kind`] promises.
#[test]
fn packed_again_they_mean_nearly_the_same() {
    for kind in FileQuant::ALL {
        let (exact, packed) = (weights(kind), dequantize(kind.kind(), &kind.repack(&blocks(kind))));
        assert_eq!(exact.len(), packed.len());
        for (exact, packed) in exact.chunks(BLOCK).zip(packed.chunks(BLOCK)) {
            let largest = exact.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
            let bound = match kind {
                FileQuant::Q5_0 | FileQuant::IQ4_NL => 1e-6 * largest,
                // Scale and smallest value are rounded, and either may be larger than their sum.
                FileQuant::Q4_K => {
                    let span =
                        exact.iter().fold(f32::MIN, |a, &b| a.max(b)) - exact.iter().fold(f32::MAX, |a, &b| a.min(b));
                    HALF_A_BIT * (2.0 * span + 2.0 * largest)
                }
                _ => largest * (0.5 / 127.0 + HALF_A_BIT),
            };
            for (exact, packed) in exact.iter().zip(packed) {
                assert!((exact - packed).abs() <= bound, "{}: {exact} {packed} {bound}", kind.name());
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for kind in FileQuant::ALL {
        let mut blocks = blocks(kind);
        let at = match kind {
            FileQuant::Q2_K => 80,
            FileQuant::Q3_K => 108,
            FileQuant::Q6_K => 208,
            _ => 0,
        };
        blocks[at..at + 2].copy_from_slice(&[0x00, 0x7e]); // NaN
        let packed = dequantize(kind.kind(), &kind.repack(&blocks));
        assert!(packed[..kind.block_len()].iter().all(|weight| weight.is_nan()), "{}", kind.name());
        assert!(packed[kind.block_len()..].iter().all(|weight| weight.is_finite()), "{}", kind.name());
    }
}

/// Numbers of ggml, not ours: `enum ggml_type`.
#[test]
fn a_file_of_them_is_read() {
    for (number, kind) in [(6, FileQuant::Q5_0), (12, FileQuant::Q4_K), (14, FileQuant::Q6_K), (23, FileQuant::IQ4_XS)]
    {
        let blocks = blocks(kind);
        let rows = (blocks.len() / kind.block_bytes()) as u64;
        let header = File::header(3, 1, 0).tensor("a", &[kind.block_len() as u64, rows], number, 0);
        let mut file = header.data(0);
        file.extend(&blocks);
        let gguf = Gguf::parse(&file).unwrap();
        let (info, tensor) = (&gguf.tensors()["a"], gguf.tensor("a").unwrap());
        assert_eq!((info.kind, info.packed), (kind.kind(), Some(kind)));
        assert_eq!(tensor.shape, [rows as usize, kind.block_len()]);
        assert_eq!(tensor.bytes, kind.repack(&blocks));
        assert!(Gguf::parse(&file[..file.len() - 1]).is_err(), "a byte is missing");
    }
}
