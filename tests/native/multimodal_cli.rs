//! `chat`, `describe`, `segment`, `generate` and `edit` as a person uses them. The model is random: what it says means nothing.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use setokim::image::masks::Rle;

const MODEL: [&str; 4] = ["--model", "tests/fixtures/tiny-setokim", "--device", "cpu"];

fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_setokim"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("reads");
    child.wait_with_output().expect("ends")
}

/// With the tiny model: standard output.
fn succeeds(arguments: &[&str]) -> String {
    let output = run(&[arguments, &MODEL].concat(), "");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Exit code 1 and one sentence that begins with the code of the error.
fn fails_with(code: &str, arguments: &[&str]) {
    let output = run(arguments, "");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
    assert!(message.starts_with(&format!("error [{code}]: ")), "{arguments:?}: {message}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn numbers<const N: usize>(list: &Value) -> [f64; N] {
    let numbers: Vec<f64> = list.as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    numbers.try_into().expect("so many numbers")
}

/// An image of four coloured quarters, 50 x 40.
fn write_image(path: &Path) {
    let color = |x: u32, y: u32| [if x < 25 { 220 } else { 40 }, if y < 20 { 200 } else { 60 }, 90];
    image::RgbImage::from_fn(50, 40, |x, y| image::Rgb(color(x, y))).save(path).expect("written");
}

#[test]
fn chat_answers_and_repeats_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image.png");
    write_image(&image);
    let arguments = ["chat", "what is <image> ?", "--image", text(&image), "-n", "8"];
    assert_eq!(succeeds(&arguments), succeeds(&arguments));
    fails_with("prompt-invalid", &[&["chat", "<image>"], &MODEL[..]].concat());
    fails_with("prompt-invalid", &[&["chat", "   "], &MODEL[..]].concat());
    fails_with("prompt-invalid", &[&["chat", "", "--image", text(&image)], &MODEL[..]].concat());
    fails_with("prompt-invalid", &[&["chat", "a <image> <image>", "--image", text(&image)], &MODEL[..]].concat());
    let long = "the dog and ".repeat(60);
    fails_with("context-overflow", &[&["chat", &long], &MODEL[..]].concat());
    assert_eq!(run(&["chat", "hi", "--seed", "many"], "").status.code(), Some(2));
}

#[test]
fn a_bad_turn_does_not_end_the_chat() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image.png");
    write_image(&image);
    let input = format!("hello\n/image absent.png\nwhat ?\n/image {}\nwhat is this ?\n\n/quit\n", text(&image));
    let output = run(&[&["chat", "--interactive", "-n", "4"], &MODEL[..]].concat(), &input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("error [io]"), "{said}");
    assert_eq!(said.matches("tokens read").count(), 2, "{said}");
}

/// It has no question for it (`prompts.describe`).
#[test]
fn a_model_that_has_not_learned_to_describe_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image.png");
    write_image(&image);
    fails_with("unsupported", &[&["describe", text(&image)], &MODEL[..]].concat());
}

#[test]
fn segment_writes_a_mask_of_the_pictures_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let [image, mask, over] = ["image.png", "mask.png", "over.png"].map(|name| folder.path().join(name));
    write_image(&image);
    let arguments = [
        "segment",
        text(&image),
        "moon at pink",
        "-o",
        text(&mask),
        "--overlay",
        text(&over),
        "--json",
        "-",
        "--required",
    ];
    let json: Value = serde_json::from_str(&succeeds(&arguments)).expect("JSON");
    if json["matches"] == true {
        let written = image::open(&mask).expect("a picture").into_luma8();
        assert_eq!(written.dimensions(), (50, 40));
        let rle: Rle = serde_json::from_value(json["mask"].clone()).expect("runs");
        let bits: Vec<bool> = written.pixels().map(|pixel| pixel.0[0] == 255).collect();
        assert_eq!(rle.to_mask().expect("whole").bits(), bits);
        assert!(json["score"].as_f64().expect("a number") > 0.5);
        let [left, top, right, bottom] = numbers(&json["box"]);
        let inside = |x: f64, y: f64| left <= x && x < right && top <= y && y < bottom;
        let places = (0..bits.len()).filter(|&at| bits[at]).map(|at| [(at % 50) as f64, (at / 50) as f64]);
        assert!(places.clone().all(|[x, y]| inside(x, y)) && right <= 50.0 && bottom <= 40.0);
        let [x, y] = numbers(&json["point"]);
        assert!(bits[y as usize * 50 + x as usize], "the surest place is in the mask");
        assert!(over.is_file());
    } else {
        assert!(!mask.exists() && json["mask"].is_null() && json["box"].is_null() && json["point"].is_null());
    }
    fails_with("prompt-invalid", &[&["segment", text(&image), "", "-o", text(&mask)], &MODEL[..]].concat());
}

/// The shipped model knows drawn things on plain backgrounds; this is noise.
#[test]
fn an_edit_of_an_image_that_the_model_does_not_know_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let [image, out] = ["noise.png", "out.png"].map(|name| folder.path().join(name));
    let noise = |x: u32, y: u32| image::Rgb([(x * 97 + y * 31) as u8, (x * y * 57) as u8, (x * 13 + y * 119) as u8]);
    image::RgbImage::from_fn(64, 64, noise).save(&image).expect("written");
    let model = ["--model", "models/setokim-tiny", "--device", "cpu", "--steps", "1", "--json", "-"];
    let output =
        run(&[&["edit", text(&image), "remove the biggest object", "-o", text(&out)], &model[..]].concat(), "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("unlike those that the model was trained on"), "{said}");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["unfamiliar"], true);
}

#[test]
fn generate_follows_its_seed() {
    let folder = tempfile::tempdir().expect("a folder");
    let [first, again, other, tokens] = ["1.png", "2.png", "3.png", "tokens.png"].map(|name| folder.path().join(name));
    let draw = |seed: &str, target: &Path| {
        let tokens = text(&tokens);
        let common = ["generate", "fish", "--steps", "4", "--guidance", "2", "--tokens", tokens, "--seed", seed];
        succeeds(&[&common[..], &["--required", "-o", text(target)]].concat());
        image::open(target).expect("a picture").into_rgb8()
    };
    let image = draw("1", &first);
    assert_eq!(image.dimensions(), (32, 32));
    assert_eq!(image, draw("1", &again));
    assert_ne!(image, draw("2", &other));
    assert_eq!(image::open(&tokens).expect("a picture").into_rgb8().dimensions(), (32, 32));
    let bad = ["generate", "fish", "--steps", "0", "-o", text(&first)];
    fails_with("setting-invalid", &[&bad[..], &MODEL[..]].concat());
}

#[test]
fn edit_reports_what_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let [image, out] = ["image.png", "out.png"].map(|name| folder.path().join(name));
    write_image(&image);
    let arguments =
        ["edit", text(&image), "remove the dog", "-o", text(&out), "--json", "-", "--required", "--steps", "4"];
    let json: Value = serde_json::from_str(&succeeds(&arguments)).expect("JSON");
    assert!(!json["tokens"].as_array().expect("tokens").is_empty());
    assert_eq!(image::open(&out).expect("a picture").into_rgb8().dimensions(), (50, 40));
    let anew: Value = serde_json::from_str(&succeeds(&[&arguments[..], &["--no-copy-tokens"]].concat())).expect("JSON");
    assert!(anew["tokens"].as_array().expect("tokens").iter().all(|token| token["copied"].is_null()));
}

#[test]
fn a_model_without_a_language_model_says_so() {
    let tokenizer = ["--model", "tests/fixtures/tiny-model", "--device", "cpu"];
    for arguments in [
        &["chat", "hi"][..],
        &["describe", "absent.png"],
        &["segment", "absent.png", "the dog", "-o", "mask.png"],
        &["generate", "a dog", "-o", "out.png"],
        &["edit", "absent.png", "remove the dog", "-o", "out.png"],
    ] {
        fails_with("unsupported", &[arguments, &tokenizer].concat());
    }
}
