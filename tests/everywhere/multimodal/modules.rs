//! Every module alone.

use super::*;

const EXPECTED: &[u8] = include_bytes!("../../fixtures/setokim_tiny.safetensors");
const DETOK: &[u8] = include_bytes!("../../fixtures/detok_tiny.safetensors");

fn golden_tensor<const D: usize>(name: &str, open: &OpenDevice) -> Tensor<D> {
    let (shape, values) = read_safetensors_f32(EXPECTED, name).expect("in the fixture");
    Tensor::from_data(TensorData::new(values, shape), (&open.device, DType::F32))
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn projector_equals_pytorch() {
    for open in devices().await {
        let projector = Projector::load(&mut tiny_store(&open), 8, 16).expect("loads");
        let normal = projector.normalize(golden_tensor("tokens", &open));
        assert_close("normalized", &floats(normal.clone()).await, &golden(EXPECTED, "normalized_tokens"), TOLERANCE);
        assert_close(
            "denormalized",
            &floats(projector.denormalize(normal)).await,
            &golden(EXPECTED, "tokens"),
            TOLERANCE,
        );
    }
}

/// The prompt of the fixture: words around one image.
fn golden_positions() -> Vec<Position> {
    let tokens = golden(EXPECTED, "normalized_tokens");
    let slots = golden_integers(EXPECTED, "slots");
    let position = |(id, slot): (i32, i32)| match usize::try_from(slot) {
        Ok(slot) => Position::Visual { slot, token: tokens[slot * 8..][..8].to_vec() },
        Err(_) => Position::Word(id as u32),
    };
    golden_integers(EXPECTED, "ids").into_iter().zip(slots).map(position).collect()
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn words_and_visual_tokens_give_pytorchs_hidden_states() {
    for open in devices().await {
        let model = tiny_model(open);
        let language = model.language().expect("has one");
        let positions = golden_positions();
        let embeddings = floats(language.embed(&positions).expect("known ids")).await;
        assert_close("embeddings", &embeddings, &golden(EXPECTED, "embeddings"), TOLERANCE);
        let mut cache = language.llama().new_cache(64).expect("fits");
        let hidden = language.forward(&positions, &mut cache).expect("fits");
        assert_close("hidden", &floats(hidden.clone()).await, &golden(EXPECTED, "hidden"), TOLERANCE);
        let logits = floats(language.llama().logits(hidden, None)).await;
        assert_close("logits", &logits, &golden(EXPECTED, "logits"), TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_picture_is_seen_largest_token_first() {
    for open in devices().await {
        let model = tiny_model(open);
        let image = golden_picture(EXPECTED, "pixels");
        let encoded = model.encode_image(&image).await.expect("works");
        let order: Vec<usize> = golden_integers(EXPECTED, "token_order").iter().map(|&id| id as usize).collect();
        assert_eq!(encoded.ids, order);
        assert_close("tokens", &encoded.tokens.concat(), &golden(EXPECTED, "normalized_tokens"), TOLERANCE);
        let report = model.tokenize(&image).await.expect("works").report;
        for (label, id) in encoded.labels.iter().zip(&report.labels) {
            assert_eq!(encoded.ids[*label as usize], *id as usize);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn diffusion_head_equals_pytorch() {
    let settings = config().diffusion.expect("has one");
    for open in devices().await {
        let head = DiffusionHead::load(&mut tiny_store(&open), &settings, 8, 16).expect("loads");
        assert_close("levels", head.levels(), &golden(EXPECTED, "diffusion_levels"), 1e-6);
        let noise = || golden_tensor::<2>("diffusion_noise", &open);
        let condition = || golden_tensor::<2>("diffusion_condition", &open);
        let v = floats(head.forward(noise(), 500, condition())).await;
        assert_close("v", &v, &golden(EXPECTED, "diffusion_v_at_500"), TOLERANCE);
        for (guidance, name) in [(1.0, "diffusion_sample_5_steps"), (2.0, "diffusion_sample_5_steps_guidance_2")] {
            let options = DiffusionOptions { steps: 5, guidance, ..DiffusionOptions::default() };
            let drawn = floats(head.sample(noise(), condition(), &options)).await;
            assert_close(name, &drawn, &golden(EXPECTED, name), DRAWN_TOLERANCE);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn mask_head_equals_pytorch() {
    let config = config();
    for open in devices().await {
        let mut store = tiny_store(&open);
        let vision = VisionEncoder::load(&mut store, &config.vision).expect("loads");
        let head = MaskHead::load(&mut store, &config.mask_head.expect("has one"), 16, &config.vision).expect("loads");
        let image = golden_picture(EXPECTED, "pixels");
        let pixels: Vec<f32> =
            (0..3).flat_map(|c| image.rgb().iter().skip(c).step_by(3)).map(|&v| f32::from(v) / 127.5 - 1.0).collect();
        let pixels = Tensor::<4>::from_data(TensorData::new(pixels, [1, 3, 32, 32]), (&open.device, DType::F32));
        let VisionOutput { features, stem, .. } = vision.encode(pixels);
        let norm = setokim::nn::norms::LayerNorm::without_affine(16, 1e-6, &open.device);
        let maps = FeatureMaps {
            features: norm.forward(features.squeeze_dim(0)),
            finer: FinerMaps::Stem { stride4: stem[1].clone(), stride2: stem[0].clone() },
        };
        let logits = head.forward(golden_tensor("mask_hidden", &open), &maps).expect("of this encoder");
        assert_eq!(logits.dims(), [2, 16, 16]);
        let logits = floats(logits).await;
        assert_close("logits", &logits, &golden(EXPECTED, "mask_logits"), TOLERANCE);

        let large = golden(EXPECTED, "mask_logits_full_size");
        let first = MaskLogits::new(logits[..256].to_vec(), 16).expect("fills");
        let at = |i: usize| (f64::from(i as u32) + 0.5) / f64::from(SIDE);
        let ours: Vec<f32> = (0..32 * 32).map(|i| first.at(at(i % 32), at(i / 32))).collect();
        assert_close("full size", &ours, &large[..32 * 32], TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn layout_equals_pytorch() {
    let config = config();
    let settings = config.detokenizer.expect("has one");
    for open in devices().await {
        let detok = Detokenizer::load(&mut tiny_store(&open), &settings, &config.vision, 8).expect("loads");
        let tokens = golden(DETOK, "tokens");
        let tokens = matrix(&tokens, [tokens.len() / 8, 8], &open.device);
        let layout = floats(detok.layout(tokens).expect("has a block")).await;
        assert_close("layout", &layout, &golden(DETOK, "layout"), TOLERANCE);
    }
}
