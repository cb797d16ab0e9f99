//! A prompt and its continuation.

use super::*;

async fn logits_equal_numpy(device: &Device) {
    let tiny = tiny(device);
    let mut cache = tiny.model.new_cache(64).unwrap();
    let logits = all_logits(&tiny.model, &mut cache, &tiny.ids).await;
    assert_close("logits", &logits, &tiny.logits, LOGIT_TOLERANCE);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn logits_equal_numpy_on_the_cpu() {
    logits_equal_numpy(&cpu().await.device).await;
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn logits_equal_numpy_on_the_gpu() {
    logits_equal_numpy(&gpu().await.device).await;
}

async fn greedy_text_repeats(device: &Device) {
    let tiny = tiny(device);
    let options = greedy(16);
    let mut first = None;
    for _ in 0..2 {
        let mut shown = String::new();
        let mut completing = complete(&tiny.model, &tiny.tokenizer, PROMPT, &options);
        while let Some(text) = completing.next().await {
            shown += &text;
        }
        let completion = completing.await.unwrap();
        let ids: Vec<u32> = completion.steps.iter().map(|step| step.id).collect();
        assert_eq!(completion.prompt_ids, tiny.prompt);
        assert_eq!(ids, tiny.ids[tiny.prompt.len()..]);
        assert_eq!(completion.finish, Finish::Length);
        assert_eq!(shown, completion.text);
        assert_eq!(shown, tiny.tokenizer.decode(&ids));
        for step in &completion.steps {
            assert_eq!(step.best[0].unwrap().id, step.id);
        }
        // The times alone may differ.
        let told = (completion.text, completion.steps);
        assert_eq!(*first.get_or_insert(told.clone()), told, "the same request twice");
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn greedy_text_is_numpys_and_repeats_on_the_cpu() {
    greedy_text_repeats(&cpu().await.device).await;
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn greedy_text_is_numpys_and_repeats_on_the_gpu() {
    greedy_text_repeats(&gpu().await.device).await;
}

/// A GPU draws on its own what the CPU draws from the logits by the same seed.
#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_seed_draws_the_same_on_every_device() {
    let mut texts = Vec::new();
    for device in [gpu().await.device, cpu().await.device] {
        let Tiny { model, tokenizer, .. } = tiny(&device);
        for sampling in [
            Sampling { seed: 5, ..Sampling::default() },
            Sampling { temperature: 1.5, top_k: 64, top_p: 1.0, seed: 6, ..Sampling::default() },
            Sampling { top_k: 0, seed: 7, ..Sampling::default() }, // drawn on the CPU
            Sampling::greedy(),
        ] {
            let options = CompleteOptions { sampling, ..greedy(40) };
            let done = complete(&model, &tokenizer, PROMPT, &options).await;
            texts.push(done.unwrap().steps.iter().map(|step| step.id).collect::<Vec<u32>>());
        }
    }
    let (on_gpu, on_cpu) = texts.split_at(4);
    assert_eq!(on_gpu, on_cpu);
    assert!(on_gpu[..3].iter().all(|drawn| *drawn != on_gpu[3]), "drawn, not the best: {on_gpu:?}");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn bad_requests_are_errors_and_the_next_works() {
    let tiny = tiny(&cpu().await.device);
    let run =
        async |prompt: &str, max_tokens| complete(&tiny.model, &tiny.tokenizer, prompt, &greedy(max_tokens)).await;
    assert_eq!(run("", 4).await.unwrap_err().code(), "prompt-invalid");
    match run(PROMPT, 60).await.unwrap_err() {
        Error::ContextOverflow { needed, available } => assert_eq!((needed, available), (tiny.prompt.len() + 60, 64)),
        other => panic!("{other}"),
    }
    assert_eq!(run(PROMPT, usize::MAX).await.unwrap_err().code(), "context-overflow");
    let long = PROMPT.repeat(20);
    assert_eq!(run(&long, 1).await.unwrap_err().code(), "context-overflow");
    assert_eq!(tiny.model.embed(&[0, 5000]).unwrap_err().code(), "tokenizer-invalid");
    assert!(tiny.model.embed(&[]).is_err());
    let mut cache = tiny.model.new_cache(3).unwrap();
    let error = tiny.model.forward(tiny.model.embed(&[1, 2, 3, 4]).unwrap(), &mut cache).unwrap_err();
    assert_eq!(error.code(), "context-overflow");
    assert!(cache.is_empty(), "a refused request leaves the cache as it was");
    assert_eq!(run(PROMPT, 2).await.unwrap().steps.len(), 2);
    assert_eq!(run(PROMPT, 0).await.unwrap().text, "");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn an_abort_takes_effect_within_one_token() {
    let tiny = tiny(&cpu().await.device);
    let abort = AbortHandle::new();
    let options = CompleteOptions { abort: abort.clone(), ..greedy(40) };
    let (mut pieces, mut completing) = (0, complete(&tiny.model, &tiny.tokenizer, PROMPT, &options));
    while completing.next().await.is_some() {
        pieces += 1;
        abort.abort();
    }
    assert_eq!(completing.await.unwrap_err().code(), "aborted");
    assert_eq!(pieces, 1);
    let again = complete(&tiny.model, &tiny.tokenizer, PROMPT, &options).await;
    assert_eq!(again.unwrap_err().code(), "aborted", "before the first token");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_stop_string_ends_the_text_before_it() {
    let tiny = tiny(&cpu().await.device);
    let text = tiny.tokenizer.decode(&tiny.ids[tiny.prompt.len()..]);
    let stop: String = text.chars().skip(5).take(2).collect();
    let options = CompleteOptions { stop: vec![stop.clone()], ..greedy(16) };
    let completion = complete(&tiny.model, &tiny.tokenizer, PROMPT, &options).await.unwrap();
    assert_eq!(completion.finish, Finish::Stop);
    assert_eq!(completion.text, text[..text.find(&stop).unwrap()]);
}
