//! What the shipped weights answer to a few pictures: `tests/fixtures/answers.txt`, in words and numbers of tokens, which no
//! rounding moves. `WRITE_ANSWERS=1 cargo test --all-features --test native golden::` writes it anew, for new weights.

use std::fmt::Write;
use std::path::Path;

use setokim::image::Image;
use setokim::model::setokim::Setokim;
use setokim::text::Role;
use setokim::{AnswerOptions, EncodedImage, Message, Part};

use crate::common::cpu;

const ANSWERS: &str = "tests/fixtures/answers.txt";

/// A sample, a phrase for something in it, and an instruction.
const ASKED: [[&str; 3]; 3] = [
    ["beach", "the leftmost owl", "remove the biggest object"],
    ["grass", "the red apple", "make the biggest object blue"],
    ["night", "the dog", "remove the leftmost object"],
];

#[tokio::test]
async fn the_shipped_weights_answer_as_they_did() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = Setokim::open(&root.join("models/setokim-tiny"), cpu().await, |_| ()).expect("the shipped weights");
    let mut answers = String::new();
    for [sample, phrase, instruction] in ASKED {
        let file = std::fs::read(root.join(format!("models/samples/{sample}.png"))).expect("a sample");
        let image = Image::decode(&file).expect("a picture");
        answers += &asked(&model, sample, &image, phrase, instruction).await;
    }
    let made = model.generate("a red apple at the top left, on grass", &AnswerOptions::default()).await.expect("works");
    writeln!(answers, "generate: {} tokens", made.image.expect("it can draw that").tokens.len()).expect("memory");

    let golden = root.join(ANSWERS);
    if std::env::var_os("WRITE_ANSWERS").is_some() {
        std::fs::write(&golden, &answers).expect("writable");
    }
    let expected = std::fs::read_to_string(&golden).expect("the golden answers");
    assert_eq!(answers, expected, "the answers differ from {ANSWERS}");
}

async fn asked(model: &Setokim, sample: &str, image: &Image, phrase: &str, instruction: &str) -> String {
    let options = AnswerOptions::default();
    let encoded = model.encode_image(image).await.expect("works");
    let mut lines = format!("# {sample}: {} tokens\n", encoded.tokens.len());
    let visual = model.tokenize(image).await.expect("works");
    let names = model.name_tokens(&visual).await.expect("works").expect("it has names");
    let named: Vec<_> = names.names.iter().map(|name| format!("{:?} {}", name.color, name.name)).collect();
    let mut say = |what: &str, answer: String| writeln!(lines, "{what}: {answer}").expect("memory");
    say("names", format!("{}; unfamiliar: {:?}", named.join(", "), names.unfamiliar));
    for question in ["what is in the picture?", "how many things are there?"] {
        let parts = vec![Part::Image(encoded.clone()), Part::Text(question.into())];
        let answer = model.chat(&[Message { role: Role::User, parts }], &options).await.expect("works");
        say(question, answer.text());
    }
    for phrase in [phrase, "the purple submarine"] {
        let found = model.segment(&encoded, phrase, &options).await.expect("works");
        let tokens = found.mask.map(|mask| mask.tokens.iter().map(|token| token.id).collect::<Vec<_>>());
        say(&format!("segment {phrase}"), format!("{tokens:?} {}", found.text));
    }
    let edit = model.edit(&encoded, instruction, &options).await.expect("works");
    let changes = edit.image.map(|image| {
        let copied: Vec<_> = image.tokens.iter().map(|token| token.copied).collect();
        (changed_pixels(&encoded, &image.image) > 0, copied, image.removed)
    });
    say(&format!("edit {instruction}"), format!("{changes:?} {}", edit.text));
    lines
}

fn changed_pixels(source: &EncodedImage, edited: &Image) -> usize {
    let pixels = source.image.rgb().as_chunks::<3>().0.iter().zip(edited.rgb().as_chunks::<3>().0);
    pixels.filter(|(before, now)| before != now).count()
}
