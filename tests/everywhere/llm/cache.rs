//! What the cache holds, and steps that are recorded.

use super::*;

/// The best tokens after `ids`, read in rounds of so many.
async fn ahead(model: &Llama, ids: &[u32], rounds: &[usize], cache: &mut KvCache) -> Vec<u32> {
    sampled_ahead(model, ids, rounds, &mut Sampler::new(Sampling::greedy()).unwrap(), cache).await
}

/// Lets everything through.
fn open_mask(model: &Llama) -> Arc<TokenMask> {
    Arc::new(TokenMask::new(model.config().vocab_size, model.device(), |_| true, |_| true))
}

/// Logits of the token after `ids`, which the model reads.
async fn next_logits(model: &Llama, cache: &mut KvCache, ids: &[u32]) -> setokim::Result<Vec<f32>> {
    let hidden = model.forward(model.embed(ids)?, cache)?;
    Ok(floats(model.logits(hidden.narrow(0, ids.len() - 1, 1), None)).await)
}

/// The tokens after `ids`, chosen in rounds of so many.
async fn sampled_ahead(
    model: &Llama,
    ids: &[u32],
    rounds: &[usize],
    sampler: &mut Sampler,
    cache: &mut KvCache,
) -> Vec<u32> {
    let vocabulary = model.config().vocab_size;
    let mask = open_mask(model);
    let mut made: Vec<u32> = Vec::new();
    for &count in rounds {
        let sampling = sampler.for_device();
        let chosen = match (made.last(), ids) {
            (Some(&last), _) | (None, &[last]) => {
                model.choose_ahead(last, count, &mask, sampling.as_ref(), cache).unwrap()
            }
            (None, _) => {
                let hidden = model.forward(model.embed(ids).unwrap(), cache).unwrap();
                model.choose(hidden.narrow(0, ids.len() - 1, 1), &mask, sampling.as_ref())
            }
        };
        sampler.skip(chosen.count());
        made.extend(chosen.read(vocabulary).await.unwrap().iter().map(|choice| choice.next));
    }
    made
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_recorded_step_gives_what_launching_it_gives() {
    let tiny = tiny(&gpu().await.device);
    let model = &tiny.model;
    let expected = &tiny.ids[tiny.prompt.len()..];
    let mut cache = model.new_cache(64).unwrap();
    // The prompt by itself, then single tokens, rounds that go past the end of the ring, and what was forgotten once more.
    let made = ahead(model, &tiny.prompt, &[16, 1, 7, 6, 1], &mut cache).await;
    assert_eq!(made, expected[..16], "the prompt gives one token, whatever is asked for");
    assert!(cache.is_recorded());
    cache.truncate(tiny.prompt.len());
    assert_eq!(ahead(model, &expected[..1], &[15], &mut cache).await, expected[1..16]);
    // Reading between the rounds leaves them as they are.
    cache.truncate(tiny.prompt.len());
    let hidden = model.forward(model.embed(&expected[..2]).unwrap(), &mut cache).unwrap();
    assert!(floats(hidden).await.iter().all(|x| x.is_finite()));
    assert_eq!(ahead(model, &expected[2..3], &[4], &mut cache).await, expected[3..7]);
    // Another cache has a record of its own, and outlives this one.
    let mut other = model.new_cache(64).unwrap();
    assert_eq!(ahead(model, &tiny.prompt, &[1, 5], &mut other).await, expected[..6]);
    drop(cache);
    assert_eq!(ahead(model, &expected[5..6], &[9], &mut other).await, expected[6..15]);
}

/// In rounds of any length, also after the best tokens were taken with the same cache.
#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_recorded_step_draws_what_the_cpu_draws_from_logits() {
    let Tiny { model, prompt, ids, .. } = tiny(&gpu().await.device);
    let rounds = [1, 5, 16, 9];
    let mut cache = model.new_cache(64).unwrap();
    for seed in [1, 2] {
        let sampling = Sampling { temperature: 1.2, seed, ..Sampling::default() };
        let (mut on_gpu, mut on_cpu) = (Sampler::new(sampling.clone()).unwrap(), Sampler::new(sampling).unwrap());
        let made = sampled_ahead(&model, &prompt, &rounds, &mut on_gpu, &mut cache).await;
        assert!(cache.is_recorded());
        let mut other = model.new_cache(64).unwrap();
        let mut unread = prompt.as_slice();
        for at in 0..made.len() {
            let logits = next_logits(&model, &mut other, unread).await.unwrap();
            assert_eq!(on_cpu.choose(&logits, &[]).unwrap(), made[at], "token {at} of seed {seed}");
            unread = &made[at..=at];
        }
        cache.truncate(0);
        assert_eq!(ahead(&model, &prompt, &[1, 8], &mut cache).await, ids[prompt.len()..][..9]);
        cache.truncate(0);
    }
}

/// What is recorded is in order with the work of its own thread only.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn a_cache_that_goes_to_another_thread_is_recorded_anew() {
    let tiny = tiny(&gpu().await.device);
    let expected = &tiny.ids[tiny.prompt.len()..];
    let mut cache = tiny.model.new_cache(64).unwrap();
    assert_eq!(ahead(&tiny.model, &tiny.prompt, &[1, 5], &mut cache).await, expected[..6]);
    let in_thread = |cache: &mut KvCache| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(ahead(&tiny.model, &expected[5..6], &[4], cache))
    };
    let made = std::thread::scope(|scope| scope.spawn(|| in_thread(&mut cache)).join().unwrap());
    assert_eq!(made, expected[6..10]);
    assert_eq!(ahead(&tiny.model, &expected[9..10], &[4], &mut cache).await, expected[10..14]);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_cache_gives_what_reading_it_all_gives() {
    let tiny = tiny(&cpu().await.device);
    let vocabulary = tiny.model.config().vocab_size;
    let mut cache = tiny.model.new_cache(40).unwrap();

    let mut logits = Vec::new();
    for id in &tiny.ids {
        logits.extend(next_logits(&tiny.model, &mut cache, &[*id]).await.unwrap());
    }
    assert_close("one by one", &logits, &tiny.logits, LOGIT_TOLERANCE);

    // Another continuation from position 5, then back to the same point.
    cache.truncate(5);
    all_logits(&tiny.model, &mut cache, &[7, 8, 9]).await;
    cache.truncate(5);
    assert_eq!(cache.len(), 5);
    let logits = all_logits(&tiny.model, &mut cache, &tiny.ids[5..]).await;
    assert_close("after going back", &logits, &tiny.logits[5 * vocabulary..], LOGIT_TOLERANCE);
}

/// A model whose prompt is longer than one chunk of prefill reads it in several.
#[wasm_bindgen_test(unsupported = tokio::test)]
async fn chunks_of_prefill_join_seamlessly() {
    let gguf = Gguf::parse(TINY).unwrap();
    let config = LlamaConfig { max_position_embeddings: 600, ..LlamaConfig::from_gguf(&gguf).unwrap() };
    let device = cpu().await.device;
    let mut source = GgufSource::new(&gguf, &config, Activations::Exact, &device);
    let model = Llama::load(config.clone(), &mut source, "", &device).unwrap();
    let ids: Vec<u32> = (0..530).map(|i| (i * 7) % 350).collect();
    let whole = all_logits(&model, &mut model.new_cache(600).unwrap(), &ids).await;
    let mut cache = model.new_cache(600).unwrap();
    let mut parts = Vec::new();
    for part in ids.chunks(100) {
        parts.extend(all_logits(&model, &mut cache, part).await);
    }
    assert_close("530 positions", &parts, &whole, LOGIT_TOLERANCE);
}
