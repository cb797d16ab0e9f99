//! Hostile input to everything that reads what comes from outside: a right answer or a typed error, never a panic, a hang
//! or memory without bound. What once failed is saved in `tests/fuzz.regressions` and tried first.
//!
//! An ordinary run takes seconds; `PROPTEST_CASES=20000 cargo test --test fuzz` looks longer.
#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

mod common;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};
use setokim::convert::{Precision, Precisions, SHARD_BYTES, SourceOptions, open_source, write_bundle};
use setokim::formats::gguf::Gguf;
use setokim::formats::manifest::Manifest;
use setokim::image::Image;
use setokim::image::preprocess::{Normalisation, ResizeMode, preprocess};
use setokim::kernels::quant_matmul::Activations;
use setokim::limits;
use setokim::model::answer::AnswerOptions;
use setokim::model::config::SetokimConfig;
use setokim::model::encoded_image::EncodedImage;
use setokim::model::language::Position;
use setokim::model::llm::{Llama, LlamaConfig};
use setokim::model::setokim::Setokim;
use setokim::model::shard_loader::ShardLoader;
use setokim::nn::tensor_store::TensorStore;
use setokim::runtime::device::{DeviceKind, DeviceReport, OpenDevice};
use setokim::text::template::names;
use setokim::text::{ChatTemplate, Message, Part, PromptPiece, Role, Tokenizer};

const CONFIG: &str = include_str!("fixtures/tiny-setokim/config.json");
const MANIFEST: &str = include_str!("fixtures/tiny-setokim/manifest.json");
const SHARD: &[u8] = include_bytes!("fixtures/tiny-setokim/setok-00001-of-00001.safetensors");
const TOKENIZER: &[u8] = include_bytes!("fixtures/tiny-setokim/tokenizer.json");
const SHIPPED_TOKENIZER: &[u8] = include_bytes!("../models/setokim-tiny/tokenizer.json");
const SIGLIP: &str = include_str!("fixtures/siglip-tiny/config.json");
const SIGLIP_SHARD: &[u8] = include_bytes!("fixtures/siglip-tiny/model.safetensors");
const CHECKPOINT: &[u8] = include_bytes!("fixtures/tiny_checkpoint.pt");
const GGUF: &[u8] = include_bytes!("fixtures/tiny.gguf");

/// `cases` in an ordinary run, more where the environment asks for it.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/fuzz.regressions"))),
        ..ProptestConfig::default()
    }
}

// --- damage

/// One thing that goes wrong with a file.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    /// Eight bytes at once: lengths and offsets are numbers.
    Number(Index, u64),
    Cut(Index),
    Insert(Index, Vec<u8>),
    /// A piece of the file, once more at another place.
    Repeat(Index, Index, Index),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..64,
        Just(u64::MAX),
        Just(1 << 63),
        Just(u64::from(u32::MAX)),
        Just(1 << 31),
        Just((1 << 32) + 1),
    ]
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let one = prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (any::<Index>(), number()).prop_map(|(at, number)| Damage::Number(at, number)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, more)| Damage::Insert(at, more)),
        1 => any::<(Index, Index, Index)>().prop_map(|(from, to, at)| Damage::Repeat(from, to, at)),
    ];
    prop::collection::vec(one, 1..5)
}

/// `within` is the part of the file in which the damage lies: its header, mostly.
fn damaged(file: &[u8], within: usize, damage: Vec<Damage>) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for one in damage {
        if bytes.is_empty() {
            break;
        }
        let within = within.min(bytes.len());
        match one {
            Damage::Set(at, byte) => bytes[at.index(within)] = byte,
            Damage::Number(at, number) => {
                let at = at.index(within);
                let number = number.to_le_bytes();
                let room = number.len().min(bytes.len() - at);
                bytes[at..at + room].copy_from_slice(&number[..room]);
            }
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Insert(at, more) => {
                let at = at.index(within);
                bytes.splice(at..at, more);
            }
            Damage::Repeat(from, to, at) => {
                let (from, to) = (from.index(within), to.index(within));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                let at = at.index(within);
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// What may stand anywhere in a JSON file.
fn any_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![Just(-1.0), Just(0.0), Just(1e308), Just(-1e-308), Just(0.5)].prop_map(|number| json!(number)),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["[SEG]", "<keep_3>", "(a+)+$", "[", "\u{0}", "Ġ", ""]).prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[[[1]]]]])),
    ]
}

/// The places of a JSON tree.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Array(items) => {
            // Long lists are alike throughout.
            items.iter().enumerate().take(12).for_each(|(at, item)| places(item, &format!("{here}/{at}"), found));
        }
        Value::Object(items) => items.iter().take(40).for_each(|(key, item)| {
            places(item, &format!("{here}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }),
        _ => {}
    }
}

fn changed(text: &[u8], changes: Vec<(Index, Value)>) -> String {
    let mut value: Value = serde_json::from_slice(text).unwrap();
    for (at, new) in changes {
        let mut found = Vec::new();
        places(&value, "", &mut found);
        *value.pointer_mut(at.get(found.as_slice()).as_str()).unwrap() = new;
    }
    value.to_string()
}

/// Steps of a `tokenizer.json`, known ones and others, with settings that make sense and with some that do not.
fn any_step() -> impl Strategy<Value = (&'static str, Value)> {
    let text = || prop::sample::select(vec!["", "a", " ", "\\s+", "(a+)+$", "[", "(?=.)", "Ġ", "\u{0}"]);
    let number = prop::sample::select(vec![0_u64, 1, 5, u64::MAX]);
    let normalizer = (text(), text(), any::<bool>(), 0..6).prop_map(|(pattern, content, flag, which)| match which {
        0 => json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content}),
        1 => json!({"type": "Replace", "pattern": {"String": pattern}, "content": content}),
        2 => json!({"type": "Strip", "strip_left": flag, "strip_right": true}),
        3 => json!({"type": "Prepend", "prepend": content}),
        4 => json!({"type": "NFKC"}),
        _ => json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
    });
    let behaviours = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"];
    let behaviour = prop::sample::select(behaviours.to_vec());
    let cut =
        (text(), behaviour, any::<bool>(), number, 0..5).prop_map(
            |(pattern, behavior, flag, length, which)| match which {
                0 => json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": flag}),
                1 => json!({"type": "Digits", "individual_digits": flag}),
                2 => json!({"type": "Punctuation", "behavior": behavior}),
                3 => json!({"type": "FixedLength", "length": length}),
                _ => json!({"type": "ByteLevel", "add_prefix_space": flag, "trim_offsets": true, "use_regex": flag}),
            },
        );
    let several = |key: &'static str, inner: &'static str, step: BoxedStrategy<Value>| {
        prop::collection::vec(step, 1..4).prop_map(move |steps| (key, json!({"type": "Sequence", inner: steps})))
    };
    prop_oneof![
        several("normalizer", "normalizers", normalizer.boxed()),
        several("pre_tokenizer", "pretokenizers", cut.boxed()),
        any_json().prop_map(|step| ("post_processor", step)),
    ]
}

fn changes() -> impl Strategy<Value = Vec<(Index, Value)>> {
    prop::collection::vec((any::<Index>(), any_json()), 1..4)
}

// --- models

fn cpu() -> OpenDevice {
    let report = DeviceReport { device: DeviceKind::Cpu, reason: String::new(), adapter: None, self_test: None };
    OpenDevice { device: Device::flex(), report }
}

fn store() -> TensorStore {
    let mut store = TensorStore::new(&Device::flex());
    store.add_shard("tiny", SHARD.to_vec()).unwrap();
    store
}

fn tiny_tokenizer() -> Tokenizer {
    Tokenizer::from_json(TOKENIZER).unwrap()
}

fn model() -> Setokim {
    let config = SetokimConfig::from_json(CONFIG).unwrap();
    Setokim::load_with_text(config, store(), tiny_tokenizer(), cpu()).unwrap()
}

fn now<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn image(width: u32, height: u32) -> Image {
    let rgb = (0..width * height * 3).map(|at| (at * 7 % 251) as u8).collect();
    Image::from_rgb(rgb, width, height).unwrap()
}

// --- what a person types

/// Every control token of a vocabulary that a template can place, as text.
fn spelled_out() -> Vec<String> {
    let fixed = [
        names::BEGIN,
        names::USER,
        names::ASSISTANT,
        names::END,
        names::IMAGE,
        names::IMAGE_END,
        names::VISUAL,
        names::SEGMENT,
        "<pad>",
        "<|im_start|>",
        "<|im_end|>",
    ];
    fixed.iter().map(ToString::to_string).chain((0..16).map(names::keep)).collect()
}

/// Text with control tokens in it, whole and in pieces, among anything else.
fn check_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => prop::sample::select(spelled_out()),
        1 => prop::sample::select(vec!["<", ">", "[", "]", "/", "<keep_", "Img", "SEG", "\u{200b}", "<<user>>", " ", "\n", "\u{feff}"])
            .prop_map(str::to_owned),
        1 => ".{0,8}",
        1 => "[a-z ]{0,12}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn controls(tokenizer: &Tokenizer) -> Vec<u32> {
    spelled_out().iter().filter_map(|name| tokenizer.control(name).ok()).collect()
}

fn any_part() -> impl Strategy<Value = Part> {
    prop_oneof![4 => check_text().prop_map(Part::Text), 1 => Just(Part::Image), 1 => Just(Part::Mask)]
}

fn any_message() -> impl Strategy<Value = Message> {
    let role = prop::sample::select(vec![Role::User, Role::User, Role::Assistant, Role::System]);
    (role, prop::collection::vec(any_part(), 0..4)).prop_map(|(role, parts)| Message { role, parts })
}

const CODES: [&str; 6] =
    ["prompt-invalid", "context-overflow", "setting-invalid", "unsupported", "tokenizer-invalid", "aborted"];

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn images(name in prop::sample::select(vec!["orientation-6.jpg", "progressive.jpg", "cmyk.jpg", "noise.png", "palette.png", "two-frames.gif", "lossy.webp", "lossless.webp"]), damage in damage(), mode in prop::sample::select(vec![ResizeMode::Squash, ResizeMode::Crop, ResizeMode::Pad])) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures").join(name);
        let file = std::fs::read(path).unwrap();
        match Image::decode(&damaged(&file, file.len(), damage)) {
            Ok(image) => {
                let square = preprocess(&image, 32, mode, &Normalisation::default()).unwrap();
                prop_assert_eq!(square.pixels.len(), 3 * 32 * 32);
            }
            Err(error) => prop_assert!(error.code().starts_with("image-"), "{}", error),
        }
    }

    #[test]
    fn shards(damage in damage(), is_header in any::<bool>()) {
        let header = 8 + u64::from_le_bytes(SHARD[..8].try_into().unwrap()) as usize;
        let bytes = damaged(SHARD, if is_header { header } else { SHARD.len() }, damage);
        let mut store = TensorStore::new(&Device::flex());
        if let Err(error) = store.add_shard("fuzz", bytes.clone()) {
            prop_assert_eq!(error.code(), "shard-corrupt");
            prop_assert_eq!(store.leftover().count(), 0, "a refused file leaves the store as it was");
        }
        // With its hash, nothing but the whole file is taken.
        let manifest = Manifest::parse(MANIFEST).unwrap();
        let mut loader = ShardLoader::new(&manifest, TensorStore::new(&Device::flex()));
        let is_whole = bytes == SHARD;
        prop_assert_eq!(loader.add("setok-00001-of-00001.safetensors", bytes).is_ok(), is_whole);
    }

    #[test]
    fn manifests(changes in changes()) {
        match Manifest::parse(&changed(MANIFEST.as_bytes(), changes)) {
            Ok(manifest) => prop_assert!(manifest.files.iter().all(|file| file.sha256.len() == 64 && !file.name.contains('/'))),
            Err(error) => prop_assert_eq!(error.code(), "manifest-invalid"),
        }
    }

    #[test]
    fn ggufs(damage in damage()) {
        let bytes = damaged(GGUF, 14_000, damage);
        match Gguf::parse(&bytes) {
            Ok(gguf) => {
                let _ = LlamaConfig::from_gguf(&gguf);
                if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
                    let _ = tokenizer.encode("The capital of France is <|im_end|>");
                }
                let _ = Llama::from_gguf(&gguf, Activations::default(), &Device::flex());
            }
            Err(error) => {
                prop_assert!(["gguf-invalid", "tensor-type", "unsupported"].contains(&error.code()), "{}", error);
            }
        }
    }

    #[test]
    fn tokenizers(step in any_step(), changes in prop::collection::vec((any::<Index>(), any_json()), 0..3), text in check_text()) {
        let mut json: Value = serde_json::from_slice(TOKENIZER).unwrap();
        json[step.0] = step.1;
        match Tokenizer::from_json(changed(json.to_string().as_bytes(), changes).as_bytes()) {
            Ok(tokenizer) => {
                let controls = controls(&tokenizer);
                match tokenizer.encode(&text) {
                    Ok(ids) => prop_assert!(ids.iter().all(|id| !controls.contains(id)), "{:?}", ids),
                    Err(error) => prop_assert_eq!(error.code(), "tokenizer-invalid"),
                }
            }
            Err(error) => prop_assert!(["tokenizer-invalid", "unsupported"].contains(&error.code()), "{}", error),
        }
    }

    #[test]
    fn configs(is_tower in any::<bool>(), changes in changes()) {
        let (text, shard) = if is_tower { (SIGLIP, SIGLIP_SHARD) } else { (CONFIG, SHARD) };
        let config = match SetokimConfig::from_json(&changed(text.as_bytes(), changes)) {
            Ok(config) => config,
            Err(error) => {
                let codes = ["config-invalid", "clustering-invalid", "unsupported"];
                prop_assert!(codes.contains(&error.code()), "{}", error);
                return Ok(());
            }
        };
        let mut store = TensorStore::new(&Device::flex());
        store.add_shard("tiny", shard.to_vec()).unwrap();
        let loaded = match is_tower {
            true => Setokim::load(config, store, cpu()),
            false => Setokim::load_with_text(config, store, tiny_tokenizer(), cpu()),
        };
        match loaded {
            Ok(model) => {
                // What loads also runs; weights of another meaning may give no numbers, and that is said.
                if let Err(error) = now(model.tokenize(&image(9, 7))) {
                    prop_assert!(["not-finite", "clustering-invalid", "config-invalid"].contains(&error.code()), "{}", error);
                }
            }
            Err(error) => prop_assert!(
                ["config-invalid", "tensor-missing", "tensor-shape", "tokenizer-invalid", "unsupported", "not-finite"].contains(&error.code()),
                "{}: {}", error.code(), error
            ),
        }
    }

    /// What `setokim convert` reads: a checkpoint, a folder, a tower with a language model.
    #[test]
    fn sources(which in 0..3, damage in damage(), is_header in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        let tokenizer = Some(TOKENIZER.to_vec());
        let header = 8 + u64::from_le_bytes(SHARD[..8].try_into().unwrap()) as usize;
        let (source, options) = match which {
            0 => {
                write("checkpoint.pt", &damaged(CHECKPOINT, CHECKPOINT.len(), damage));
                (folder.path().join("checkpoint.pt"), SourceOptions { tokenizer, ..SourceOptions::default() })
            }
            1 => {
                write("config.json", CONFIG.as_bytes());
                write("model.safetensors", &damaged(SHARD, if is_header { header } else { SHARD.len() }, damage));
                (folder.path().to_owned(), SourceOptions { tokenizer, ..SourceOptions::default() })
            }
            _ => {
                write("config.json", SIGLIP.as_bytes());
                write("model.safetensors", SIGLIP_SHARD);
                write("language.gguf", &damaged(GGUF, 14_000, damage));
                let language = Some(folder.path().join("language.gguf"));
                (folder.path().to_owned(), SourceOptions { language, ..SourceOptions::default() })
            }
        };
        let bundle = folder.path().join("bundle");
        let written = open_source(&source, options)
            .and_then(|draft| write_bundle(&draft, &Precisions::all(Precision::Q8), SHARD_BYTES, &bundle));
        if let Err(error) = written {
            let codes = [
                "shard-corrupt", "convert-unsupported", "config-invalid", "gguf-invalid", "tokenizer-invalid", "tensor-missing",
                "tensor-type", "tensor-shape", "not-finite", "setting-invalid", "unsupported",
            ];
            prop_assert!(codes.contains(&error.code()), "{}: {}", error.code(), error);
        }
    }

    #[test]
    fn control_tokens_that_are_typed_stay_text(text in check_text()) {
        let tokenizer = tiny_tokenizer();
        let ids = tokenizer.encode(&text).unwrap();
        let controls = controls(&tokenizer);
        prop_assert!(ids.iter().all(|id| !controls.contains(id)), "{:?} became {:?}", text, ids);
        prop_assert_eq!(tokenizer.decode(&ids), text.as_str(), "this vocabulary normalises nothing");

        let shipped = Tokenizer::from_json(SHIPPED_TOKENIZER).unwrap();
        let ids = shipped.encode(&text).unwrap();
        let controls = self::controls(&shipped);
        prop_assert!(controls.len() > 20);
        prop_assert!(ids.iter().all(|id| !controls.contains(id)), "{:?} became {:?}", text, ids);
    }

    /// Only the template's own control tokens are in a prompt, however many are typed.
    #[test]
    fn a_template_has_as_many_control_tokens_as_it_has_turns(texts in prop::collection::vec(check_text(), 1..5)) {
        let tokenizer = tiny_tokenizer();
        let messages: Vec<Message> = texts.iter().map(|text| Message::text(Role::User, text)).collect();
        let pieces = ChatTemplate::Setokim.encode(&tokenizer, &messages).unwrap();
        let controls = controls(&tokenizer);
        let placed = pieces.iter().map(|piece| match piece {
            PromptPiece::Ids(ids) => ids.iter().filter(|id| controls.contains(id)).count(),
            PromptPiece::Image(_) => 0,
        });
        prop_assert_eq!(placed.sum::<usize>(), 2 + 2 * texts.len(), "<bos>, <user> and <end> of each, <assistant>");
    }

    #[test]
    fn chats(messages in prop::collection::vec(any_message(), 0..4), images in 0_usize..3, max_tokens in prop::sample::select(vec![0, 1, 3, usize::MAX])) {
        let model = model();
        let encoded = now(model.encode_image(&image(5, 4))).unwrap();
        let images: Vec<&EncodedImage> = vec![&encoded; images];
        let places = messages.iter().flat_map(|message| &message.parts).filter(|part| **part == Part::Image).count();
        if let Ok(turns) = model.language().unwrap().turns(&messages, &images) {
            prop_assert_eq!(places, images.len());
            let visual = turns.concat().iter().filter(|position| matches!(position, Position::Visual { .. })).count();
            prop_assert_eq!(visual, images.len() * encoded.tokens.len());
        }
        // An answer without end is cut by a stop string that soon comes.
        let stop = if max_tokens > 9 { vec!["e".into(), "a".into(), " ".into()] } else { Vec::new() };
        let options = AnswerOptions { max_tokens, stop, ..AnswerOptions::default() };
        match now(model.chat(&messages, &images, &options, &AtomicBool::new(false), async |_| ())) {
            Ok(answer) => prop_assert!(answer.usage.answer_tokens <= max_tokens),
            Err(error) => prop_assert!(CODES.contains(&error.code()), "{}: {}", error.code(), error),
        }
    }
}

// --- limits, each at its edge

#[test]
fn the_table_of_limits_says_what_the_code_does() {
    let table = include_str!("../docs/limits.md");
    let mebibytes = |bytes: usize| format!("{} MiB", bytes >> 20);
    let limits = [
        ("file of a picture", mebibytes(limits::MAX_IMAGE_BYTES)),
        ("pixels of a picture", format!("{} megapixels", limits::MAX_MEGAPIXELS)),
        ("memory of a picture's decoder", mebibytes(limits::MAX_DECODER_BYTES as usize)),
        ("side of the encoder's square", format!("{} pixels", limits::MAX_SQUARE_SIZE)),
        ("patches of a picture", limits::MAX_PATCHES.to_string()),
        ("refusals that a model names", limits::MAX_REFUSALS.to_string()),
        ("clusters of a picture", limits::MAX_CENTERS.to_string()),
        ("neighbours of a patch", limits::MAX_NEIGHBORS.to_string()),
        ("`config.json`, `manifest.json`", mebibytes(limits::MAX_TEXT_BYTES)),
        ("files of a model", limits::MAX_FILES.to_string()),
        ("one file of a model", mebibytes(limits::MAX_FILE_BYTES as usize)),
        ("header of a safetensors file", mebibytes(limits::MAX_HEADER_BYTES as usize)),
        ("tensors of a safetensors file", limits::MAX_TENSORS.to_string()),
        ("tensors, metadata keys of a GGUF file", limits::MAX_GGUF_ENTRIES.to_string()),
        ("values in a GGUF file's metadata arrays", limits::MAX_GGUF_VALUES.to_string()),
        ("`tokenizer.json`", mebibytes(limits::MAX_TOKENIZER_BYTES)),
        ("growth of a text by the steps of a `tokenizer.json`", format!("{} times", limits::MAX_TEXT_GROWTH)),
        ("ids of a vocabulary", limits::MAX_VOCABULARY.to_string()),
        ("text of a request", mebibytes(limits::MAX_REQUEST_BYTES)),
        ("pictures of a request", limits::MAX_IMAGES.to_string()),
    ];
    for (what, limit) in limits {
        let row = format!("| {what} | {limit}");
        assert!(table.contains(&row), "docs/limits.md has no row that begins `{row}`");
    }
}

#[test]
fn a_token_far_away_takes_no_memory() {
    let mut json: Value = serde_json::from_slice(TOKENIZER).unwrap();
    json["model"]["vocab"]["far"] = json!(4_000_000_000_u32);
    let error = Tokenizer::from_json(json.to_string().as_bytes()).err().unwrap();
    assert_eq!(error.code(), "tokenizer-invalid");
    assert!(error.to_string().contains("4000000000"), "{error}");
}

#[test]
fn a_tokenizer_that_is_not_plain_is_refused() {
    for (key, value, code) in [
        ("continuing_subword_prefix", json!("##long##"), "unsupported"),
        ("end_of_word_suffix", json!("</w>"), "unsupported"),
        ("dropout", json!(0.1), "tokenizer-invalid"),
    ] {
        let mut json: Value = serde_json::from_slice(TOKENIZER).unwrap();
        json["model"][key] = value;
        let error = Tokenizer::from_json(json.to_string().as_bytes()).err().unwrap();
        assert_eq!(error.code(), code, "{key}");
    }
}

/// Steps that other kinds of tokenizers have, with settings that `tokenizers` 0.22 believes. The table claims 4 GiB.
#[test]
fn a_step_that_byte_level_bpe_does_not_have_is_refused() {
    for (key, step) in [
        ("model", json!({"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0})),
        ("decoder", json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})),
        ("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
        ("pre_tokenizer", json!({"type": "Sequence", "pretokenizers": [{"type": "FixedLength", "length": 0}]})),
        ("normalizer", json!({"precompiled_charsmap": "/////w=="})),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="})),
        ("model", json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "b"})),
    ] {
        let mut json: Value = serde_json::from_slice(TOKENIZER).unwrap();
        json[key] = step;
        let error = Tokenizer::from_json(json.to_string().as_bytes()).err().unwrap();
        assert_eq!(error.code(), "unsupported", "{key}: {error}");
    }
}

/// Four steps of 1,000 would make a terabyte of a word.
#[test]
fn steps_that_multiply_a_text_are_refused() {
    let replace =
        |pattern: Value, times: usize| json!({"type": "Replace", "pattern": pattern, "content": "a".repeat(times)});
    let sequence = |steps: Vec<Value>| json!({"type": "Sequence", "normalizers": steps});
    let load = |step: Value| {
        let mut json: Value = serde_json::from_slice(TOKENIZER).unwrap();
        json["normalizer"] = step;
        Tokenizer::from_json(json.to_string().as_bytes())
    };
    let a = || json!({"String": "a"});
    for step in [
        replace(a(), 65),
        replace(json!({"Regex": "a"}), 64),
        sequence(vec![replace(a(), 9), replace(a(), 9)]),
        sequence(vec![sequence(vec![replace(a(), 1000); 4]); 20]),
        sequence(vec![json!({"type": "Prepend", "prepend": "aaaaaaaa"}), replace(a(), 8)]),
    ] {
        let error = load(step).err().unwrap();
        assert_eq!(error.code(), "tokenizer-invalid");
        assert!(error.to_string().contains("times as long"), "{error}");
    }
    for step in
        [replace(a(), 64), sequence(vec![replace(json!({"String": " "}), 3), replace(json!({"Regex": "\\n"}), 4)])]
    {
        assert!(load(step).is_ok());
    }
}

/// With all steps on one text, `tokenizers` 0.22 panics at the step after these.
#[test]
fn steps_that_put_text_where_nothing_was_are_taken() {
    for (step, text, as_if) in [
        (json!({"type": "Replace", "pattern": {"Regex": "(?=.)"}, "content": " "}), "ab", " a b"),
        (json!({"type": "Replace", "pattern": {"String": ""}, "content": "c"}), "a", "cac"),
        (json!({"type": "Prepend", "prepend": ""}), ":{", ":{"),
        (json!({"type": "Prepend", "prepend": "a "}), "dog", "a dog"),
    ] {
        let mut json: Value = serde_json::from_slice(TOKENIZER).unwrap();
        json["normalizer"] = json!({"type": "Sequence", "normalizers": [step, {"type": "NFC"}]});
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), tiny_tokenizer().encode(as_if).unwrap(), "{step}");
    }
}

/// A template that wants a second text is not asked: control tokens are placed here.
#[test]
fn a_template_of_the_tokenizer_is_left_out() {
    let mut json: Value = serde_json::from_slice(TOKENIZER).unwrap();
    let second = json!({"Sequence": {"id": "B", "type_id": 0}});
    let first = json!({"Sequence": {"id": "A", "type_id": 0}});
    json["post_processor"] =
        json!({"type": "TemplateProcessing", "single": [second], "pair": [first, second], "special_tokens": {}});
    let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
    assert_eq!(tokenizer.encode("a dog").unwrap(), tiny_tokenizer().encode("a dog").unwrap());
}

#[test]
fn a_metadata_array_of_flags_takes_no_memory() {
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.extend(1_u64.to_le_bytes());
    file.extend(1_u64.to_le_bytes());
    file.push(b'k');
    file.extend(9_u32.to_le_bytes()); // an array
    file.extend(7_u32.to_le_bytes()); // of flags
    let count = limits::MAX_GGUF_VALUES + 1;
    file.extend(count.to_le_bytes());
    file.resize(file.len() + count as usize, 0);
    let error = Gguf::parse(&file).unwrap_err();
    assert!(error.to_string().contains("values"), "{error}");
}

#[test]
fn a_picture_of_too_many_bytes_is_refused_unread() {
    let bytes = vec![0; limits::MAX_IMAGE_BYTES + 1];
    assert_eq!(Image::decode(&bytes).unwrap_err().code(), "image-too-large");
}

#[test]
fn requests_without_end_are_refused() {
    let model = model();
    let language = model.language().unwrap();
    let long = Message::text(Role::User, "a".repeat(limits::MAX_REQUEST_BYTES + 1));
    assert_eq!(language.turns(&[long], &[]).unwrap_err().code(), "prompt-invalid");
    let shown = Message { role: Role::User, parts: vec![Part::Image; limits::MAX_IMAGES + 1] };
    let encoded = now(model.encode_image(&image(5, 4))).unwrap();
    assert_eq!(language.turns(&[shown], &vec![&encoded; limits::MAX_IMAGES + 1]).unwrap_err().code(), "prompt-invalid");
    let abort = AtomicBool::new(false);
    let phrase = "a".repeat(limits::MAX_REQUEST_BYTES + 1);
    let asked = now(model.segment(&encoded, &phrase, &AnswerOptions::default(), &abort, async |_| ()));
    assert_eq!(asked.err().unwrap().code(), "prompt-invalid");
}

#[test]
fn a_config_of_absurd_sizes_is_refused() {
    let mut json: Value = serde_json::from_str(CONFIG).unwrap();
    json["vision"]["image_size"] = json!(65_536);
    assert_eq!(SetokimConfig::from_json(&json.to_string()).unwrap_err().code(), "config-invalid");
    json["vision"]["image_size"] = json!(4096);
    let error = SetokimConfig::from_json(&json.to_string()).unwrap_err();
    assert!(error.to_string().contains("patches"), "{error}");
    let mut json: Value = serde_json::from_str(CONFIG).unwrap();
    json["refusals"] = json!(vec!["no"; limits::MAX_REFUSALS + 1]);
    let error = SetokimConfig::from_json(&json.to_string()).unwrap_err();
    assert!(error.to_string().contains("refusals"), "{error}");
    let long = format!("{CONFIG}{}", " ".repeat(limits::MAX_TEXT_BYTES));
    assert_eq!(SetokimConfig::from_json(&long).unwrap_err().code(), "config-invalid");
    assert_eq!(Manifest::parse(&long).unwrap_err().code(), "manifest-invalid");
}
