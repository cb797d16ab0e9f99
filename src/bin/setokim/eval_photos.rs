//! `eval --suite photos`: descriptions and places of phrases on a folder of photos, one line an item, for
//! `training/photo/score.py`; and what of them needs no other code.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use setokim::AnswerOptions;
use setokim::model::encoded_image::EncodedImage;
use setokim::model::mask_head::Segmentation;
use setokim::model::setokim::Setokim;

use crate::answer;
use crate::{LateBar, write_file};

/// Left, top, right and bottom, 0 to 1.
type Box4 = [f64; 4];

/// Tokens of a description at the most.
const LONGEST: usize = 40;

/// A phrase of an image; its boxes are one thing together.
struct Phrase {
    text: String,
    boxes: Vec<Box4>,
    /// Whether the boxes can be believed: the image's own size was known when they were normalised.
    is_size_known: bool,
}

/// The items of a split.
struct Items {
    images: Vec<String>,
    phrases: BTreeMap<String, Vec<Phrase>>,
}

pub struct Settings<'a> {
    /// Holds `images/`, `captions.tsv` and `phrases.tsv`.
    pub data: &'a Path,
    pub split: &'a str,
    /// Images at the most.
    pub limit: Option<usize>,
    pub predictions: Option<&'a Path>,
}

/// The figures; predictions go to a file.
pub fn eval(model: &Setokim, settings: &Settings<'_>) -> Result<BTreeMap<&'static str, f64>> {
    let mut items = Items::read(settings)?;
    items.images.truncate(settings.limit.unwrap_or(usize::MAX));
    ensure!(!items.images.is_empty(), "{} has no image of the split {}", settings.data.display(), settings.split);
    let mut lines: Vec<u8> = Vec::new();
    let mut tally = Tally::default();
    let mut bar = LateBar::new("evaluating");
    for (i, name) in items.images.iter().enumerate() {
        let started = Instant::now();
        let encoded = answer::encode_image(model, &settings.data.join("images").join(name))?;
        tally.encode += started.elapsed().as_secs_f64();
        let caption = tally.describe(model, &encoded)?;
        writeln!(lines, "{}", json!({ "image": name, "caption": caption }))?;
        for phrase in items.phrases.get(name).into_iter().flatten() {
            writeln!(lines, "{}", tally.find(model, &encoded, name, phrase)?)?;
        }
        bar.at(i as u64 + 1, items.images.len() as u64);
    }
    if let Some(path) = settings.predictions {
        write_file(path, &lines)?;
    }
    Ok(tally.figures())
}

/// Sums over all items.
#[derive(Default)]
struct Tally {
    images: f64,
    encode: f64,
    describe: f64,
    find: f64,
    phrases: f64,
    found: f64,
    /// Phrases whose boxes can be believed.
    known: f64,
    box_hits: f64,
    point_hits: f64,
}

impl Tally {
    fn describe(&mut self, model: &Setokim, encoded: &Arc<EncodedImage>) -> Result<String> {
        let started = Instant::now();
        let options = AnswerOptions { max_tokens: LONGEST, ..AnswerOptions::default() };
        let answer = pollster::block_on(model.describe(encoded, &options))?;
        self.describe += started.elapsed().as_secs_f64();
        self.images += 1.0;
        Ok(answer.text().trim().to_owned())
    }

    fn find(
        &mut self,
        model: &Setokim,
        encoded: &Arc<EncodedImage>,
        image: &str,
        phrase: &Phrase,
    ) -> Result<serde_json::Value> {
        let started = Instant::now();
        let options = AnswerOptions::default();
        let segment = pollster::block_on(model.segment(encoded, &phrase.text, &options))?;
        self.find += started.elapsed().as_secs_f64();
        self.phrases += 1.0;
        self.known += f64::from(u8::from(phrase.is_size_known));
        let Some((found, place, point)) = segment.mask.as_ref().and_then(|found| place_of(found, encoded)) else {
            return Ok(json!({ "image": image, "phrase": phrase.text, "found": false, "score": 0.0 }));
        };
        self.found += 1.0;
        if phrase.is_size_known {
            self.box_hits += f64::from(u8::from(overlap(place, union(&phrase.boxes)) >= 0.5));
            self.point_hits += f64::from(u8::from(phrase.boxes.iter().any(|b| holds(*b, point))));
        }
        Ok(json!({
            "image": image, "phrase": phrase.text, "found": true, "score": found.score, "box": place, "point": point,
        }))
    }

    fn figures(&self) -> BTreeMap<&'static str, f64> {
        let share = |of: f64, all: f64| if all > 0.0 { of / all } else { 0.0 };
        BTreeMap::from([
            ("images", self.images),
            ("phrases", self.phrases),
            ("phrases_of_known_size", self.known),
            ("found", share(self.found, self.phrases)),
            ("phrase_recall50", share(self.box_hits, self.known)),
            ("phrase_point", share(self.point_hits, self.known)),
            ("seconds_to_encode", share(self.encode, self.images)),
            ("seconds_to_describe", share(self.describe, self.images)),
            ("seconds_to_find", share(self.find, self.phrases)),
        ])
    }
}

/// Box and surest point of what was found, 0 to 1.
fn place_of<'a>(found: &'a Segmentation, encoded: &EncodedImage) -> Option<(&'a Segmentation, Box4, [f64; 2])> {
    let (width, height) = (f64::from(encoded.image.width()), f64::from(encoded.image.height()));
    let [left, top, right, bottom] = found.mask.bounds()?.map(f64::from);
    let [x, y] = found.point;
    Some((found, [left / width, top / height, right / width, bottom / height], [x / width, y / height]))
}

/// The box around all.
fn union(boxes: &[Box4]) -> Box4 {
    boxes
        .iter()
        .fold([1.0, 1.0, 0.0, 0.0], |all, b| [all[0].min(b[0]), all[1].min(b[1]), all[2].max(b[2]), all[3].max(b[3])])
}

/// Intersection over union.
fn overlap(a: Box4, b: Box4) -> f64 {
    let area = |b: Box4| (b[2] - b[0]).max(0.0) * (b[3] - b[1]).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    common / (area(a) + area(b) - common + 1e-9)
}

fn holds(b: Box4, [x, y]: [f64; 2]) -> bool {
    (b[0]..=b[2]).contains(&x) && (b[1]..=b[3]).contains(&y)
}

impl Items {
    fn read(settings: &Settings<'_>) -> Result<Self> {
        let table = |name: &str| -> Result<String> {
            let path = settings.data.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let mut images: Vec<String> = Vec::new();
        for [image] in columns(&table("captions.tsv")?, settings.split, ["image"])? {
            if images.last() != Some(&image) && !images.contains(&image) {
                images.push(image);
            }
        }
        let mut phrases: BTreeMap<String, Vec<Phrase>> = BTreeMap::new();
        let names = ["image", "phrase", "x0", "y0", "x1", "y1", "size_known"];
        for [image, text, x0, y0, x1, y1, size_known] in columns(&table("phrases.tsv")?, settings.split, names)? {
            let corner = |number: &str| number.parse::<f64>().with_context(|| format!("phrases.tsv has `{number}`"));
            let place = [corner(&x0)?, corner(&y0)?, corner(&x1)?, corner(&y1)?];
            let of_image = phrases.entry(image).or_default();
            match of_image.iter_mut().find(|phrase| phrase.text == text) {
                Some(phrase) => phrase.boxes.push(place),
                None => of_image.push(Phrase { text, boxes: vec![place], is_size_known: size_known == "1" }),
            }
        }
        Ok(Self { images, phrases })
    }
}

/// Some columns of the rows of a split, of a table with a line of names.
fn columns<const N: usize>(table: &str, split: &str, names: [&str; N]) -> Result<Vec<[String; N]>> {
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let place = |name: &str| {
        header.iter().position(|other| *other == name).with_context(|| format!("a table has no column {name}"))
    };
    let split_at = place("split")?;
    let mut places = [0; N];
    for (place_of, name) in places.iter_mut().zip(names) {
        *place_of = place(name)?;
    }
    let rows = lines.map(|line| line.split('\t').collect::<Vec<_>>());
    let rows = rows.filter(|row| row.len() == header.len() && row[split_at] == split);
    Ok(rows.map(|row| places.map(|at| row[at].to_owned())).collect())
}
