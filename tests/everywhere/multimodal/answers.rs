//! What an answer may be, whatever the weights.

use super::*;

/// Parts of an answer that can be compared.
fn told(answer: &Answer) -> Vec<String> {
    let part = |part: &AnswerPart| match part {
        AnswerPart::Text(text) => text.clone(),
        AnswerPart::Mask(mask) => format!("{mask:?}"),
        AnswerPart::Image(generated) => format!("{:?} {:?}", generated.values, generated.image.rgb()),
    };
    answer.parts.iter().map(part).collect()
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn text_is_spoken_in_pieces_that_make_up_the_answer() {
    let model = tiny_model(cpu().await);
    let [first, second] = see_two(&model).await;
    let question = [user(vec![shown(&first), words("what is"), shown(&second), words(" ?")])];
    let (mut text, mut done, options) = (String::new(), None, options());
    let mut answering = model.chat(&question, &options);
    while let Some(event) = answering.next().await {
        assert!(done.is_none(), "nothing follows the end");
        match event {
            Event::Text(more) => {
                assert!(!more.is_empty());
                text += &more;
            }
            Event::Done(usage) => done = Some(usage),
            _ => {}
        }
    }
    let answer = answering.await.expect("works");
    assert!(!text.is_empty());
    assert_eq!(text, answer.text());
    assert_eq!(done, Some(answer.usage));
    assert!(answer.usage.answer_tokens <= 12);
    let expected =
        8 + tokenizer().encode("what is").expect("text").len() + tokenizer().encode(" ?").expect("text").len();
    assert_eq!(answer.usage.prompt_tokens, expected + first.tokens.len() + second.tokens.len());
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_same_request_gives_the_same_answer_whatever_came_before() {
    for open in devices().await {
        let model = tiny_model(open);
        let [first, second] = see_two(&model).await;
        let mut messages = vec![user(vec![shown(&first), words("where is the dog ?")])];
        let opening = chat(&model, &messages, 6).await.expect("works");
        assert_eq!(opening.usage.cached_tokens, 0);
        messages.push(Message::text(Role::Assistant, "at the top"));
        messages.push(user(vec![shown(&second), words("and here ?")]));

        let warm = chat(&model, &messages, 10).await.expect("works");
        assert_eq!(warm.usage.cached_tokens, opening.usage.prompt_tokens, "the first turn is not read again");
        let other = chat(&model, &[Message::text(Role::User, "hello")], 6).await.expect("works");
        assert_eq!(other.usage.cached_tokens, 0);
        let cold = chat(&model, &messages, 10).await.expect("works");
        assert_eq!(cold.usage.cached_tokens, 0);
        let again = chat(&model, &messages, 10).await.expect("works");
        assert!(again.usage.cached_tokens > 0);
        assert_eq!(told(&warm), told(&cold), "remembered turns change nothing");
        assert_eq!(told(&warm), told(&again), "the same request twice");

        // Another image in the same words is another prompt.
        messages[0] = user(vec![shown(&second), words("where is the dog ?")]);
        let swapped = chat(&model, &messages, 10).await.expect("works");
        assert_eq!(swapped.usage.cached_tokens, 0);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn an_abort_takes_effect_within_one_token_and_leaves_no_trace() {
    let model = tiny_model(cpu().await);
    let prompt = asked("generate");
    let draw = async || model.generate(&prompt, &options()).await.expect("works").image.expect("insisted");
    let expected = draw().await;
    let abort = AbortHandle::new();
    let stopped = AnswerOptions { abort: abort.clone(), ..options() };
    let (mut seen, mut generating) = (0, model.generate(&prompt, &stopped));
    while let Some(event) = generating.next().await {
        if let Event::VisualToken { .. } = event {
            seen += 1;
            abort.abort();
        }
    }
    assert_eq!(generating.await.expect_err("was aborted").code(), "aborted");
    assert_eq!(seen, 1);
    let again = draw().await;
    assert_eq!(again.values, expected.values);
    assert_eq!(again.image, expected.image);

    let aborted = model.generate(&prompt, &stopped).await;
    assert_eq!(aborted.expect_err("was aborted before").code(), "aborted");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_request_that_is_dropped_leaves_no_trace() {
    let model = tiny_model(cpu().await);
    let messages = [Message::text(Role::User, "hello")];
    let expected = chat(&model, &messages, 6).await.expect("works");
    let options = options();
    let mut dropped = model.chat(&messages, &options);
    assert!(dropped.next().await.is_some());
    drop(dropped);
    assert_eq!(told(&chat(&model, &messages, 6).await.expect("works")), told(&expected));
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_seed_decides_the_noise() {
    let model = tiny_model(cpu().await);
    let prompt = asked("generate");
    let draw = async |seed| {
        let diffusion = DiffusionOptions { seed, temperature: 1.0, ..options().diffusion };
        let options = AnswerOptions { diffusion, ..options() };
        model.generate(&prompt, &options).await.expect("works").image.expect("insisted").values
    };
    assert_eq!(draw(1).await, draw(1).await);
    assert_ne!(draw(1).await, draw(2).await);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_margin_decides_between_a_picture_and_words_unless_only_a_picture_may_come() {
    for (picture_margin, draws) in [(-1e3, true), (1e3, false)] {
        let open = cpu().await;
        let config = SetokimConfig { picture_margin, ..config() };
        let model = Setokim::load_with_text(config, tiny_store(&open), tokenizer(), open).expect("the model");
        let [first, _] = see_two(&model).await;
        let may_refuse = AnswerOptions { required: false, ..options() };
        let edit = model.edit(&first, "remove the dog", &may_refuse).await.expect("works");
        let begins_with_a_picture = edit.image.is_some() && edit.text.is_empty();
        assert_eq!(begins_with_a_picture, draws);
        let edit = model.edit(&first, "remove the dog", &options()).await.expect("works");
        assert!(edit.image.is_some());
    }
}

/// Its weights are random, so what it says means nothing; but it would rather say something than draw.
#[wasm_bindgen_test(unsupported = tokio::test)]
async fn words_take_the_place_of_a_drawing_unless_it_is_insisted_on() {
    let model = tiny_model(cpu().await);
    for required in [false, true] {
        let options = AnswerOptions { required, ..options() };
        let made = model.generate("a dog", &options).await.expect("works");
        assert_eq!((made.image.is_some(), made.text.is_empty()), (required, required));
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn only_a_refusal_takes_the_place_of_a_drawing_where_the_config_names_some() {
    let messages = [Message::text(Role::User, "hello")];
    let mut chats = Vec::new();
    for (refusals, are_meant) in [(vec![], false), (vec!["i can not".into(), "there is no".into()], true)] {
        let open = cpu().await;
        let config = SetokimConfig { picture_margin: 1e3, refusals, ..config() }; // it would rather speak
        let model = Setokim::load_with_text(config, tiny_store(&open), tokenizer(), open).expect("the model");
        let [first, _] = see_two(&model).await;
        let may_refuse = AnswerOptions { required: false, max_tokens: 16, ..options() };
        let edit = model.edit(&first, "remove the dog", &may_refuse).await.expect("works");
        let is_refusal = ["i can not", "there is no"].iter().any(|refusal| edit.text.starts_with(refusal));
        assert_eq!((is_refusal, edit.text.is_empty()), (are_meant, false), "{}", edit.text);
        chats.push(chat(&model, &messages, 8).await.expect("works").text());
    }
    assert_eq!(chats[0], chats[1], "a chat may say anything");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_limit_and_stop_strings_end_an_answer() {
    let model = tiny_model(cpu().await);
    let messages = [Message::text(Role::User, "hello")];
    let nothing = chat(&model, &messages, 0).await.expect("works");
    assert!(nothing.parts.is_empty());
    let answer = chat(&model, &messages, 3).await.expect("works");
    assert!(answer.usage.answer_tokens <= 3);
    assert_eq!(answer.usage.finish == Finish::Length, answer.usage.answer_tokens == 3);
    let text = answer.text();
    let first = text.chars().next().expect("it says something");
    let options = AnswerOptions { stop: vec![first.to_string()], ..options() };
    let stopped = model.chat(&messages, &options).await.expect("works");
    assert_eq!((stopped.text().as_str(), stopped.usage.finish), ("", Finish::Stop));
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_drawn_picture_and_a_mask_can_be_talked_about() {
    let model = tiny_model(cpu().await);
    let generated = model.generate(&asked("generate"), &options()).await.expect("works").image;
    let generated = generated.expect("insisted");
    let drawn = generated.to_encoded();
    let messages = [
        Message::text(Role::User, "draw a dog"),
        Message { role: Role::Assistant, parts: vec![shown(&drawn)] },
        Message::text(Role::User, "segment the dog"),
        Message { role: Role::Assistant, parts: vec![Part::Mask] },
        Message::text(Role::User, "what is it ?"),
    ];
    let language = model.language().expect("has one");
    let special = config().special_tokens.expect("has them");
    let turns = language.turns(&messages).expect("valid");
    assert_eq!(turns.len(), 3);
    assert!(turns.iter().all(|turn| turn.last() == Some(&Position::Word(special.assistant))));
    assert_eq!(turns[1][0], Position::Word(special.image_start));
    assert_eq!(turns[1][1], Position::Visual { slot: 0, token: generated.values[0].clone() });
    assert_eq!(turns[2][..2], [Position::Word(special.segment), Position::Word(special.end)]);
    chat(&model, &messages, 6).await.expect("works");
    // Nobody has looked at the generated yet: the mask head does so now.
    model.segment(&drawn, "the dog", &options()).await.expect("works");
}
