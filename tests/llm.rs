//! The language model against numbers made without it: logits by NumPy, tokens by llama.cpp, packed products by plain
//! loops. The fixtures come from `training/fixtures/gguf_files.py`.
#![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use common::{assert_close, cpu, floats, gpu, matrix, noise, vector};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use setokim::Error;
use setokim::formats::blocks::WeightKind;
use setokim::formats::gguf::Gguf;
use setokim::kernels::epilogue::{Epilogue, Norm};
use setokim::kernels::quant_matmul::{
    Activations, PackedShape, pack, quant_matmul, quant_matmul_reference, quant_rows, quant_rows_reference,
};
use setokim::kernels::{Gelu, gelu_reference, rms_norm_reference, swiglu_reference};
use setokim::model::complete::{CompleteOptions, complete};
use setokim::model::decode::Finish;
use setokim::model::llm::TokenMask;
use setokim::model::llm::{GgufSource, KvCache, Llama, LlamaConfig};
use setokim::model::sampler::{Sampler, Sampling};
use setokim::nn::tensor_store::TensorStore;
use setokim::text::template::names;
use setokim::text::{ChatTemplate, Message, Part, PromptPiece, Role, Tokenizer};
use wasm_bindgen_test::wasm_bindgen_test;

const TINY: &[u8] = include_bytes!("fixtures/tiny.gguf");
const EXPECTED: &[u8] = include_bytes!("fixtures/tiny_gguf_logits.safetensors");
const PROMPT: &str = "It's 2024: the café";

/// Logits are below 10 and pass through two layers in f32; NumPy's are float64.
const LOGIT_TOLERANCE: f32 = 1e-4;

struct Tiny {
    model: Llama,
    tokenizer: Tokenizer,
    ids: Vec<u32>,
    prompt: Vec<u32>,
    /// `[T, vocabulary]`
    logits: Vec<f32>,
}

fn tiny(device: &Device) -> Tiny {
    let gguf = Gguf::parse(TINY).unwrap();
    let expected = SafeTensors::deserialize(EXPECTED).unwrap();
    let ids = |name| -> Vec<u32> { bytemuck::pod_collect_to_vec(expected.tensor(name).unwrap().data()) };
    Tiny {
        model: Llama::from_gguf(&gguf, Activations::Exact, device).unwrap(),
        tokenizer: Tokenizer::from_gguf(&gguf).unwrap(),
        ids: ids("ids"),
        prompt: ids("prompt"),
        logits: bytemuck::pod_collect_to_vec(expected.tensor("logits").unwrap().data()),
    }
}

/// Logits of every position, `[T, vocabulary]`.
async fn all_logits(model: &Llama, cache: &mut KvCache, ids: &[u32]) -> Vec<f32> {
    let hidden = model.forward(model.embed(ids).unwrap(), cache).unwrap();
    floats(model.logits(hidden, None)).await
}

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
    let options = CompleteOptions { max_tokens: 16, sampling: Sampling::greedy(), stop: Vec::new() };
    let abort = AtomicBool::new(false);
    let mut first = None;
    for _ in 0..2 {
        let mut shown = String::new();
        let completion =
            complete(&tiny.model, &tiny.tokenizer, PROMPT, &options, &abort, async |text| shown += text).await.unwrap();
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
            let options = CompleteOptions { max_tokens: 40, sampling, stop: Vec::new() };
            let done = complete(&model, &tokenizer, PROMPT, &options, &AtomicBool::new(false), async |_| ()).await;
            texts.push(done.unwrap().steps.iter().map(|step| step.id).collect::<Vec<u32>>());
        }
    }
    let (on_gpu, on_cpu) = texts.split_at(4);
    assert_eq!(on_gpu, on_cpu);
    assert!(on_gpu[..3].iter().all(|drawn| *drawn != on_gpu[3]), "drawn, not the best: {on_gpu:?}");
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

/// The tiny model's weights as a safetensors file under Hugging Face names, with a head of its own.
fn plain_weights(gguf: &Gguf<'_>, config: &LlamaConfig, device: &Device, prefix: &str) -> TensorStore {
    let source = GgufSource::new(gguf, config, Activations::Exact, device);
    let inside = [
        "input_layernorm",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "post_attention_layernorm",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ];
    let layers =
        (0..config.num_hidden_layers).flat_map(|i| inside.map(|name| format!("model.layers.{i}.{name}.weight")));
    let outside = ["model.embed_tokens.weight", "model.norm.weight"].map(str::to_owned);
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for name in layers.chain(outside) {
        let raw = source.tensor(&name).unwrap();
        tensors.insert(prefix.to_owned() + &name, (raw.shape.clone(), bytemuck::cast_slice(&raw.to_f32()).to_vec()));
    }
    let head = tensors[&format!("{prefix}model.embed_tokens.weight")].clone();
    tensors.insert(format!("{prefix}lm_head.weight"), head);
    let views =
        tensors.iter().map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let mut store = TensorStore::new(device);
    store.add_shard("plain", serialize(views, None).unwrap()).unwrap();
    store
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn plain_weights_and_an_untied_head_give_the_same() {
    let gguf = Gguf::parse(TINY).unwrap();
    let config = LlamaConfig::from_gguf(&gguf).unwrap();
    let device = cpu().await.device;
    let mut store = plain_weights(&gguf, &config, &device, "llm.");
    let untied = LlamaConfig { tie_word_embeddings: false, ..config };
    let model = Llama::load(untied, &mut store, "llm.", &device).unwrap();
    assert_eq!(store.leftover().count(), 0);
    let tiny = tiny(&device);
    let logits = all_logits(&model, &mut model.new_cache(64).unwrap(), &tiny.ids).await;
    assert_close("plain weights", &logits, &tiny.logits, LOGIT_TOLERANCE);
}

#[wasm_bindgen_test(unsupported = test)]
fn config_json_of_hugging_face() {
    // https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct/blob/main/config.json, the fields that matter
    let text = r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "hidden_act": "silu",
        "hidden_size": 576, "intermediate_size": 1536, "max_position_embeddings": 8192, "mlp_bias": false,
        "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "rms_norm_eps": 1e-05,
        "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true, "vocab_size": 49152}"#;
    let config = LlamaConfig::from_json(text).unwrap();
    assert_eq!((config.head_dim, config.query_width(), config.key_value_width()), (64, 576, 192));
    for (from, to) in [
        ("\"num_key_value_heads\": 3", "\"num_key_value_heads\": 4"),
        ("\"hidden_size\": 576", "\"hidden_size\": 0"),
        ("\"hidden_size\": 576", "\"hidden_size\": 576, \"head_dim\": 16777216"),
        ("\"attention_bias\": false", "\"attention_bias\": true"),
        ("\"silu\"", "\"gelu\""),
        ("\"rope_theta\": 100000", "\"rope_theta\": \"big\""),
    ] {
        let error = LlamaConfig::from_json(&text.replace(from, to)).unwrap_err();
        let is_known = to.contains("attention_bias") || to.contains("gelu"); // sound, and not computed here
        assert_eq!(error.code(), if is_known { "unsupported" } else { "config-invalid" }, "{to}: {error}");
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn bad_requests_are_errors_and_the_next_works() {
    let tiny = tiny(&cpu().await.device);
    let go = AtomicBool::new(false);
    let run = async |prompt: &str, max_tokens, abort: &AtomicBool| {
        let options = CompleteOptions { max_tokens, sampling: Sampling::greedy(), stop: Vec::new() };
        complete(&tiny.model, &tiny.tokenizer, prompt, &options, abort, async |_| ()).await
    };
    assert_eq!(run("", 4, &go).await.unwrap_err().code(), "prompt-invalid");
    assert_eq!(run(PROMPT, 4, &AtomicBool::new(true)).await.unwrap_err().code(), "aborted");
    match run(PROMPT, 60, &go).await.unwrap_err() {
        Error::ContextOverflow { needed, available } => assert_eq!((needed, available), (tiny.prompt.len() + 60, 64)),
        other => panic!("{other}"),
    }
    assert_eq!(run(PROMPT, usize::MAX, &go).await.unwrap_err().code(), "context-overflow");
    let long = PROMPT.repeat(20);
    assert_eq!(run(&long, 1, &go).await.unwrap_err().code(), "context-overflow");
    assert_eq!(tiny.model.embed(&[0, 5000]).unwrap_err().code(), "tokenizer-invalid");
    assert!(tiny.model.embed(&[]).is_err());
    let mut cache = tiny.model.new_cache(3).unwrap();
    let error = tiny.model.forward(tiny.model.embed(&[1, 2, 3, 4]).unwrap(), &mut cache).unwrap_err();
    assert_eq!(error.code(), "context-overflow");
    assert!(cache.is_empty(), "a refused request leaves the cache as it was");
    assert_eq!(run(PROMPT, 2, &go).await.unwrap().steps.len(), 2);
    assert_eq!(run(PROMPT, 0, &go).await.unwrap().text, "");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn an_abort_takes_effect_within_one_token() {
    let tiny = tiny(&cpu().await.device);
    let options = CompleteOptions { max_tokens: 40, sampling: Sampling::greedy(), stop: Vec::new() };
    let abort = AtomicBool::new(false);
    let mut pieces = 0;
    let stop_at_first = async |_: &str| {
        pieces += 1;
        abort.store(true, Ordering::Relaxed);
    };
    let result = complete(&tiny.model, &tiny.tokenizer, PROMPT, &options, &abort, stop_at_first).await;
    assert_eq!(result.unwrap_err().code(), "aborted");
    assert_eq!(pieces, 1);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_stop_string_ends_the_text_before_it() {
    let tiny = tiny(&cpu().await.device);
    let text = tiny.tokenizer.decode(&tiny.ids[tiny.prompt.len()..]);
    let stop: String = text.chars().skip(5).take(2).collect();
    let options = CompleteOptions { max_tokens: 16, sampling: Sampling::greedy(), stop: vec![stop.clone()] };
    let go = AtomicBool::new(false);
    let completion = complete(&tiny.model, &tiny.tokenizer, PROMPT, &options, &go, async |_| ()).await.unwrap();
    assert_eq!(completion.finish, Finish::Stop);
    assert_eq!(completion.text, text[..text.find(&stop).unwrap()]);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_vocabulary_larger_than_the_embeddings_is_refused() {
    let gguf = Gguf::parse(TINY).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    tokenizer.check_embeddings(tokenizer.vocab_size()).unwrap();
    let error = tokenizer.check_embeddings(tokenizer.vocab_size() - 1).unwrap_err();
    assert_eq!(error.code(), "tokenizer-invalid");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_config_that_disagrees_with_the_weights_is_refused() {
    let gguf = Gguf::parse(TINY).unwrap();
    let device = cpu().await.device;
    let config = LlamaConfig::from_gguf(&gguf).unwrap();
    for (wrong, code) in [
        (LlamaConfig { vocab_size: 7, ..config.clone() }, "tensor-shape"),
        (LlamaConfig { intermediate_size: 64, ..config.clone() }, "tensor-shape"),
        (LlamaConfig { num_hidden_layers: 3, ..config.clone() }, "tensor-missing"),
        (LlamaConfig { tie_word_embeddings: false, ..config.clone() }, "tensor-missing"),
    ] {
        let error =
            Llama::load(wrong.clone(), &mut GgufSource::new(&gguf, &wrong, Activations::Exact, &device), "", &device)
                .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn text_becomes_the_tokens_of_llama_cpp() {
    #[derive(serde::Deserialize)]
    struct Expected {
        texts: Vec<String>,
        ids: BTreeMap<String, Vec<Vec<u32>>>,
    }
    let expected: Expected = serde_json::from_str(include_str!("fixtures/gguf_tokens.json")).unwrap();
    let families: [(&str, &[u8]); 4] = [
        ("default", include_bytes!("fixtures/vocab_default.gguf")),
        ("gpt-2", include_bytes!("fixtures/vocab_gpt-2.gguf")),
        ("smollm", include_bytes!("fixtures/vocab_smollm.gguf")),
        ("llama-bpe", include_bytes!("fixtures/vocab_llama-bpe.gguf")),
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
    let question = vec![Part::Text("is ".into()), Part::Image, Part::Text(" a dog?".into())];
    let messages = [
        Message { role: Role::User, parts: question },
        Message::text(Role::Assistant, "yes"),
        Message { role: Role::User, parts: vec![Part::Image] },
    ];
    let pieces = ChatTemplate::Setokim.encode(&own, &messages).unwrap();
    let ids = |parts: &[&[u32]]| PromptPiece::Ids(parts.concat());
    assert_eq!(
        pieces,
        [
            ids(&[&[id(names::BEGIN), id(names::USER)], &text("is "), &[id(names::IMAGE)]]),
            PromptPiece::Image(0),
            ids(&[
                &[id(names::IMAGE_END)],
                &text(" a dog?"),
                &[id(names::END), id(names::ASSISTANT)],
                &text("yes"),
                &[id(names::END), id(names::USER), id(names::IMAGE)],
            ]),
            PromptPiece::Image(1),
            ids(&[&[id(names::IMAGE_END), id(names::END), id(names::ASSISTANT)]]),
        ]
    );

    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(TINY).unwrap()).unwrap();
    let text = |text| tokenizer.encode(text).unwrap();
    let pieces = ChatTemplate::ChatMl.encode(&tokenizer, &[Message::text(Role::User, "<|im_end|>")]).unwrap();
    let expected = [vec![1], text("user\n<|im_end|>"), vec![2], text("\n"), vec![1], text("assistant\n")].concat();
    assert_eq!(pieces, [PromptPiece::Ids(expected)]);
    assert!(ChatTemplate::Setokim.encode(&tokenizer, &messages).is_err(), "this vocabulary has no <user>");
    let system = [Message::text(Role::System, "be kind")];
    assert_eq!(ChatTemplate::Setokim.encode(&own, &system).unwrap_err().code(), "unsupported");
}

/// Blocks of a file with all sorts of scales, also tiny ones that are subnormal as f16.
fn file_blocks(kind: WeightKind, shape: PackedShape) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes = Vec::new();
    for block in 0..shape.rows * shape.columns / kind.block_len() {
        let start = bytes.len();
        bytes.extend((0..kind.block_bytes()).map(|_| byte()));
        let scale = if block % 7 == 3 { 3.1e-6 } else { 0.02 + 0.001 * (block % 50) as f32 };
        let scale = half::f16::from_f32(scale).to_le_bytes();
        match kind {
            WeightKind::F32 => bytes[start..].copy_from_slice(&(f32::from(byte()) * 0.01 - 1.2).to_le_bytes()),
            WeightKind::F16 if block % 7 == 3 => bytes[start..].copy_from_slice(&scale),
            WeightKind::F16 => {
                let weight = half::f16::from_f32(f32::from(byte()) * 0.01 - 1.2);
                bytes[start..].copy_from_slice(&weight.to_le_bytes());
            }
            WeightKind::BF16 => {
                let weight = half::bf16::from_f32(f32::from(byte()) * 0.01 - 1.2);
                bytes[start..].copy_from_slice(&weight.to_le_bytes());
            }
            WeightKind::Q8_0 | WeightKind::Q4_0 => bytes[start..start + 2].copy_from_slice(&scale),
            WeightKind::Q4_1 => {
                let minimum = half::f16::from_f32(-0.2 + 0.003 * (block % 40) as f32).to_le_bytes();
                bytes[start..start + 4].copy_from_slice(&[scale, minimum].concat());
            }
        }
    }
    bytes
}

fn words_tensor(words: &[u32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(words.to_vec(), [words.len()]), (device, DType::U32))
}

/// `quant_matmul` and `quant_rows` of one matrix against their references.
async fn packed_products_agree(kind: WeightKind, rows: usize, columns: usize, tokens: usize, device: &Device) {
    let shape = PackedShape::new(kind, rows, columns).unwrap();
    let words = pack(&file_blocks(kind, shape), shape);
    assert_eq!(words.len(), shape.words());
    let numbers: Vec<f32> = (0..tokens * columns).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();

    let expected = quant_matmul_reference(&numbers, &words, shape);
    let x = matrix(&numbers, [tokens, columns], device);
    // Sums of up to 352 products below 4, against f64: in f32, and with activations that are off by up to 1/65,000.
    for (activations, tolerance) in [(Activations::Exact, 1e-3), (Activations::Rounded, 4e-3)] {
        let name = format!("{} [{rows}, {columns}] x {tokens}, {activations:?}", kind.name());
        let product = |epilogue| quant_matmul(x.clone(), words_tensor(&words, device), epilogue, shape, activations);
        assert_close(&name, &floats(product(Epilogue::default())).await, &expected, tolerance);

        let (bias, residual) = (noise(rows, 31), noise(tokens * rows, 32));
        for (gelu, has_bias, has_residual) in [
            (None, true, false),
            (None, false, true),
            (Some(Gelu::Exact), false, false),
            (Some(Gelu::Tanh), true, true),
        ] {
            let epilogue = Epilogue {
                bias: has_bias.then(|| vector(&bias, device)),
                gelu,
                residual: has_residual.then(|| matrix(&residual, [tokens, rows], device)),
                ..Epilogue::default()
            };
            let mut known: Vec<f32> =
                expected.iter().enumerate().map(|(at, y)| if has_bias { y + bias[at % rows] } else { *y }).collect();
            if let Some(gelu) = gelu {
                known = gelu_reference(&known, gelu);
            }
            if has_residual {
                known.iter_mut().zip(&residual).for_each(|(y, residual)| *y += residual);
            }
            assert_close(&name, &floats(product(epilogue)).await, &known, tolerance);
        }

        let norm = noise(columns, 33);
        let epilogue = |is_swiglu| {
            let norm = Some(Norm { weight: vector(&norm, device), eps: 1e-5 });
            Epilogue { norm, is_swiglu, ..Epilogue::default() }
        };
        let normal = quant_matmul_reference(&rms_norm_reference(&numbers, &norm, 1e-5), &words, shape);
        assert_close(&name, &floats(product(epilogue(false))).await, &normal, 2.0 * tolerance);
        if rows.is_multiple_of(2) {
            // A product of two sums, each of which is some units large and as far off.
            let known = swiglu_reference(&normal, rows / 2);
            let largest = normal.iter().fold(1.0_f32, |largest, y| largest.max(y.abs()));
            assert_close(&name, &floats(product(epilogue(true))).await, &known, 4.0 * largest * tolerance);
        }
    }
    let name = format!("{} [{rows}, {columns}] x {tokens}", kind.name());

    let ids: Vec<u32> = (0..tokens).map(|i| (i * 3 % rows) as u32).collect();
    let wanted: Vec<usize> = ids.iter().map(|id| *id as usize).collect();
    let unpacked = floats(quant_rows(words_tensor(&words, device), words_tensor(&ids, device), shape)).await;
    assert_close(&name, &unpacked, &quant_rows_reference(&words, &wanted, shape), 1e-6);
}

async fn all_packed_products_agree(device: &Device) {
    for kind in WeightKind::ALL {
        for (rows, columns, tokens) in [(1, 32, 1), (5, 96, 1), (70, 352, 1), (1, 32, 2), (33, 64, 33), (70, 352, 5)] {
            packed_products_agree(kind, rows, columns, tokens, device).await;
        }
    }
    for kind in [WeightKind::F32, WeightKind::F16, WeightKind::BF16] {
        for tokens in [1, 3] {
            packed_products_agree(kind, 9, 4, tokens, device).await;
            packed_products_agree(kind, 9, 44, tokens, device).await;
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn packed_products_agree_with_plain_loops_on_the_cpu() {
    let device = cpu().await.device;
    all_packed_products_agree(&device).await;
    // More weights than are unpacked at a time.
    packed_products_agree(WeightKind::Q4_1, 20_000, 32, 2, &device).await;
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn rounded_activations_keep_zeros_and_what_is_not_finite() {
    let device = cpu().await.device;
    let shape = PackedShape::new(WeightKind::Q8_0, 3, 64).unwrap();
    let words = pack(&file_blocks(WeightKind::Q8_0, shape), shape);
    for tokens in [1, 2, 3] {
        let product = async |x: &[f32]| {
            let x = matrix(&x.repeat(tokens), [tokens, 64], &device);
            floats(quant_matmul(x, words_tensor(&words, &device), Epilogue::default(), shape, Activations::Rounded))
                .await
        };
        assert_eq!(product(&[0.0; 64]).await, vec![0.0; 3 * tokens]);
        for poison in [f32::NAN, f32::INFINITY] {
            let mut x = [0.5; 64];
            x[40] = poison;
            assert!(product(&x).await.iter().all(|y| !y.is_finite()), "{poison} does not vanish");
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn packed_products_agree_with_plain_loops_on_the_gpu() {
    all_packed_products_agree(&gpu().await.device).await;
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn more_than_65535_workgroups_on_the_gpu() {
    packed_products_agree(WeightKind::F16, 4 * 65_535 + 9, 4, 1, &gpu().await.device).await;
}
