//! The GGUF reader: what it reads, and that nothing in a broken or hostile file makes it panic.
#![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

mod file_quants;
mod kinds;

use burn::tensor::Device;
use proptest::prelude::*;
use setokim::Error;
use setokim::formats::blocks::{WeightKind, dequantize};
use setokim::formats::gguf::{Gguf, Value};
use setokim::kernels::quant_matmul::Activations;
use setokim::model::llm::Llama;
use setokim::text::Tokenizer;

const TINY: &[u8] = include_bytes!("../fixtures/tiny.gguf");

/// Writes the parts of a file one after another.
#[derive(Default)]
struct File(Vec<u8>);

impl File {
    fn header(version: u32, tensors: u64, metadata: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(tensors).u64(metadata)
    }

    fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn string(self, text: &[u8]) -> Self {
        let mut file = self.u64(text.len() as u64);
        file.0.extend(text);
        file
    }

    fn key(self, name: &str, value_type: u32) -> Self {
        self.string(name.as_bytes()).u32(value_type)
    }

    fn tensor(self, name: &str, dims: &[u64], ggml_type: u32, offset: u64) -> Self {
        let file = self.string(name.as_bytes()).u32(dims.len() as u32);
        dims.iter().fold(file, |file, dim| file.u64(*dim)).u32(ggml_type).u64(offset)
    }

    /// Fills up to the alignment and adds `count` bytes of values.
    fn data(mut self, count: usize) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(32) + count, 0x11);
        self.0
    }
}

fn refused(bytes: &[u8]) -> Error {
    Gguf::parse(bytes).expect_err("a broken file was read")
}

#[track_caller]
fn assert_refused(bytes: &[u8], reason: &str) {
    let message = refused(bytes).to_string();
    assert!(message.contains(reason), "expected a message with `{reason}`, got: {message}");
}

#[test]
fn reads_metadata_and_tensors() {
    let gguf = Gguf::parse(TINY).unwrap();
    assert_eq!(gguf.metadata()["general.architecture"], Value::String("llama".into()));
    assert_eq!(gguf.size("llama.block_count").unwrap(), 2);
    assert_eq!(gguf.optional_size("llama.no_such_key").unwrap(), None);
    assert_eq!(gguf.strings("tokenizer.ggml.tokens").unwrap()[..2], ["<|endoftext|>", "<|im_start|>"]);
    assert_eq!(gguf.optional_bool("tokenizer.ggml.add_bos_token").unwrap(), Some(false));

    let down = &gguf.tensors()["blk.0.ffn_down.weight"];
    assert_eq!(down.shape, [64, 96], "outermost first");
    let mut kinds: Vec<&str> = gguf.tensors().values().map(|info| info.kind.name()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["BF16", "F16", "F32", "Q4_0", "Q4_1", "Q8_0"], "the fixture has every kind");
    let raw = gguf.tensor("blk.0.ffn_down.weight").unwrap();
    assert_eq!(raw.to_f32().len(), 64 * 96);
    assert_eq!(gguf.tensor("blk.9.ffn_down.weight").unwrap_err().code(), "tensor-missing");
}

#[test]
fn blocks_mean_what_ggml_says() {
    // 1.5 is 0x3e00 and -0.25 is 0xb400 as f16; bytes are little endian.
    let nibbles: Vec<u8> = (0..16).map(|i| i | ((15 - i) << 4)).collect();
    let q4_0 = dequantize(WeightKind::Q4_0, &[&[0x00, 0x3e], nibbles.as_slice()].concat());
    let q4_1 = dequantize(WeightKind::Q4_1, &[&[0x00, 0x3e, 0x00, 0xb4], nibbles.as_slice()].concat());
    let quants: Vec<i8> = (-16..16).map(|i| i * 8).collect();
    let q8_0 = dequantize(WeightKind::Q8_0, &[&[0x00, 0x3e], bytemuck::cast_slice(&quants)].concat());
    for i in 0..32 {
        let nibble = if i < 16 { i } else { 31 - i } as f32;
        assert_eq!(q4_0[i], 1.5 * (nibble - 8.0));
        assert_eq!(q4_1[i], 1.5 * nibble - 0.25);
        assert_eq!(q8_0[i], 1.5 * f32::from(quants[i]));
    }
    assert_eq!(dequantize(WeightKind::F16, &[0x00, 0x3e, 0x01, 0x00]), [1.5, 2.0_f32.powi(-24)]);
    assert_eq!(dequantize(WeightKind::BF16, &[0xc0, 0xbf]), [-1.5]);
    assert_eq!(dequantize(WeightKind::F32, &0.1_f32.to_le_bytes()), [0.1]);
}

#[test]
fn every_shorter_file_is_refused() {
    for len in 0..TINY.len() {
        assert!(Gguf::parse(&TINY[..len]).is_err(), "the first {len} bytes were read as a whole file");
    }
}

#[test]
fn another_kind_of_file_is_refused() {
    assert_refused(b"", "ends early");
    assert_refused(b"GGML\x01\0\0\0", "before GGUF");
    assert_refused(b"GGLM\x01\0\0\0", "does not begin with");
    assert_refused(&File::header(1, 0, 0).0, "version 1");
    assert_refused(&File::header(3_u32.swap_bytes(), 0, 0).0, "little endian");
}

#[test]
fn false_counts_are_refused_without_memory_for_them() {
    assert_refused(&File::header(3, u64::MAX, 0).data(64), "more than 65536");
    assert_refused(&File::header(3, 0, u64::MAX).data(0), "more than 65536");
    assert_refused(&File::header(3, 0, 65_536).data(0), "ends early");
    assert_refused(&File::header(3, 0, 1).u64(u64::MAX).data(0), "");
    let array = |count| File::header(3, 0, 1).key("a", 9).u32(0).u64(count).data(0);
    assert_refused(&array(u64::MAX), "values");
    assert_refused(&array(setokim::limits::MAX_GGUF_VALUES), "ends early");
    let nested = (0..100_000).fold(File::header(3, 0, 1).key("a", 9), |file, _| file.u32(9).u64(1));
    assert_refused(&nested.0, "nested too deeply");
}

#[test]
fn broken_metadata_is_refused() {
    assert_refused(&File::header(3, 0, 1).key("a", 13).data(8), "unknown metadata type 13");
    assert_refused(&File::header(3, 0, 1).key("a", 7).data(8), "a bool is");
    assert_refused(&File::header(3, 0, 1).string(b"\xff\xfe").u32(4).data(8), "not UTF-8"); // a name
    assert_refused(&File::header(3, 0, 2).key("a", 4).u32(1).key("a", 4).u32(1).0, "comes twice");
    assert_refused(&File::header(3, 0, 1).key("general.alignment", 4).u32(0).0, "alignment");
    let huge = File::header(3, 1, 1).key("general.alignment", 10).u64(u64::MAX - 7).tensor("t", &[1], 0, 0);
    assert_refused(&huge.data(4), "past the end");
}

#[test]
fn broken_tensors_are_refused() {
    let read = File::header(3, 1, 0).tensor("t", &[32, 2], 2, 0).data(36);
    assert_eq!(Gguf::parse(&read).unwrap().tensors()["t"].shape, [2, 32]);

    let error = refused(&File::header(3, 1, 0).tensor("t", &[256, 2], 16, 0).data(1000));
    assert_eq!(error.code(), "tensor-type", "{error}");
    assert_refused(&File::header(3, 1, 0).tensor("t", &[32, 2], 2, 0).data(35), "past the end");
    assert_refused(&File::header(3, 1, 0).tensor("t", &[32, 2], 2, 32).data(36), "past the end");
    assert_refused(&File::header(3, 1, 0).tensor("t", &[32, 2], 2, u64::MAX).data(36), "past the end");
    assert_refused(&File::header(3, 1, 0).tensor("t", &[33, 2], 2, 0).data(99), "blocks");
    assert_refused(&File::header(3, 1, 0).tensor("t", &[1 << 40, 1 << 40], 0, 0).data(99), "blocks");
    assert_refused(&File::header(3, 1, 0).tensor("t", &[2, 2, 2, 2, 2], 0, 0).data(999), "5 dimensions");
    assert_refused(&File::header(3, 1, 0).tensor("t", &[], 0, 0).data(99), "0 dimensions");
    // Its rows would be put in order one by one.
    assert_refused(&File::header(3, 1, 0).tensor("blk.0.attn_q.weight", &[0, 1 << 60], 0, 0).data(99), "no values");
    let twice = File::header(3, 2, 0).tensor("t", &[1], 0, 0).tensor("t", &[1], 0, 0).data(99);
    assert_refused(&twice, "comes twice");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever bytes are changed, loading ends with a model whose parts fit each other, or an error.
    #[test]
    fn changed_bytes_give_what_fits_or_an_error(changes in prop::collection::vec((0..14_000_usize, any::<u8>()), 1..6)) {
        let mut bytes = TINY.to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Ok(gguf) = Gguf::parse(&bytes) {
            if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
                let ids = tokenizer.encode("It's 2024").unwrap_or_default();
                prop_assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()), "{ids:?}");
            }
            if let Ok(model) = Llama::from_gguf(&gguf, Activations::Exact, &Device::flex()) {
                prop_assert_eq!(model.embed(&[0]).unwrap().dims(), [1, model.config().hidden_size]);
            }
        }
    }
}
