//! `eval`: the model's figures on scenes whose truth is known: the tokenizer's on a pack of
//! `training/evaluation/scenes_pack.py`, those of the four tasks too on one of `training/evaluation/tasks_pack.py`. The
//! same definitions as `training/evaluation/tokenizer.py`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use serde_json::Value;
use setokim::image::Image;
use setokim::model::setokim::Setokim;

use crate::answer::DiffusionArgs;
use crate::eval_photos;
use crate::eval_tasks::{self, Tasks, Truth, Values, psnr};
use crate::{LateBar, ModelArgs, read_file, write_json};

#[derive(Args)]
pub struct EvalArgs {
    /// A pack by name, where `python -m training.evaluation.tasks_pack` leaves it.
    #[arg(long, value_enum, default_value_t = Suite::Scenes, conflicts_with = "scenes")]
    suite: Suite,
    /// The split of that suite.
    #[arg(long, default_value = "test", conflicts_with = "scenes")]
    split: String,
    /// For the suite of photos: the folder that holds `images/`, `captions.tsv` and `phrases.tsv`, as
    /// `python -m training.photo.unpack` writes it.
    #[arg(long, value_name = "DIR", required_if_eq("suite", "photos"))]
    data: Option<PathBuf>,
    /// Where to write what the model said of each photo, one line of JSON an item, for `python -m training.photo.score`.
    #[arg(long, value_name = "OUT.jsonl", requires = "data")]
    predictions: Option<PathBuf>,
    /// A pack by its file, made by `python -m training.evaluation.scenes_pack` or `training.evaluation.tasks_pack`.
    #[arg(long, value_name = "SCENES.safetensors")]
    scenes: Option<PathBuf>,
    /// Use the first scenes or photos only.
    #[arg(long)]
    limit: Option<usize>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    diffusion: DiffusionArgs,
    /// Where to write: a file, or `-` for standard output.
    #[arg(long, default_value = "-", value_name = "FILE|-")]
    json: PathBuf,
}

/// The packs of `training/evaluation/tasks_pack.py`, and photos in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// New scenes.
    Scenes,
    /// Combinations of thing, colour and background that training never showed.
    ScenesCombo,
    /// Wordings that training never used.
    ScenesWords,
    /// Questions and instructions about things that no image shows and training never named.
    ScenesStrange,
    /// Images and questions of the public benchmark easy-VQA; it has no split `val`.
    EasyVqa,
    /// Photos with descriptions and phrases.
    Photos,
}

impl EvalArgs {
    fn pack(&self) -> Result<Vec<u8>> {
        if let Some(scenes) = &self.scenes {
            return read_file(scenes);
        }
        let suite = self.suite.to_possible_value().context("every suite has a name")?;
        let (suite, split) = (suite.get_name(), &self.split);
        let file = PathBuf::from(format!("target/scenes/{suite}-{split}.safetensors"));
        ensure!(
            file.exists(),
            "{} is missing; `python -m training.evaluation.tasks_pack --suite {suite} --split {split}` makes it",
            file.display()
        );
        read_file(&file)
    }
}

/// One scene and its truth.
struct Scene<'a> {
    rgb: &'a [u8],
    patch_regions: Vec<i32>,
    /// Regions below this are objects.
    objects: i32,
    /// Regions that own a patch.
    regions: usize,
    /// Name of each region.
    names: Vec<i32>,
}

pub fn eval(args: &EvalArgs) -> Result<()> {
    if let (Suite::Photos, Some(data)) = (args.suite, &args.data) {
        let (limit, predictions) = (args.limit, args.predictions.as_deref());
        let settings = eval_photos::Settings { data, split: &args.split, limit, predictions };
        return write_json(&args.json, &eval_photos::eval(&args.model.load()?, &settings)?);
    }
    let bytes = args.pack()?;
    let pack = SafeTensors::deserialize(&bytes).context("the pack of scenes")?;
    let images = pack.tensor("images")?;
    let &[count, side, _, 3] = images.shape() else { anyhow::bail!("images must be [n, S, S, 3]") };
    let count = args.limit.unwrap_or(count).min(count);
    ensure!(count > 0, "the pack holds no scene");
    let model = args.model.load()?;
    let mut bar = LateBar::new("evaluating");
    let tasks = read_tasks(&bytes)?;
    let mut values = Values::new();
    for i in 0..count {
        let scene = Scene {
            rgb: &images.data()[i * side * side * 3..][..side * side * 3],
            patch_regions: row(&pack, "patch_regions", i)?,
            objects: row(&pack, "object_counts", i)?[0],
            regions: row(&pack, "region_counts", i)?[0] as usize,
            names: row(&pack, "names", i)?,
        };
        for (name, value) in pollster::block_on(measure(&model, &scene, side as u32))? {
            values.entry(name.to_owned()).or_default().push(value);
        }
        if let Some(tasks) = &tasks {
            let before = truth(&pack, &model, "", i)?;
            let has_edited = pack.tensor("edited_images").is_ok();
            ensure!(has_edited == tasks[i].draw(), "scene {i}: tasks to draw and edited pictures must come together");
            let after = has_edited.then(|| truth(&pack, &model, "edited_", i)).transpose()?;
            let options = args.diffusion.options();
            let measured = eval_tasks::measure(&model, &before, after.as_ref(), &tasks[i], &options, &mut values);
            pollster::block_on(measured)?;
        }
        bar.at(i as u64 + 1, count as u64);
    }
    let mut table: BTreeMap<&str, Value> =
        values.iter().map(|(name, values)| (name.as_str(), mean(values).into())).collect();
    let intervals: BTreeMap<&str, [f64; 2]> =
        values.iter().map(|(name, values)| (name.as_str(), interval(values))).collect();
    table.insert("scenes", count.into());
    table.insert("intervals", serde_json::to_value(intervals)?);
    write_json(&args.json, &table)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Where the mean over all such scenes lies with 95 % certainty, taking the values as independent.
fn interval(values: &[f64]) -> [f64; 2] {
    let (mean, count) = (mean(values), values.len() as f64);
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let half = 1.96 * (variance / count).sqrt();
    [mean - half, mean + half]
}

/// The tasks of each scene, from the file's metadata; none in a pack for the tokenizer alone.
fn read_tasks(bytes: &[u8]) -> Result<Option<Vec<Tasks>>> {
    let (_, header): (usize, Metadata) = SafeTensors::read_metadata(bytes)?;
    let Some(tasks) = header.metadata().as_ref().and_then(|texts| texts.get("tasks")) else { return Ok(None) };
    Ok(Some(serde_json::from_str(tasks).context("the pack's tasks")?))
}

/// A scene of the pack, or with `edited_` what an edit should make of it.
fn truth(pack: &SafeTensors<'_>, model: &Setokim, prefix: &str, i: usize) -> Result<Truth> {
    let bytes = |name: &str| -> Result<(usize, Vec<u8>)> {
        let tensor = pack.tensor(&format!("{prefix}{name}"))?;
        let size: usize = tensor.shape()[1..].iter().product();
        Ok((tensor.shape()[1], tensor.data()[i * size..][..size].to_vec()))
    };
    let (side, rgb) = bytes("images")?;
    let labels =
        model.config().labels.as_ref().context("the model names nothing, so nothing it draws can be judged")?;
    let names = row(pack, &format!("{prefix}names"), i)?;
    let colors = row(pack, &format!("{prefix}colors"), i)?;
    let known = names.iter().zip(&colors).filter(|(name, _)| **name >= 0);
    let name = |(&name, &color): (&i32, &i32)| {
        let color = labels.colors.get(color as usize).filter(|color| Some(*color) != labels.natural.as_ref());
        labels.names.get(name as usize).map(|name| (name.clone(), color.cloned()))
    };
    Ok(Truth {
        image: Image::from_rgb(rgb, side as u32, side as u32)?,
        regions: bytes("regions")?.1,
        patch_regions: row(pack, &format!("{prefix}patch_regions"), i)?,
        names: known.map(name).collect::<Option<_>>().context("a name that the model does not know")?,
    })
}

/// Row `i` of an int32 tensor [n, ..].
fn row(pack: &SafeTensors<'_>, name: &str, i: usize) -> Result<Vec<i32>> {
    let tensor = pack.tensor(name)?;
    ensure!(tensor.dtype() == safetensors::Dtype::I32, "{name} must be int32");
    let width: usize = tensor.shape()[1..].iter().product();
    let values = &tensor.data().as_chunks::<4>().0[i * width..][..width];
    Ok(values.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect())
}

/// Named values of one scene; a name may come several times (once per region, say).
async fn measure(model: &Setokim, scene: &Scene<'_>, side: u32) -> Result<Vec<(&'static str, f64)>> {
    let image = Image::from_rgb(scene.rgb.to_vec(), side, side)?;
    let (again, visual) = model.reconstruct(&image).await?;
    let tokens = visual.report.tokens.len();
    let mut values = vec![
        ("psnr", psnr(image.rgb(), again.rgb())),
        ("tokens", tokens as f64),
        ("regions", scene.regions as f64),
        ("tokens_exact", f64::from(tokens == scene.regions)),
        ("tokens_off_by", tokens.abs_diff(scene.regions) as f64),
    ];
    let overlap = Overlap::new(&scene.patch_regions, &visual.report.labels, tokens);
    for region in overlap.regions() {
        let iou = overlap.best_iou(region);
        values.push(("region_iou", iou));
        if (region as i32) < scene.objects {
            values.push(("object_iou", iou));
        }
    }
    if let (Some(names), Some(labels)) = (model.name_tokens(&visual).await?, &model.config().labels) {
        for (token, said) in names.names.iter().enumerate() {
            let truth = scene.names[overlap.main_region(token)];
            if let Some(truth) = usize::try_from(truth).ok().filter(|&truth| truth < labels.objects) {
                values.push(("object_names", f64::from(labels.names[truth] == said.name)));
            }
        }
    }
    Ok(values)
}

/// Patches that a region and a token share.
struct Overlap {
    shared: Vec<Vec<f64>>, // [region][token]
}

impl Overlap {
    fn new(regions: &[i32], labels: &[u32], tokens: usize) -> Self {
        let count = regions.iter().max().map_or(0, |&last| last as usize + 1);
        let mut shared = vec![vec![0.0; tokens]; count];
        for (&region, &label) in regions.iter().zip(labels) {
            shared[region as usize][label as usize] += 1.0;
        }
        Self { shared }
    }

    /// Regions that own a patch.
    fn regions(&self) -> impl Iterator<Item = usize> {
        (0..self.shared.len()).filter(|&region| self.area_of_region(region) > 0.0)
    }

    fn area_of_region(&self, region: usize) -> f64 {
        self.shared[region].iter().sum()
    }

    fn area_of_token(&self, token: usize) -> f64 {
        self.shared.iter().map(|row| row[token]).sum()
    }

    /// IoU with the token that fits best.
    fn best_iou(&self, region: usize) -> f64 {
        let iou = |token: usize| {
            let both = self.shared[region][token];
            both / (self.area_of_region(region) + self.area_of_token(token) - both)
        };
        (0..self.shared[region].len()).map(iou).fold(0.0, f64::max)
    }

    /// The region that most of the token's patches belong to; ties to the lower.
    fn main_region(&self, token: usize) -> usize {
        let shares = |region: usize| self.shared[region][token];
        (0..self.shared.len()).max_by(|&a, &b| shares(a).total_cmp(&shares(b)).then(b.cmp(&a))).unwrap_or(0)
    }
}
