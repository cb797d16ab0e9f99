//! `convert`: what goes in comes out, in fewer bits. Sources are the fixtures of the other tests.

use std::fs;
use std::path::Path;

use crate::common::{assert_close, cpu, floats};
use setokim::convert::{
    Draft, LeftOut, Part, Precision, Precisions, Report, SHARD_BYTES, SourceOptions, open_source, write_bundle,
};
use setokim::formats::gguf::Gguf;
use setokim::formats::manifest::Manifest;
use setokim::image::Image;
use setokim::kernels::quant_matmul::Activations;
use setokim::model::folder::{read_tokenizer, read_weights};
use setokim::model::llm::{Llama, LlamaConfig};
use setokim::model::setokim::Setokim;
use setokim::nn::tensor_store::TensorStore;
use setokim::runtime::device::OpenDevice;
use setokim::text::{Role, Tokenizer};
use setokim::{Error, Message, Part as Piece, Result};

const TINY: &str = "tests/fixtures/tiny-setokim";
const CHECKPOINT: &str = "tests/fixtures/tiny_checkpoint.pt";
const SIGLIP: &str = "tests/fixtures/siglip-tiny";
const LLAMA: &str = "tests/fixtures/llama-tiny";
const GGUF: &str = "tests/fixtures/tiny.gguf";
const REFERENCE: &str = "tests/fixtures/reference";

fn folder_draft(folder: &Path) -> Result<Draft> {
    open_source(folder, SourceOptions::default())
}

fn checkpoint_draft(path: &Path, tokenizer: Option<Vec<u8>>) -> Result<Draft> {
    open_source(path, SourceOptions { tokenizer, ..SourceOptions::default() })
}

fn assembled_draft(siglip: &str, language: &str, seed: u64) -> Result<Draft> {
    open_source(siglip.as_ref(), SourceOptions { language: Some(language.into()), seed, ..SourceOptions::default() })
}

fn write(draft: &Draft, precision: Precision, folder: &Path) -> Report {
    write_bundle(draft, &Precisions::all(precision), SHARD_BYTES, folder).expect("written")
}

fn open(folder: &Path, device: OpenDevice) -> Setokim {
    Setokim::open(folder, device, |_| ()).expect("what was written loads")
}

fn image() -> Image {
    let rgb = |x: u32, y: u32| [if x < 20 { 220 } else { 30 }, if y < 12 { 200 } else { 60 }, (x * 5 + y) as u8];
    Image::from_rgb((0..32).flat_map(|y| (0..32).flat_map(move |x| rgb(x, y))).collect(), 32, 32).expect("a picture")
}

async fn features(model: &Setokim) -> Vec<f32> {
    floats(model.encode(&model.preprocess(&image()).expect("a square"))).await
}

async fn logits(llama: &Llama, ids: &[u32]) -> Vec<f32> {
    let mut cache = llama.new_cache(ids.len()).expect("room");
    let hidden = llama.forward(llama.embed(ids).expect("known ids"), &mut cache).expect("room");
    floats(llama.logits(hidden, None)).await
}

fn code<T>(result: Result<T>) -> &'static str {
    result.err().map_or("ok", |error| error.code())
}

/// Largest difference as a share of the largest value.
fn relative_error(ours: &[f32], theirs: &[f32]) -> f32 {
    let largest = theirs.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

/// Everything a model can be asked for works.
async fn answers(model: &Setokim) {
    let encoded = model.encode_image(&image()).await.expect("seen");
    assert!(!encoded.tokens.is_empty());
    let message =
        Message { role: Role::User, parts: vec![Piece::Image(encoded), Piece::Text("what is this ?".into())] };
    let options = setokim::model::answer::AnswerOptions { max_tokens: 6, ..Default::default() };
    let answer = model.chat(&[message], &options).await.expect("an answer");
    assert!(answer.usage.answer_tokens > 0);
}

#[tokio::test]
async fn our_folder_comes_back_in_every_precision() {
    let folder = tempfile::tempdir().expect("a folder");
    let draft = folder_draft(TINY.as_ref()).expect("a folder of ours");
    let original = open(TINY.as_ref(), cpu().await);
    let want = features(&original).await;
    // Rounding of weights, through two layers: f16 keeps 11 bits, q8 at least 7 of each block of 32, q4 3. In this small
    // model nearly all rows are too short to be packed, so q4 is no worse than it looks here.
    for (precision, tolerance) in
        [(Precision::F32, 0.0), (Precision::F16, 2e-3), (Precision::Q8, 1e-2), (Precision::Q4, 0.1)]
    {
        let report = write(&draft, precision, folder.path());
        assert_eq!(report.rows.iter().map(|row| row.part).collect::<Vec<_>>(), Part::ALL);
        let model = open(folder.path(), cpu().await);
        let error = relative_error(&features(&model).await, &want);
        assert!(error <= tolerance, "{precision:?}: {error}");
        answers(&model).await;
    }
    let vision = write(&draft, Precision::Q8, folder.path()).rows.remove(0);
    assert!(vision.types.contains(&"q8_0".to_string()), "{vision:?}");
}

#[test]
fn the_same_source_gives_the_same_files() {
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let draft = folder_draft(TINY.as_ref()).expect("a folder of ours");
    let one = write(&draft, Precision::Q8, first.path());
    assert_eq!(one, write(&draft, Precision::Q8, second.path()));
    // Packed once, packed for good.
    let again = folder_draft(first.path()).expect("a folder of ours");
    assert_eq!(one, write(&again, Precision::Keep, second.path()));
    assert_eq!(one, write(&again, Precision::Q8, second.path()));
}

#[test]
fn a_checkpoint_is_its_averaged_weights() {
    let [from_checkpoint, from_folder] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let text = fs::read(Path::new(TINY).join("tokenizer.json")).expect("the fixture");
    let draft = checkpoint_draft(CHECKPOINT.as_ref(), Some(text)).expect("ours");
    // Its matrices are stored as f16.
    let report = write(&draft, Precision::Keep, from_checkpoint.path());
    let folder = folder_draft(TINY.as_ref()).expect("a folder of ours");
    assert_eq!(report.rows, write(&folder, Precision::F16, from_folder.path()).rows);
    let shard = "setokim-00001.safetensors";
    let [ours, theirs] = [&from_checkpoint, &from_folder].map(|at| fs::read(at.path().join(shard)).expect("written"));
    assert_eq!(ours, theirs);
}

#[test]
fn bad_checkpoints_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.pt");
    assert_eq!(code(checkpoint_draft(CHECKPOINT.as_ref(), None)), "convert-unsupported", "no tokenizer.json");
    assert_eq!(code(checkpoint_draft(&path, None)), "io");
    let whole = fs::read(CHECKPOINT).expect("the fixture");
    for length in (0..whole.len()).step_by(whole.len() / 97) {
        fs::write(&path, &whole[..length]).expect("written");
        assert_ne!(code(checkpoint_draft(&path, Some(b"{}".to_vec()))), "ok", "{length} bytes");
    }
    let draft = folder_draft(SIGLIP.as_ref()).expect("a tower alone is a model too");
    assert!(draft.tokenizer.is_none());
}

#[tokio::test]
async fn a_tower_and_a_llama_become_one_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let draft = assembled_draft(SIGLIP, LLAMA, 7).expect("two sound folders");
    assert!(draft.notes.iter().any(|note| note.contains("seed 7")), "{:?}", draft.notes);
    let tower = features(&open(SIGLIP.as_ref(), cpu().await)).await;
    let llama_config = LlamaConfig::from_json(&setokim::model::folder::read_config(LLAMA.as_ref()).expect("a config"));
    let llama_config = llama_config.expect("a LLaMA");
    let device = cpu().await.device;
    let mut store = TensorStore::new(&device);
    read_weights(LLAMA.as_ref(), &mut store, &mut |_| ()).expect("sound");
    let llama = Llama::load(llama_config.clone(), &mut store, "", &device).expect("loads");
    let ids = [17, 200, 5, 90, 33];
    let want = logits(&llama, &ids).await;

    // All matrices of both are packed here. A q4 weight is off by up to a fourteenth of the largest of its block, and
    // sums of 32 to 96 random errors pass through two layers and, in the logits, a table whose rows are as large as the rest.
    let errors = [(Precision::F32, 1e-6, 1e-6), (Precision::Q8, 2e-2, 5e-2), (Precision::Q4, 0.3, 0.5)];
    for (precision, features_off, logits_off) in errors {
        write(&draft, precision, folder.path());
        let model = open(folder.path(), cpu().await);
        let error = relative_error(&features(&model).await, &tower);
        assert!(error <= features_off, "features, {precision:?}: {error}");
        let llama = model.language().expect("it talks").llama();
        let vocabulary = llama.config().vocab_size;
        let ours: Vec<f32> = logits(llama, &ids).await.chunks(vocabulary).flat_map(|row| row[..320].to_vec()).collect();
        let error = relative_error(&ours, &want);
        assert!(error <= logits_off, "logits, {precision:?}: {error}");
        answers(&model).await;
    }
}

#[tokio::test]
async fn a_gguf_file_keeps_its_weights_and_its_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let draft = assembled_draft(SIGLIP, GGUF, 0).expect("a tower and a GGUF file");
    write(&draft, Precision::Keep, folder.path());
    let bytes = fs::read(GGUF).expect("the fixture");
    let gguf = Gguf::parse(&bytes).expect("sound");
    let before = Tokenizer::from_gguf(&gguf).expect("byte-level BPE");
    let after = Tokenizer::from_json(&read_tokenizer(folder.path()).expect("written")).expect("ours");
    for text in ["It's 2024: the café", "<|im_end|> [Img]", "  a\n\nb\t123 ", "日本", ""] {
        let ids = before.encode(text).expect("any text");
        assert_eq!(after.encode(text).expect("any text"), ids, "{text}");
        assert_eq!(after.decode(&ids), before.decode(&ids));
    }
    let device = cpu().await.device;
    let llama = Llama::from_gguf(&gguf, Activations::default(), &device).expect("loads");
    let model = open(folder.path(), cpu().await);
    let ids = before.encode("It's 2024: the café").expect("any text");
    let (ours, theirs) = (model.language().expect("it talks").llama(), llama.config().vocab_size);
    let rows = logits(ours, &ids).await;
    let rows: Vec<f32> = rows.chunks(ours.config().vocab_size).flat_map(|row| row[..theirs].to_vec()).collect();
    // Shards order the tensors otherwise; where that moves a sum by its last bit, a rounded activation may fall to the
    // other side.
    assert_close("logits", &rows, &logits(&llama, &ids).await, 1e-3);
    answers(&model).await;
}

#[tokio::test]
async fn large_tensors_are_split_by_rows() {
    let [small, whole] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let draft = assembled_draft(SIGLIP, LLAMA, 0).expect("two sound folders");
    write(&draft, Precision::Q8, whole.path());
    let limit = 12_000;
    let report = write_bundle(&draft, &Precisions::all(Precision::Q8), limit, small.path()).expect("written");
    assert!(report.manifest.files.iter().filter(|file| file.is_shard()).all(|file| file.bytes <= limit as u64));
    let names = shard_names(small.path());
    assert!(names.contains(&"llm.model.embed_tokens.weight.part.1".to_string()), "{names:?}");

    let [small_model, whole_model] = [open(small.path(), cpu().await), open(whole.path(), cpu().await)];
    let ids = [0, 319, 17, 160];
    let [ours, theirs] = [&small_model, &whole_model].map(|model| model.language().expect("it talks").llama());
    assert_close("logits", &logits(ours, &ids).await, &logits(theirs, &ids).await, 1e-5);

    let joined = tempfile::tempdir().expect("a folder");
    write(&folder_draft(small.path()).expect("ours"), Precision::Keep, joined.path());
    assert_eq!(shard_names(joined.path()), shard_names(whole.path()));
    let too_small = write_bundle(&draft, &Precisions::all(Precision::Q8), 600, small.path());
    assert_eq!(code(too_small), "setting-invalid");
}

fn shard_names(folder: &Path) -> Vec<String> {
    let manifest = Manifest::parse(&fs::read_to_string(folder.join("manifest.json")).expect("written")).expect("sound");
    let mut store = TensorStore::new(&burn::tensor::Device::flex());
    for file in manifest.files.iter().filter(|file| file.is_shard()) {
        store.add_shard(&file.name, fs::read(folder.join(&file.name)).expect("written")).expect("sound");
    }
    store.leftover().map(str::to_owned).collect()
}

#[test]
fn parts_that_do_not_fit_are_errors() {
    assert_eq!(code(assembled_draft(LLAMA, LLAMA, 0)), "config-invalid");
    assert_eq!(code(assembled_draft(TINY, LLAMA, 0)), "convert-unsupported");
    assert_eq!(code(assembled_draft(SIGLIP, SIGLIP, 0)), "config-invalid");
    assert_eq!(code(assembled_draft(SIGLIP, CHECKPOINT, 0)), "gguf-invalid");
    assert_eq!(code(assembled_draft(SIGLIP, "no/such/file.gguf", 0)), "io");
    assert!(matches!("q5".parse::<Precision>(), Err(Error::Setting(_))));
}

/// A folder with one tensor of f32 in it.
fn folder_of(config: &str, name: &str, shape: &str, bytes: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{bytes}]}}}}"#);
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; bytes as usize]].concat();
    fs::write(folder.path().join("model.safetensors"), file).expect("written");
    fs::write(folder.path().join("config.json"), config).expect("written");
    fs::copy(Path::new(TINY).join("tokenizer.json"), folder.path().join("tokenizer.json")).expect("copied");
    folder
}

#[test]
fn a_tensor_without_values_is_refused() {
    let config = fs::read_to_string(Path::new(TINY).join("config.json")).expect("the fixture");
    let written = tempfile::tempdir().expect("a folder");
    for shape in ["[0]", "[0,4611686018427387904,4611686018427387904]"] {
        let folder = folder_of(&config, "vision.pos", shape, 0);
        let draft = folder_draft(folder.path()).expect("nothing has been read yet");
        let result = write_bundle(&draft, &Precisions::all(Precision::Q8), SHARD_BYTES, written.path());
        assert_eq!(code(result), "shard-corrupt", "{shape}");
    }
}

#[test]
fn a_vocabulary_that_could_not_be_loaded_is_refused() {
    let text = fs::read_to_string(Path::new(TINY).join("tokenizer.json")).expect("the fixture");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["model"]["vocab"]["<keep_0>"] = u32::MAX.into();
    let far = json.to_string().into_bytes();
    let options = SourceOptions {
        tokenizer: Some(far),
        left_out: vec![LeftOut::Detokenizer, LeftOut::Diffusion],
        ..Default::default()
    };
    assert_eq!(code(open_source(REFERENCE.as_ref(), options)), "tokenizer-invalid");
}

// --- the paper's own code

fn reference_draft(left_out: &[LeftOut]) -> Result<Draft> {
    open_source(REFERENCE.as_ref(), SourceOptions { left_out: left_out.to_vec(), ..SourceOptions::default() })
}

#[tokio::test]
async fn the_reference_tokenizer_gives_its_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let draft = reference_draft(&[LeftOut::Detokenizer, LeftOut::Diffusion]).expect("what is left can be said here");
    write(&draft, Precision::F32, folder.path());
    let model = open(folder.path(), cpu().await);
    let expected = fs::read(Path::new(REFERENCE).join("expected.safetensors")).expect("the fixture");
    let expected = safetensors::SafeTensors::deserialize(&expected).expect("sound");
    let bytes = |name: &str| expected.tensor(name).expect("in the fixture").data().to_vec();
    let image = Image::from_rgb(bytes("pixels"), 32, 32).expect("a picture");
    let visual = model.tokenize(&image).await.expect("tokens");
    let labels: Vec<u32> = bytes("labels").as_chunks().0.iter().map(|&label| u32::from_le_bytes(label)).collect();
    assert_eq!(visual.report.labels, labels);
    let tokens: Vec<f32> = bytes("tokens").as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
    // Six f32 layers, values near 1; theirs in f64.
    assert_close("tokens", &floats(visual.tensor.expect("a merger")).await, &tokens, 1e-4);
    answers(&model).await;
}

#[test]
fn the_reference_language_model_keeps_its_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let draft = reference_draft(&[LeftOut::Detokenizer, LeftOut::Diffusion]).expect("a draft");
    write(&draft, Precision::Keep, folder.path());
    let tokenizer_alone = reference_draft(&[LeftOut::Llm, LeftOut::Detokenizer]).expect("a draft");
    let report = write(&tokenizer_alone, Precision::F16, folder.path());
    assert_eq!(report.rows.iter().map(|row| row.part).collect::<Vec<_>>(), [Part::Vision, Part::Merger]);
    assert!(tokenizer_alone.tokenizer.is_none());
}

#[test]
fn the_first_part_without_a_counterpart_is_named() {
    let refusal = |left_out: &[LeftOut]| match reference_draft(left_out) {
        Err(Error::Convert(reason)) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    };
    assert!(refusal(&[]).contains("model.vision_generator"));
    assert!(refusal(&[LeftOut::Detokenizer]).contains("model.diffloss"));

    let folder = tempfile::tempdir().expect("a folder");
    let copy = |change: fn(&str) -> String| {
        for name in ["pytorch_model.bin", "tokenizer.json"] {
            fs::copy(Path::new(REFERENCE).join(name), folder.path().join(name)).expect("copied");
        }
        let config = fs::read_to_string(Path::new(REFERENCE).join("config.json")).expect("the fixture");
        fs::write(folder.path().join("config.json"), change(&config)).expect("written");
        let left_out = vec![LeftOut::Detokenizer, LeftOut::Diffusion];
        open_source(folder.path(), SourceOptions { left_out, ..SourceOptions::default() })
    };
    assert_eq!(code(copy(str::to_owned)), "ok");
    assert_eq!(code(copy(|text| text.replace("\"hidden_dim\": 32", "\"hidden_dim\": 4096"))), "convert-unsupported");
    assert_eq!(
        code(copy(|text| text.replace("\"inner_cluster_layers\": 2", "\"inner_cluster_layers\": 1"))),
        "convert-unsupported"
    );
    assert_eq!(
        code(copy(|text| text.replace("\"inner_cluster_layers\": 2", "\"inner_cluster_layers\": 3"))),
        "tensor-missing"
    );
    assert_eq!(code(copy(|text| text.replace("\"vision_config\"", "\"other\""))), "convert-unsupported", "heads");
    assert_eq!(code(copy(|text| text.replace("\"silu\"", "\"gelu\""))), "config-invalid");
    let endless = |text: &str| text.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 18446744073709551615");
    assert_eq!(code(copy(endless)), "config-invalid");
    fs::remove_file(folder.path().join("pytorch_model.bin")).expect("there");
    assert_eq!(code(open_source(folder.path(), SourceOptions::default())), "convert-unsupported", "no weights");
}

#[test]
fn a_layer_of_any_number_is_no_panic() {
    let config = fs::read_to_string(Path::new(REFERENCE).join("config.json")).expect("the fixture");
    let name =
        "model.vision_tower.image_feature_encoder.vision_tower.vision_model.encoder.layers.18446744073709551615.x";
    let folder = folder_of(&config.replace("\"vision_config\"", "\"other\""), name, "[1]", 4);
    assert_eq!(code(folder_draft(folder.path())), "tensor-missing");
}
