//! `eval` of the four tasks, from a pack of `training/evaluation/tasks_pack.py`; the same definitions as
//! `training/evaluation/tasks.py`.
//!
//! Images that the model draws are judged by its own eyes: tokenised again and named. What the same judge says of the
//! true image stands beside every such figure, under the same name with `_real`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use anyhow::Result;
use serde::Deserialize;
use setokim::image::Image;
use setokim::model::answer::AnswerOptions;
use setokim::model::encoded_image::EncodedImage;
use setokim::model::setok::TokenName;
use setokim::model::setokim::{Setokim, VisualTokens};
use setokim::text::Role;
use setokim::{Message, Part};

/// What `training/evaluation/tasks_pack.py` says of a scene.
#[derive(Deserialize)]
pub struct Tasks {
    questions: Vec<Question>,
    references: Vec<Reference>,
    #[serde(default)]
    captions: Vec<Caption>,
    /// Packs of images from elsewhere only ask.
    #[serde(flatten)]
    drawn: Option<DrawnTasks>,
}

#[derive(Deserialize)]
struct DrawnTasks {
    /// A caption that says where things are.
    prompt: String,
    /// What the caption names.
    objects: Vec<Object>,
    edit: Edit,
}

#[derive(Deserialize)]
struct Question {
    kind: String,
    question: String,
    answer: String,
}

/// Of all that is to be encoded.
#[derive(Deserialize)]
struct Caption {
    kind: String,
    question: String,
    /// What must be text of each thing, in any order.
    things: Vec<String>,
    background: String,
}

#[derive(Deserialize)]
struct Reference {
    phrase: String,
    /// None when nothing matches.
    region: Option<u8>,
}

#[derive(Deserialize)]
struct Object {
    name: String,
    color: Option<String>,
    cell: String,
}

#[derive(Deserialize)]
struct Edit {
    kind: String,
    instruction: String,
    /// Regions of the edited scene that are new.
    changed: Vec<usize>,
    /// Regions of the scene that the edit takes away.
    gone: Vec<Gone>,
    /// Where the instruction leaves open where exactly a new thing stands.
    open: Vec<Open>,
}

#[derive(Deserialize)]
struct Open {
    object: Object,
    /// Left, top, right and bottom of all places that it may take.
    #[serde(rename = "box")]
    bounds: [usize; 4],
}

#[derive(Deserialize)]
struct Gone {
    region: usize,
    name: String,
}

/// An image and what is where in it.
pub struct Truth {
    pub image: Image,
    /// Region of each pixel.
    pub regions: Vec<u8>,
    /// Region of each patch.
    pub patch_regions: Vec<i32>,
    /// Name and colour of each region, as the model's labels have them.
    pub names: Vec<(String, Option<String>)>,
}

impl Tasks {
    /// Whether there is something to draw and to edit.
    pub fn draw(&self) -> bool {
        self.drawn.is_some()
    }
}

/// Values by the name of their mean.
pub type Values = BTreeMap<String, Vec<f64>>;

/// `edited`: what the edit should make of the scene.
pub async fn measure(
    model: &Setokim,
    scene: &Truth,
    edited: Option<&Truth>,
    tasks: &Tasks,
    options: &AnswerOptions,
    values: &mut Values,
) -> Result<()> {
    let mut add = |name: String, value: f64| values.entry(name).or_default().push(value);
    let encoded = model.encode_image(&scene.image).await?;
    for question in &tasks.questions {
        let is_right = f64::from(ask(model, &encoded, &question.question, options).await? == question.answer);
        add("questions".into(), is_right);
        add(format!("question_{}", question.kind), is_right);
    }
    for caption in &tasks.captions {
        let text = ask(model, &encoded, &caption.question, options).await?;
        add(caption.kind.clone(), f64::from(caption.is_right(&text)));
    }
    for Reference { phrase, region } in &tasks.references {
        let found = model.segment(&encoded, phrase, options).await?.mask;
        match region {
            Some(region) => {
                let is_true = scene.regions.iter().map(|at| at == region);
                add("segment_iou".into(), found.map_or(0.0, |found| iou(found.mask.bits(), is_true)));
            }
            None => add("segment_refused".into(), f64::from(found.is_none())),
        }
    }
    if let (Some(tasks), Some(edited)) = (&tasks.drawn, edited) {
        measure_generation(model, &scene.image, tasks, options, &mut add).await?;
        measure_edit(model, &encoded, (scene, edited), &tasks.edit, options, &mut add).await?;
    }
    Ok(())
}

async fn measure_generation(
    model: &Setokim,
    real: &Image,
    tasks: &DrawnTasks,
    options: &AnswerOptions,
    add: &mut impl FnMut(String, f64),
) -> Result<()> {
    let drawn = model.generate(&tasks.prompt, options).await?.image;
    for (suffix, image) in [("", drawn.as_ref().map(|generated| &generated.image)), ("_real", Some(real))] {
        let found = match image {
            Some(image) => look(model, image).await?,
            None => Vec::new(), // it text that it cannot
        };
        for object in &tasks.objects {
            add(format!("generate_objects{suffix}"), f64::from(found.iter().any(|f| f.name == object.name)));
            add(format!("generate_placed{suffix}"), f64::from(found.iter().any(|found| found.is(object))));
        }
    }
    Ok(())
}

async fn measure_edit(
    model: &Setokim,
    encoded: &Arc<EncodedImage>,
    (scene, edited): (&Truth, &Truth),
    edit: &Edit,
    options: &AnswerOptions,
    add: &mut impl FnMut(String, f64),
) -> Result<()> {
    let answer = model.edit(encoded, &edit.instruction, options).await?.image;
    let patch = scene.image.width() as usize / model.config().vision.grid();
    for (suffix, square, open) in [("", patch, &edit.open[..]), ("_exact", 1, &[])] {
        let is_judged_right = match &answer {
            Some(generated) => edit_is_right(model, edit, open, (scene, edited), &generated.image).await?,
            None => false,
        };
        if suffix.is_empty() {
            add("edit_judged".into(), f64::from(is_judged_right));
        }
        let psnr = answer.as_ref().map_or(0.0, |generated| unchanged(scene, edited, &generated.image, square, open));
        let is_right = f64::from(is_judged_right && psnr >= UNCHANGED_PSNR);
        add(format!("edit{suffix}"), is_right);
        add(format!("edit{suffix}_{}", edit.kind), is_right);
        add(format!("edit_unchanged{suffix}"), f64::from(psnr >= UNCHANGED_PSNR));
    }
    let is_real_right = edit_is_right(model, edit, &edit.open, (scene, edited), &edited.image).await?;
    add("edit_judged_real".into(), f64::from(is_real_right));
    Ok(())
}

/// dB outside the changed region: about what a good JPEG keeps.
const UNCHANGED_PSNR: f64 = 30.0;

async fn ask(model: &Setokim, encoded: &Arc<EncodedImage>, words: &str, options: &AnswerOptions) -> Result<String> {
    let message = Message { role: Role::User, parts: vec![Part::Image(encoded.clone()), Part::Text(words.to_owned())] };
    let answer = model.chat(&[message], options).await?;
    Ok(answer.text().trim().to_owned())
}

impl Caption {
    /// Whether it says what there is to say of every thing and nothing else, on the right background.
    fn is_right(&self, text: &str) -> bool {
        let Some(text) = text.strip_suffix(&self.background) else { return false };
        let mut text: Vec<_> =
            text.trim_end_matches([',', ' ']).split(", ").flat_map(|part| part.split(" and ")).collect();
        let mut things: Vec<_> = self.things.iter().map(String::as_str).collect();
        text.sort_unstable();
        things.sort_unstable();
        text == things
    }
}

fn iou(found: &[bool], truth: impl Iterator<Item = bool>) -> f64 {
    let (mut both, mut either) = (0, 0);
    for (&found, truth) in found.iter().zip(truth) {
        both += u32::from(found && truth);
        either += u32::from(found || truth);
    }
    f64::from(both) / f64::from(either.max(1))
}

/// A thing in an image, as the model sees it.
struct Found {
    name: String,
    color: Option<String>,
    cell: &'static str,
}

impl Found {
    /// Whether it has the name, the colour and the cell of `object`.
    fn is(&self, object: &Object) -> bool {
        self.name == object.name && self.color == object.color && self.cell == object.cell
    }
}

async fn look(model: &Setokim, image: &Image) -> Result<Vec<Found>> {
    let visual = model.tokenize(image).await?;
    let names = model.name_tokens(&visual).await?.map_or(Vec::new(), |names| names.names);
    let things = names.into_iter().enumerate().filter(|(_, name)| name.is_object);
    Ok(things.map(|(id, TokenName { name, color, .. })| Found { name, color, cell: cell(&visual, id) }).collect())
}

const CELLS: [&str; 9] =
    ["top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right"];
/// Of the image's side.
const CELL_BORDERS: [f64; 2] = [0.37, 0.63];

/// Where the centre of a token's patches lies.
fn cell(visual: &VisualTokens, id: usize) -> &'static str {
    let [rows, columns] = visual.report.grid;
    let mine = || visual.report.labels.iter().enumerate().filter(move |(_, label)| **label as usize == id);
    let count = mine().count().max(1) as f64;
    let middle = |at: &dyn Fn(usize) -> usize, side: usize| {
        mine().map(|(patch, _)| at(patch) as f64 + 0.5).sum::<f64>() / count / side as f64
    };
    let third = |at: f64| CELL_BORDERS.iter().filter(|border| at > **border).count();
    let (row, column) = (middle(&|patch| patch / columns, rows), middle(&|patch| patch % columns, columns));
    CELLS[3 * third(row) + third(column)]
}

/// PSNR over the squares of `square` x `square` pixels in which the true edit leaves every pixel alone, apart from the places
/// `open`. Of single pixels, what is new must have the very place and outline of the true answer.
fn unchanged(scene: &Truth, edited: &Truth, answer: &Image, square: usize, open: &[Open]) -> f64 {
    let pixels = |image: &Image| image.rgb().as_chunks::<3>().0.to_vec();
    let (before, after, answer) = (pixels(&scene.image), pixels(&edited.image), pixels(answer));
    let width = scene.image.width() as usize;
    let square_of = |at: usize| (at / width / square, at % width / square);
    let touched: HashSet<_> = (0..before.len()).filter(|&at| before[at] != after[at]).map(square_of).collect();
    let is_open = |at: usize| {
        let (x, y) = (at % width, at / width);
        open.iter().any(|&Open { bounds: [left, top, right, bottom], .. }| {
            (left..right).contains(&x) && (top..bottom).contains(&y)
        })
    };
    let same = (0..before.len()).filter(|&at| !touched.contains(&square_of(at)) && !is_open(at));
    let (truth, answer): (Vec<_>, Vec<_>) = same.map(|at| (after[at], answer[at])).unzip();
    if truth.is_empty() { f64::INFINITY } else { psnr(truth.as_flattened(), answer.as_flattened()) }
}

/// Whether what is new has the right name and colour, and what went is not to be encoded any more. A thing in an `open` place may
/// stand anywhere in its cell, as in generation; all others must be where they truly are.
async fn edit_is_right(
    model: &Setokim,
    edit: &Edit,
    open: &[Open],
    (scene, edited): (&Truth, &Truth),
    answer: &Image,
) -> Result<bool> {
    let has_appeared = if open.is_empty() {
        let new = model.name_regions(answer, &edited.patch_regions).await?;
        edit.changed.iter().all(|&region| match new.get(&(region as i32)) {
            Some(text) => (&text.name, &text.color) == (&edited.names[region].0, &edited.names[region].1),
            None => true, // hidden, so that it owns no patch
        })
    } else {
        let found = look(model, answer).await?;
        open.iter().all(|Open { object, .. }| found.iter().any(|found| found.is(object)))
    };
    let old = model.name_regions(answer, &scene.patch_regions).await?;
    let is_gone = |gone: &Gone| {
        // What was moved is no longer where it was; what was recoloured is.
        let stays = edit.open.is_empty() && edit.changed.iter().any(|&region| edited.names[region].0 == gone.name);
        stays || old.get(&(gone.region as i32)).is_none_or(|text| text.name != gone.name)
    };
    Ok(has_appeared && edit.gone.iter().all(is_gone))
}

/// Peak signal to noise in dB for 8 bits.
pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    let square = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
    let mean = a.iter().zip(b).map(square).sum::<f64>() / a.len() as f64;
    10.0 * (255.0f64.powi(2) / mean.max(1e-9)).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_is_right_in_any_order_and_with_nothing_more_or_less() {
        let things = ["a cat", "an owl", "a cat"].map(Into::into).to_vec();
        let caption = Caption { kind: String::new(), question: String::new(), things, background: "at night".into() };
        for right in ["an owl, a cat and a cat at night", "a cat, a cat and an owl, at night"] {
            assert!(caption.is_right(right), "{right}");
        }
        for wrong in
            ["an owl and a cat at night", "an owl, a cat and a cat on grass", "an owl, a cat, a cat and a cat at night"]
        {
            assert!(!caption.is_right(wrong), "{wrong}");
        }
    }
}
