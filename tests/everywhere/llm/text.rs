//! Tokenizers and chat templates.

use super::*;

#[wasm_bindgen_test(unsupported = test)]
fn text_becomes_the_tokens_of_llama_cpp() {
    #[derive(serde::Deserialize)]
    struct Expected {
        texts: Vec<String>,
        ids: BTreeMap<String, Vec<Vec<u32>>>,
    }
    let expected: Expected = serde_json::from_str(include_str!("../../fixtures/gguf_tokens.json")).unwrap();
    let families: [(&str, &[u8]); 4] = [
        ("default", include_bytes!("../../fixtures/vocab_default.gguf")),
        ("gpt-2", include_bytes!("../../fixtures/vocab_gpt-2.gguf")),
        ("smollm", include_bytes!("../../fixtures/vocab_smollm.gguf")),
        ("llama-bpe", include_bytes!("../../fixtures/vocab_llama-bpe.gguf")),
    ];
    for (family, bytes) in families {
        let tokenizer = Tokenizer::from_gguf(&Gguf::parse(bytes).unwrap()).unwrap();
        for (text, ids) in expected.texts.iter().zip(&expected.ids[family]) {
            assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{family}: {text:?}");
            assert_eq!(&tokenizer.decode(ids), text, "{family}");
        }
        let begins = tokenizer.encode_document("a").unwrap()[0] == 1;
        assert_eq!(begins, family == "llama-bpe", "BOS as the file says");
    }
}

/// Our own vocabulary in little: bytes and control tokens, as `training/` writes it with Hugging Face's `tokenizers`.
fn own_tokenizer() -> Tokenizer {
    let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
    let mut characters: Vec<char> = alphabet.into_iter().collect();
    characters.sort_unstable();
    let controls = [names::BEGIN, names::USER, names::ASSISTANT, names::END, names::IMAGE, names::IMAGE_END];
    let controls: Vec<_> = controls.iter().zip(256..).collect();
    let vocabulary: BTreeMap<String, u32> = characters
        .iter()
        .map(char::to_string)
        .zip(0..)
        .chain(controls.iter().map(|(name, id)| (name.to_string(), *id)))
        .collect();
    let added: Vec<_> = controls
        .iter()
        .map(|(name, id)| {
            serde_json::json!({"id": id, "content": name, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let byte_level =
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let json = serde_json::json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []}});
    Tokenizer::from_json(json.to_string().as_bytes()).unwrap()
}

#[wasm_bindgen_test(unsupported = test)]
fn typed_control_tokens_stay_text() {
    let own = own_tokenizer();
    let check_text = format!("{}hi{}{}", names::USER, names::END, names::IMAGE);
    let ids = own.encode(&check_text).unwrap();
    assert!(ids.iter().all(|id| *id < 256), "{ids:?}");
    assert_eq!(own.decode(&ids), check_text);

    let gguf = Gguf::parse(TINY).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let ids = tokenizer.encode("<|im_end|><|endoftext|>").unwrap();
    assert!(ids.iter().all(|id| *id > 2), "{ids:?}");
    assert!(tokenizer.is_end(tokenizer.control("<|im_end|>").unwrap()));
    assert_eq!(tokenizer.control("<tool>").unwrap_err().code(), "tokenizer-invalid");
}

#[wasm_bindgen_test(unsupported = test)]
fn templates_place_control_tokens_and_pictures() {
    let own = own_tokenizer();
    let id = |name| own.control(name).unwrap();
    let text = |text| own.encode(text).unwrap();
    let question = vec![Part::Text("is ".into()), Part::Image("first"), Part::Text(" a dog?".into())];
    let messages = [
        Message { role: Role::User, parts: question },
        Message::text(Role::Assistant, "yes"),
        Message { role: Role::User, parts: vec![Part::Image("second")] },
    ];
    let pieces = ChatTemplate::Setokim.encode(&own, &messages).unwrap();
    let ids = |parts: &[&[u32]]| PromptPiece::<&str>::Ids(parts.concat());
    assert_eq!(
        pieces,
        [
            ids(&[&[id(names::BEGIN), id(names::USER)], &text("is "), &[id(names::IMAGE)]]),
            PromptPiece::Image(&"first"),
            ids(&[&[id(names::IMAGE_END)], &text(" a dog?"), &[id(names::END), id(names::ASSISTANT)],]),
            PromptPiece::Answer,
            ids(&[&text("yes"), &[id(names::END), id(names::USER), id(names::IMAGE)],]),
            PromptPiece::Image(&"second"),
            ids(&[&[id(names::IMAGE_END), id(names::END), id(names::ASSISTANT)]]),
            PromptPiece::Answer,
        ]
    );

    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(TINY).unwrap()).unwrap();
    let text = |text| tokenizer.encode(text).unwrap();
    let typed = [Message::<&str>::text(Role::User, "<|im_end|>")];
    let pieces = ChatTemplate::ChatMl.encode(&tokenizer, &typed).unwrap();
    let expected = [vec![1], text("user\n<|im_end|>"), vec![2], text("\n"), vec![1], text("assistant\n")].concat();
    assert_eq!(pieces, [PromptPiece::Ids(expected), PromptPiece::Answer]);
    let seen = [
        Message { role: Role::User, parts: vec![Part::Image("photo"), Part::Text("a dog?".into())] },
        Message { role: Role::Assistant, parts: vec![Part::Text("yes".into()), Part::Mask] },
        Message::text(Role::User, "why"),
    ];
    let line = |words: &str| tokenizer.encode(&format!("{words}\n")).unwrap();
    assert_eq!(
        ChatTemplate::ChatMl.encode(&tokenizer, &seen).unwrap(),
        [
            ids(&[&[1], &line("user")]),
            PromptPiece::Image(&"photo"),
            ids(&[&text("\na dog?"), &[2], &text("\n"), &[1], &line("assistant")]),
            PromptPiece::Answer,
            ids(&[
                &text("yes"),
                &[2],
                &text("\n"),
                &[1],
                &text("user\nwhy"),
                &[2],
                &text("\n"),
                &[1],
                &line("assistant"),
            ]),
            PromptPiece::Answer,
        ],
        "no marks around an image, and no word for a mask"
    );
    assert!(ChatTemplate::Setokim.encode(&tokenizer, &messages).is_err(), "this vocabulary has no <user>");
    let system = [Message::<&str>::text(Role::System, "be kind")];
    assert_eq!(ChatTemplate::Setokim.encode(&own, &system).unwrap_err().code(), "unsupported");
}
