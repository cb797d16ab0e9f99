//! The command line as a person uses it: output, messages and exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use setokim::formats::safetensors::{read_safetensors_f32, write_safetensors_f32};

const TINY: &str = "tests/fixtures/tiny-model";
const SIGLIP: &str = "tests/fixtures/siglip-tiny";

fn setokim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_setokim")).args(arguments).output().expect("starts")
}

fn succeeds(arguments: &[&str]) -> String {
    let output = setokim(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Exit code 1 and one sentence that begins with the code of the error.
fn fails_with(code: &str, arguments: &[&str]) {
    let output = setokim(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
    assert!(message.starts_with(&format!("error [{code}]: ")), "{arguments:?}: {message}");
    assert!(!message.contains("panicked"), "{message}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// An image of four coloured quarters, 50 x 40.
fn image(folder: &Path) -> PathBuf {
    let path = folder.join("quarters.png");
    let color = |x: u32, y: u32| match (x < 25, y < 20) {
        (true, true) => [220, 40, 40],
        (false, true) => [40, 200, 60],
        (true, false) => [50, 70, 220],
        (false, false) => [240, 230, 60],
    };
    image::RgbImage::from_fn(50, 40, |x, y| image::Rgb(color(x, y))).save(&path).expect("written");
    path
}

#[test]
fn tokenize_prints_json_and_paints_an_overlay() {
    let folder = tempfile::tempdir().expect("a folder");
    let (image, overlay) = (image(folder.path()), folder.path().join("overlay.png"));
    let arguments =
        ["tokenize", text(&image), "--model", TINY, "--device", "cpu", "--json", "-", "--overlay", text(&overlay)];
    let json: Value = serde_json::from_str(&succeeds(&arguments)).expect("JSON");
    assert_eq!(json["image"], serde_json::json!({ "width": 50, "height": 40 }));
    assert_eq!(json["grid"], serde_json::json!([4, 4]));
    let labels = json["labels"].as_array().expect("labels");
    let tokens = json["tokens"].as_array().expect("tokens");
    assert_eq!(labels.len(), 16);
    assert!(!tokens.is_empty());
    for (id, token) in tokens.iter().enumerate() {
        let patches = labels.iter().filter(|label| label.as_u64() == Some(id as u64)).count();
        assert_eq!(token["patches"], patches);
        assert_eq!(token["id"], id);
        let center = token["center"][0].as_u64().expect("row") * 4 + token["center"][1].as_u64().expect("column");
        assert_eq!(labels[center as usize].as_u64(), Some(id as u64), "a centre belongs to itself");
    }
    let names = json["names"].as_array().expect("the model names its tokens");
    assert_eq!(names.len(), tokens.len());
    for name in names {
        assert!(name["name"].is_string() && name["is_object"].is_boolean(), "{name}");
        assert!((0.0..=1.0).contains(&name["confidence"].as_f64().expect("a probability")));
    }
    assert_eq!(json["device"], "cpu");
    assert!(json["timings_ms"]["encode"].as_f64().expect("a time") > 0.0);
    let painted = image::open(&overlay).expect("a picture");
    assert_eq!((painted.width(), painted.height()), (50, 40));
}

#[test]
fn reconstruct_keeps_the_size_of_the_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let (image, out) = (image(folder.path()), folder.path().join("again.png"));
    succeeds(&["reconstruct", text(&image), "--model", TINY, "--device", "cpu", "-o", text(&out)]);
    let again = image::open(&out).expect("a picture");
    assert_eq!((again.width(), again.height()), (50, 40));
}

#[test]
fn features_of_a_hugging_face_tower_can_be_clustered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (image, out) = (image(folder.path()), folder.path().join("features.safetensors"));
    succeeds(&["features", text(&image), "--model", SIGLIP, "--device", "cpu", "-o", text(&out)]);
    let (shape, values) = read_safetensors_f32(&std::fs::read(&out).expect("written"), "features").expect("features");
    assert_eq!(shape, [16, 32]);
    assert!(values.iter().all(|x| x.is_finite()));
    let json =
        succeeds(&["cluster", text(&out), "--neighbors", "3", "--threshold", "0.01", "--device", "cpu", "--json", "-"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    for (name, length) in [("labels", 16), ("density", 16), ("delta", 16), ("score", 16)] {
        assert_eq!(json[name].as_array().expect(name).len(), length);
    }
    let centers: Vec<u64> = json["centers"].as_array().expect("centers").iter().filter_map(Value::as_u64).collect();
    assert!(centers.is_sorted() && !centers.is_empty());
}

#[test]
fn cluster_gives_the_same_on_both_devices() {
    let golden = "tests/fixtures/cluster_blobs.safetensors";
    let on = |device| {
        let json = succeeds(&["cluster", golden, "--neighbors", "4", "--threshold", "0.5", "--device", device]);
        let json: Value = serde_json::from_str(&json).expect("JSON");
        (json["labels"].clone(), json["centers"].clone())
    };
    assert_eq!(on("cpu"), on("gpu"));
}

#[test]
fn cluster_keeps_the_highest_scores_under_k_max() {
    let golden = "tests/fixtures/cluster_blobs.safetensors";
    let all = ["cluster", golden, "--neighbors", "4", "--threshold", "0.5", "--device", "cpu"];
    let json: Value = serde_json::from_str(&succeeds(&all)).expect("JSON");
    let capped = [all.as_slice(), &["--max-clusters", "2"]].concat();
    let capped: Value = serde_json::from_str(&succeeds(&capped)).expect("JSON");
    let score = |i: &Value| json["score"][i.as_u64().expect("index") as usize].as_f64().expect("score");
    let mut centers = json["centers"].as_array().expect("centers").clone();
    centers.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let mut best: Vec<u64> = centers[..2].iter().filter_map(Value::as_u64).collect();
    best.sort_unstable();
    assert_eq!(capped["centers"], serde_json::json!(best));
}

#[test]
fn bad_usage_is_exit_code_2() {
    for arguments in [
        vec!["tokenize"],
        vec!["tokenize", "a.png", "--device", "tpu"],
        vec!["no-such-command"],
        vec!["cluster", "x.safetensors", "--neighbors", "many", "--threshold", "1"],
    ] {
        assert_eq!(setokim(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn failures_name_their_code_and_exit_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let (empty, words) = (path("empty.png", b""), path("words.png", b"not a picture"));
    let model = ["--model", TINY, "--device", "cpu"];
    for image in [&empty, &words] {
        fails_with("image-decode", &[&["tokenize", text(image)], model.as_slice()].concat());
    }
    fails_with("io", &[&["tokenize", "no/such/picture.png"], model.as_slice()].concat());
    let good = image(folder.path());
    fails_with("io", &["tokenize", text(&good), "--model", text(folder.path()), "--device", "cpu"]);

    let golden = "tests/fixtures/cluster_hand.safetensors";
    fails_with("clustering-invalid", &["cluster", golden, "--neighbors", "0", "--threshold", "1", "--device", "cpu"]);
    fails_with("clustering-invalid", &["cluster", golden, "--neighbors", "8", "--threshold", "1", "--device", "cpu"]);
    fails_with("clustering-invalid", &["cluster", golden, "--neighbors", "3", "--threshold", "NaN", "--device", "cpu"]);
    let whole = std::fs::read(golden).expect("the fixture");
    let cut = path("cut.safetensors", &whole[..whole.len() - 5]);
    fails_with("shard-corrupt", &["cluster", text(&cut), "--neighbors", "3", "--threshold", "1", "--device", "cpu"]);
    let vector = path("vector.safetensors", &write_safetensors_f32("features", &[6], &[0.5; 6]).expect("a file"));
    fails_with("tensor-shape", &["cluster", text(&vector), "--neighbors", "3", "--threshold", "1", "--device", "cpu"]);
    let mut values = [0.5; 12];
    values[7] = f32::NAN;
    let nan = path("nan.safetensors", &write_safetensors_f32("features", &[6, 2], &values).expect("a file"));
    fails_with("not-finite", &["cluster", text(&nan), "--neighbors", "3", "--threshold", "1", "--device", "cpu"]);
}

#[test]
fn a_model_with_one_flipped_bit_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in std::fs::read_dir(TINY).expect("the fixture") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
    }
    let shard = folder.path().join("setok-00001-of-00001.safetensors");
    let mut bytes = std::fs::read(&shard).expect("the shard");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&shard, bytes).expect("written");
    let image = image(folder.path());
    fails_with("hash-mismatch", &["tokenize", text(&image), "--model", text(folder.path()), "--device", "cpu"]);
}

#[test]
fn convert_prints_what_it_wrote_and_it_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let (image, out) = (image(folder.path()), folder.path().join("model"));
    let table = succeeds(&["convert", TINY, "-o", text(&out), "--type", "q8", "--vision", "f16"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["part", "tensors", "parameters", "bytes", "type"]);
    assert_eq!(
        lines.iter().skip(1).map(|line| line[0]).collect::<Vec<_>>(),
        ["vision", "merger", "detokenizer", "all"]
    );
    assert_eq!(lines[1][4..], ["f16,", "f32"]);
    assert!(lines[2][4..].iter().any(|word| word.starts_with("q8_0")), "{table}");
    succeeds(&["tokenize", text(&image), "--model", text(&out), "--device", "cpu"]);

    let joined = folder.path().join("joined");
    let llama = "tests/fixtures/llama-tiny";
    let output = setokim(&["convert", SIGLIP, "--language", llama, "--seed", "5", "-o", text(&joined)]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("random, from seed 5"));
}

#[test]
fn convert_refuses_what_it_cannot_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model");
    let reference = "tests/fixtures/reference";
    fails_with("io", &["convert", "no/such/folder.pt", "-o", text(&out)]);
    fails_with("shard-corrupt", &["convert", "tests/fixtures/tiny.gguf", "-o", text(&out)]);
    fails_with("setting-invalid", &["convert", TINY, "-o", TINY]);
    fails_with("convert-unsupported", &["convert", reference, "-o", text(&out)]);
    fails_with("convert-unsupported", &["convert", reference, "-o", text(&out), "--leave-out", "detokenizer"]);
    let left = ["--leave-out", "detokenizer", "--leave-out", "diffusion"];
    succeeds(&[&["convert", reference, "-o", text(&out)], left.as_slice()].concat());
    for arguments in [
        vec!["convert", TINY],
        vec!["convert", TINY, "-o", text(&out), "--type", "q5"],
        vec!["convert", TINY, "-o", text(&out), "--shard-mib", "0"],
        vec!["convert", TINY, "-o", text(&out), "--seed", "1"],
        vec!["convert", TINY, "-o", text(&out), "--leave-out", "vision"],
    ] {
        assert_eq!(setokim(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_setting_that_cannot_be_is_named() {
    for arguments in [
        vec!["complete", "--gguf", "x.gguf", "--seed", "-1", "a"],
        vec!["generate", "a dog", "-o", "x.png", "--seed", "-1"],
        vec!["convert", SIGLIP, "--language", "x", "-o", "y", "--seed", "-7"],
    ] {
        let output = setokim(&arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("--seed") && message.contains("invalid value '-"), "{message}");
    }
}

/// Mesa's layers ask Wayland, whose library would complain.
#[test]
fn nothing_is_written_on_standard_error_without_a_session() {
    let output = Command::new(env!("CARGO_BIN_EXE_setokim")).arg("probe").env_remove("XDG_RUNTIME_DIR").output();
    let output = output.expect("starts");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let reason = json["reason"].as_str().expect("a reason");
    assert!(!reason.contains('\n') && reason.len() < 200, "one sentence, not: {reason}");
}

/// A NaN passes through a whole tower.
#[test]
fn features_that_are_no_numbers_are_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let (image, out) = (image(folder.path()), folder.path().join("features.safetensors"));
    let model = folder.path().join("siglip");
    std::fs::create_dir(&model).expect("a folder");
    std::fs::copy(Path::new(SIGLIP).join("config.json"), model.join("config.json")).expect("copied");
    let arguments = ["features", text(&image), "--model", text(&model), "--device", "cpu", "-o", text(&out)];
    for value in [f32::NAN, 3e38] {
        let mut weights = std::fs::read(Path::new(SIGLIP).join("model.safetensors")).expect("the fixture");
        // Finite weights can give numbers that are not.
        let header = 8 + u64::from_le_bytes(weights[..8].try_into().expect("8 bytes")) as usize;
        for at in (header..weights.len()).step_by(4) {
            weights[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        std::fs::write(model.join("model.safetensors"), weights).expect("written");
        fails_with("not-finite", &arguments);
        assert!(!out.exists());
    }
}

#[test]
fn probe_says_what_auto_takes_and_why() {
    let json: Value = serde_json::from_str(&succeeds(&["probe"])).expect("JSON");
    assert!(json["device"] == "cpu" || json["device"] == "gpu");
    assert!(!json["reason"].as_str().expect("a reason").is_empty());
    if json["adapter"]["software"] == true {
        assert_eq!(json["device"], "cpu", "a software adapter is never taken unasked");
    }
}
