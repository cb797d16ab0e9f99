//! Requests and models that are refused, and what may be in them.

use super::*;

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn typed_control_tokens_stay_text() {
    let model = tiny_model(cpu().await);
    let language = model.language().expect("has one");
    let special = config().special_tokens.expect("has them");
    let spelled = "<end> <assistant> [Img] [/Img] <vis> [SEG] <keep_0> <bos>";
    let turns = language.turns(&[Message::text(Role::User, spelled)]).expect("text");
    let positions = turns.concat();
    let (control, text) = ([special.begin, special.user], &positions[2..positions.len() - 2]);
    assert_eq!(positions[..2], control.map(Position::Word));
    for position in text {
        let Position::Word(id) = position else { panic!("there is no picture") };
        assert!(*id >= special.keep_first + special.keep_count, "{id} is a control token");
    }
    // An image is where it is put, not where it is spelled.
    let answer = chat(&model, &[Message::text(Role::User, spelled)], 4).await.expect("works");
    assert_eq!(answer.usage.prompt_tokens, positions.len());
    assert!(answer.usage.answer_tokens > 0 && answer.masks().next().is_none());
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn requests_that_make_no_sense_are_typed_errors() {
    let model = tiny_model(cpu().await);
    let [first, _] = see_two(&model).await;
    let code = |error: Error| error.code();
    let none: [Message; 0] = [];
    assert_eq!(chat(&model, &none, 4).await.map_err(code).err(), Some("prompt-invalid"));
    let blank = [Message::text(Role::User, "  ")];
    assert_eq!(chat(&model, &blank, 4).await.map_err(code).err(), Some("prompt-invalid"));
    let beside_a_picture = [user(vec![shown(&first), words(" ")])];
    assert_eq!(chat(&model, &beside_a_picture, 4).await.map_err(code).err(), Some("prompt-invalid"));
    let picture_alone = [user(vec![shown(&first)])];
    chat(&model, &picture_alone, 4).await.expect("a picture may come without words");
    let answered = [Message::text(Role::User, "hi"), Message::text(Role::Assistant, "hello")];
    assert_eq!(chat(&model, &answered, 4).await.map_err(code).err(), Some("prompt-invalid"));
    let system = [Message::text(Role::System, "be kind"), Message::text(Role::User, "hi")];
    assert_eq!(chat(&model, &system, 4).await.map_err(code).err(), Some("unsupported"));

    let empty = model.segment(&first, " ", &options()).await;
    assert_eq!(empty.map_err(code).err(), Some("prompt-invalid"));
    let empty = model.edit(&first, "", &options()).await;
    assert_eq!(empty.map_err(code).err(), Some("prompt-invalid"));
    let no_steps = AnswerOptions { diffusion: DiffusionOptions { steps: 0, ..options().diffusion }, ..options() };
    let drawn = model.generate("a dog", &no_steps).await;
    assert_eq!(drawn.map_err(code).err(), Some("setting-invalid"));

    let long = "the dog and ".repeat(60);
    match chat(&model, &[Message::text(Role::User, long)], 4).await {
        Err(Error::ContextOverflow { needed, available }) => assert!(needed > available && available == 128),
        other => panic!("expected an overflow, got {other:?}"),
    }
    chat(&model, &[Message::text(Role::User, "hi")], 4).await.expect("the next request works");
    let silent = Message { role: Role::Assistant, parts: Vec::new() };
    let after_silence = [Message::text(Role::User, "hi"), silent, Message::text(Role::User, "well ?")];
    chat(&model, &after_silence, 4).await.expect("an assistant may have had nothing to say");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_tokenizer_alone_says_that_it_cannot_talk() {
    let open = cpu().await;
    let model = Setokim::load(config(), tiny_store(&open), open).expect("loads without a language model");
    assert_eq!(chat(&model, &[Message::text(Role::User, "hi")], 4).await.expect_err("no").code(), "unsupported");
    let image = task_picture("edit", "source");
    assert_eq!(model.encode_image(&image).await.expect_err("no").code(), "unsupported");
    model.tokenize(&image).await.expect("pictures still work");
    assert_eq!(model.tasks(), ["tokenize", "reconstruct"]);
    let whole = tiny_model(cpu().await);
    assert_eq!(whole.tasks(), ["tokenize", "reconstruct", "chat", "segment", "generate", "edit"]);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn parts_that_do_not_belong_together_are_refused() {
    let open = cpu().await;
    let load = |json: &str| {
        let config = SetokimConfig::from_json(json)?;
        Language::load(&config, &mut tiny_store(&open), tokenizer()).map(|_| ())
    };
    let code = |json: String| load(&json).map_err(|error| error.code()).err();
    assert_eq!(code(CONFIG.into()), None);
    assert_eq!(code(CONFIG.replace("\"segment\": 8", "\"segment\": 7")), Some("config-invalid"));
    assert_eq!(code(CONFIG.replace("\"keep_count\": 16", "\"keep_count\": 4")), Some("config-invalid"));
    assert_eq!(code(CONFIG.replace("\"special_tokens\"", "\"other\"")), Some("config-invalid"));
    assert_eq!(
        code(CONFIG.replace("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3")),
        Some("config-invalid")
    );
    assert_eq!(code(CONFIG.replace("\"vocab_size\": 320", "\"vocab_size\": 300")), Some("tokenizer-invalid"));
    let crop = Crop { x: 0.0, y: 0.0, width: 32.0, height: 32.0 };
    let all = MaskLogits::new(vec![1.0; 4], 2).expect("fills").to_mask(&crop, SIDE, SIDE).expect("a mask");
    assert_eq!(all.area(), 32 * 32);
}
