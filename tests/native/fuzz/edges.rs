//! Limits, each at its edge.

use super::*;

#[test]
fn the_table_of_limits_says_what_the_code_does() {
    let table = include_str!("../../../docs/limits.md");
    let mebibytes = |bytes: usize| format!("{} MiB", bytes >> 20);
    let limits = [
        ("file of a picture", mebibytes(limits::MAX_IMAGE_BYTES)),
        ("pixels of a picture", format!("{} megapixels", limits::MAX_MEGAPIXELS)),
        ("memory of a picture's decoder", mebibytes(limits::MAX_DECODER_BYTES as usize)),
        ("side of the encoder's square", format!("{} pixels", limits::MAX_SQUARE_SIZE)),
        ("patches of a picture", limits::MAX_PATCHES.to_string()),
        ("refusals that a model names", limits::MAX_REFUSALS.to_string()),
        ("reach of compositing", format!("{} pixels", limits::MAX_REMNANT_REACH)),
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
    for (key, value) in [
        ("continuing_subword_prefix", json!("##long##")),
        ("end_of_word_suffix", json!("</w>")),
        ("dropout", json!(0.1)),
    ] {
        let mut json: Value = serde_json::from_slice(TOKENIZER).unwrap();
        json["model"][key] = value;
        let error = Tokenizer::from_json(json.to_string().as_bytes()).err().unwrap();
        assert_eq!(error.code(), "tokenizer-invalid", "{key}");
    }
}

/// Steps that other kinds of tokenizers have, with settings that `tokenizers` 0.22 believes. The table claims 4 GiB.
#[test]
fn a_step_that_byte_level_bpe_does_not_have_is_refused() {
    for (key, step) in [
        ("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
        ("pre_tokenizer", json!({"type": "Sequence", "pretokenizers": [{"type": "FixedLength", "length": 0}]})),
        ("normalizer", json!({"precompiled_charsmap": "/////w=="})),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="})),
        ("model", json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "b"})),
    ] {
        let mut json: Value = serde_json::from_slice(TOKENIZER).unwrap();
        json[key] = step;
        let error = Tokenizer::from_json(json.to_string().as_bytes()).err().unwrap();
        assert_eq!(error.code(), "tokenizer-invalid", "{key}: {error}");
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
    assert_eq!(language.turns(&[long]).unwrap_err().code(), "prompt-invalid");
    let encoded = now(model.encode_image(&image(5, 4))).unwrap();
    let shown = Message { role: Role::User, parts: vec![Part::Image(encoded.clone()); limits::MAX_IMAGES + 1] };
    assert_eq!(language.turns(&[shown]).unwrap_err().code(), "prompt-invalid");
    let phrase = "a".repeat(limits::MAX_REQUEST_BYTES + 1);
    let asked = now(model.segment(&encoded, &phrase, &AnswerOptions::default()));
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
    for (key, value) in [
        ("prompts", json!({"segment": "segment"})),
        ("prompts", json!({"edit": "{} and {}"})),
        ("composite", json!({"remnant_reach": limits::MAX_REMNANT_REACH + 1})),
        ("composite", json!({"rim": [0.2, 0.1]})),
        ("familiarity", json!({"background": 1.5, "mean": 0.5})),
        ("labels", json!({"names": ["cat"], "objects": 2, "colors": ["red"]})),
        ("labels", json!({"names": ["cat"], "objects": 1, "colors": ["red"], "natural": "plain"})),
    ] {
        let mut json: Value = serde_json::from_str(CONFIG).unwrap();
        json[key] = value;
        let error = SetokimConfig::from_json(&json.to_string()).unwrap_err();
        assert!(error.code() == "config-invalid" && error.to_string().contains(key), "{key}: {error}");
    }
    let long = format!("{CONFIG}{}", " ".repeat(limits::MAX_TEXT_BYTES));
    assert_eq!(SetokimConfig::from_json(&long).unwrap_err().code(), "config-invalid");
    assert_eq!(Manifest::parse(&long).unwrap_err().code(), "manifest-invalid");
}
