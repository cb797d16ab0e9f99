//! The four tasks from pixels to answer.

use super::*;

fn task_golden(task: &str, name: &str) -> Vec<i32> {
    golden_integers(TASKS, &format!("{task}.{name}"))
}

/// More than one step of 8 bits is not rounding.
fn assert_same_picture(ours: &Image, theirs: &Image) {
    assert_eq!((ours.width(), ours.height()), (theirs.width(), theirs.height()));
    let off = ours.rgb().iter().zip(theirs.rgb()).map(|(a, b)| a.abs_diff(*b)).max().expect("pixels");
    assert!(off <= 1, "a pixel is off by {off}");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn segment_gives_pytorchs_mask() {
    for open in devices().await {
        let model = tiny_model(open);
        let encoded = model.encode_image(&task_picture("segment", "source")).await.expect("works");
        let segment = model.segment(&encoded, &asked("segment"), &options()).await.expect("works");
        let found = segment.mask.expect("PyTorch found something");
        let mask: Vec<u8> = found.mask.bits().iter().map(|&bit| bit.into()).collect();
        assert_eq!(mask, golden_bytes(TASKS, "segment.mask"));
        assert_close("score", &[found.score], &golden(TASKS, "segment.score"), TOLERANCE);
        let before = task_golden("segment", "ids").len() - 1;
        assert_eq!(segment.text.is_empty(), before == 0);
        assert_eq!(segment.usage.answer_tokens, before + 1);
        assert!(found.tokens.iter().all(|token| encoded.ids.contains(&token.id) && token.covered >= 0.5));
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn generate_draws_pytorchs_picture_token_by_token() {
    for open in devices().await {
        let model = tiny_model(open);
        let (mut indices, prompt, options) = (Vec::new(), asked("generate"), options());
        let mut generating = model.generate(&prompt, &options);
        while let Some(event) = generating.next().await {
            if let Event::VisualToken { index, copied } = event {
                assert_eq!(copied, None, "there is nothing to keep");
                indices.push(index);
            }
        }
        let made = generating.await.expect("works");
        let generated = made.image.expect("insisted");
        assert_eq!(indices, (0..generated.tokens.len()).collect::<Vec<_>>());
        assert_eq!(made.usage.visual_tokens, generated.tokens.len());
        assert_eq!(made.usage.answer_tokens, task_golden("generate", "ids").len());
        assert_close("tokens", &generated.values.concat(), &golden(TASKS, "generate.tokens"), DRAWN_TOLERANCE);
        let labels: Vec<i32> = generated.labels.iter().map(|&label| label as i32).collect();
        assert_eq!(labels, task_golden("generate", "labels"));
        assert_eq!(generated.tokens.iter().map(|token| token.patches).sum::<usize>(), labels.len());
        assert_same_picture(&generated.image, &task_picture("generate", "pixels"));
        assert_eq!(generated.label_map().expect("fits").get(0, 0), Some(generated.labels[0]));
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn edit_keeps_what_pytorch_keeps() {
    for open in devices().await {
        let model = tiny_model(open);
        let source = task_picture("edit", "source");
        let encoded = model.encode_image(&source).await.expect("works");
        let edit = async |options: AnswerOptions| {
            let edit = model.edit(&encoded, &asked("edit"), &options).await.expect("works");
            edit.image.expect("insisted")
        };
        let generated = edit(options()).await;
        let copied: Vec<i32> = generated.tokens.iter().map(|token| token.copied.map_or(-1, |id| id as i32)).collect();
        assert_eq!(copied, task_golden("edit", "kept"));
        assert_close("tokens", &generated.values.concat(), &golden(TASKS, "edit.tokens"), DRAWN_TOLERANCE);
        for (value, token) in generated.values.iter().zip(&generated.tokens) {
            if let Some(id) = token.copied {
                let slot = encoded.ids.iter().position(|&other| other == id).expect("a token of the source");
                assert_eq!(*value, encoded.tokens[slot], "a kept token is an exact copy");
                assert!(!generated.removed.contains(&id));
            }
        }
        assert_same_picture(&generated.image, &task_picture("edit", "pasted"));

        let whole = edit(AnswerOptions { composite: false, ..options() }).await;
        assert_same_picture(&whole.image, &task_picture("edit", "pixels"));
        let anew = edit(AnswerOptions { copy_tokens: false, ..options() }).await;
        assert!(anew.tokens.iter().all(|token| token.copied.is_none()));
        assert_eq!(anew.removed.len(), encoded.ids.len());
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn chat_says_what_pytorch_says() {
    for open in devices().await {
        let model = tiny_model(open);
        let [first, second] = see_two(&model).await;
        let question = user(vec![shown(&first), shown(&second), words(&asked("chat"))]);
        let answer = model.chat(&[question], &options()).await.expect("works");
        let ids: Vec<u32> = task_golden("chat", "ids").iter().map(|&id| id as u32).collect();
        assert_eq!(answer.text(), tokenizer().decode(&ids));
        assert_eq!((answer.usage.answer_tokens, answer.usage.finish), (ids.len(), Finish::Length));
    }
}
