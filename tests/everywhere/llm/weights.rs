//! Configs and weights, as files have them.

use super::*;

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
        assert_eq!(error.code(), "config-invalid", "{to}: {error}");
    }
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
