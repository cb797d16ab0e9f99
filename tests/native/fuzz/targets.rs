//! Everything that reads what comes from outside.

use super::damage::{any_json, any_step, changed, changes, damage, damaged};
use super::words::{Sketch, any_message, check_text, controls, with_image};
use super::*;

/// `cases` in an ordinary run, more where the environment asks for it.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/native/fuzz.regressions"))),
        ..ProptestConfig::default()
    }
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
                let square = preprocess(&image, 32, mode, ResizeFilter::Bilinear, &Normalisation::default()).unwrap();
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
        prop_assert_eq!(loader.add(SHARD_NAME, bytes).is_ok(), is_whole);
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
                if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
                    let ids = tokenizer.encode("The capital of France is <|im_end|>").unwrap_or_default();
                    prop_assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()), "{:?}", ids);
                }
                if let Ok(model) = Llama::from_gguf(&gguf, Activations::default(), &Device::flex()) {
                    prop_assert!(LlamaConfig::from_gguf(&gguf).is_ok());
                    prop_assert_eq!(model.embed(&[0]).unwrap().dims(), [1, model.config().hidden_size]);
                }
            }
            Err(error) => prop_assert!(["gguf-invalid", "tensor-type"].contains(&error.code()), "{}", error),
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
            Err(error) => prop_assert_eq!(error.code(), "tokenizer-invalid"),
        }
    }

    #[test]
    fn configs(is_tower in any::<bool>(), changes in changes()) {
        let (text, shard) = if is_tower { (SIGLIP, SIGLIP_SHARD) } else { (CONFIG, SHARD) };
        let config = match SetokimConfig::from_json(&changed(text.as_bytes(), changes)) {
            Ok(config) => config,
            Err(error) => {
                prop_assert!(["config-invalid", "clustering-invalid"].contains(&error.code()), "{}", error);
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
                ["config-invalid", "tensor-missing", "tensor-shape", "tokenizer-invalid", "unsupported"].contains(&error.code()),
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
                "tensor-type", "tensor-shape", "not-finite", "setting-invalid",
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
        let messages: Vec<Sketch> = texts.iter().map(|text| Sketch::text(Role::User, text)).collect();
        let pieces = ChatTemplate::Setokim.encode(&tokenizer, &messages).unwrap();
        let controls = controls(&tokenizer);
        let placed = pieces.iter().map(|piece| match piece {
            PromptPiece::Ids(ids) => ids.iter().filter(|id| controls.contains(id)).count(),
            PromptPiece::Image(_) | PromptPiece::Answer => 0,
        });
        prop_assert_eq!(placed.sum::<usize>(), 2 + 2 * texts.len(), "<bos>, <user> and <end> of each, <assistant>");
    }

    #[test]
    fn chats(sketches in prop::collection::vec(any_message(), 0..4), max_tokens in prop::sample::select(vec![0, 1, 3, usize::MAX])) {
        let model = model();
        let encoded = now(model.encode_image(&image(5, 4))).unwrap();
        let messages: Vec<Message> = sketches.into_iter().map(|sketch| with_image(sketch, &encoded)).collect();
        if let Ok(turns) = model.language().unwrap().turns(&messages) {
            let images: usize = messages.iter().map(|message| message.images().count()).sum();
            let visual = turns.concat().iter().filter(|position| matches!(position, Position::Visual { .. })).count();
            prop_assert_eq!(visual, images * encoded.tokens.len());
        }
        // An answer without end is cut by a stop string that soon comes.
        let stop = if max_tokens > 9 { vec!["e".into(), "a".into(), " ".into()] } else { Vec::new() };
        let options = AnswerOptions { max_tokens, stop, ..AnswerOptions::default() };
        match now(model.chat(&messages, &options)) {
            Ok(answer) => prop_assert!(answer.usage.answer_tokens <= max_tokens),
            Err(error) => prop_assert!(CODES.contains(&error.code()), "{}: {}", error.code(), error),
        }
    }
}
