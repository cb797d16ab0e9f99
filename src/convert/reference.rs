//! Checkpoints of the paper's own code, <https://github.com/ChocoWu/SeTok> (commit 55cfc9f). No weights were published;
//! these names and shapes are what its modules define. docs/convert.md says what each becomes, and what cannot.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Deserialize;

use super::assembled::{is_read, le_bytes, with_new_rows};
use super::files::{tensors_of_folder, tensors_of_torch};
use super::text::{add_controls, special_tokens};
use super::{Draft, Lazy, Tensors};
use crate::formats::blocks::WeightKind;
use crate::formats::gguf::RawTensor;
use crate::limits::{MAX_CENTERS, MAX_NEIGHBORS};
use crate::model::config::{
    ChatConfig, ClusterConfig, CompositeConfig, MergerConfig, PreprocessConfig, PromptsConfig, SetokimConfig,
    SiglipConfig, SpecialTokens, VisionConfig,
};
use crate::model::folder::{read_config, read_tokenizer};
use crate::model::llm::{LlamaConfig, weight_names};
use crate::{Error, Result};

/// Parts of a reference checkpoint that a person may do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// The language model and what hangs on it.
    Llm,
    /// Semantic tokens -> pixels.
    Detokenizer,
    /// Hidden state -> semantic token.
    Diffusion,
}

/// What `SetokimLlamaForCausalLM` saves as its config.json, as far as it decides the model.
#[derive(Debug, Deserialize)]
struct ReferenceConfig {
    vision_tower_config: TowerConfig,
    /// Not saved by the reference code, which fetches it: Hugging Face's, for a tower that is not recognised.
    vision_config: Option<SiglipConfig>,
}

/// Its `vision_tower_config`, with the defaults of `SetokTokenizer.__init__`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct TowerConfig {
    mm_vision_select_layer: i32,
    hidden_dim: usize,
    token_feat_dim: usize,
    min_cluster_num: usize,
    threshold: f32,
    nheads: usize,
    dim_feedforward: usize,
    inner_cluster_layers: usize,
    intra_cluster_layers: usize,
}

impl Default for TowerConfig {
    fn default() -> Self {
        Self {
            mm_vision_select_layer: -2,
            hidden_dim: 4096,
            token_feat_dim: 4096,
            min_cluster_num: 64,
            threshold: 0.5,
            nheads: 2,
            dim_feedforward: 4096,
            inner_cluster_layers: 2,
            intra_cluster_layers: 2,
        }
    }
}

/// Whether a folder's config.json is one of the reference code.
pub(crate) fn is_reference(config: &str) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_str(config).ok();
    value.is_some_and(|value| value.get("vision_tower_config").is_some())
}

/// A folder of the reference code: config.json, tokenizer.json and weights as `.bin` or safetensors.
///
/// # Errors
/// [`Error::Convert`] names the first part that has no counterpart here and was not left out; [`Error::Config`],
/// [`Error::Tokenizer`], [`Error::TensorMissing`], [`Error::Io`] and what [`crate::model::folder`] says.
pub(crate) fn draft_from_reference(folder: &Path, tokenizer: Option<Vec<u8>>, without: &[LeftOut]) -> Result<Draft> {
    let text = read_config(folder)?;
    let settings: ReferenceConfig = serde_json::from_str(&text).map_err(|error| Error::Config(error.to_string()))?;
    let mut map = Map { source: stored_tensors(folder)?, ours: Tensors::new(), notes: Vec::new() };
    map.refuse_or_leave_out(without)?;
    let tower = map.tower(&settings)?;
    let config = settings.vision_tower_config.to_config(tower, &mut map.notes);
    map.merger(&settings.vision_tower_config, config.vision.width())?;
    let llm = match map.has_llm(without) {
        true => Some(map.language(&text, &config, folder, tokenizer)?),
        false => None,
    };
    map.finish()?;

    let (llm, special_tokens, tokenizer) = llm.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)));
    let config = SetokimConfig { llm, special_tokens, ..config };
    let config = serde_json::to_string_pretty(&config).map_err(|error| Error::Config(error.to_string()))? + "\n";
    Ok(Draft { config, tokenizer, tensors: map.ours, notes: map.notes })
}

/// Whatever the trainer called the files. A tokenizer trained by itself (`SeTok`) calls its modules otherwise than the
/// whole model does; here they get the names that they have there.
fn stored_tensors(folder: &Path) -> Result<Tensors> {
    let has = |name: &str| folder.join(name).is_file();
    let mut tensors = Tensors::new();
    if has("model.safetensors") || has("model.safetensors.index.json") {
        tensors = tensors_of_folder(folder)?;
    } else {
        for path in bin_files(folder)? {
            tensors.extend(tensors_of_torch(&path, None)?);
        }
    }
    let renamed = tensors.into_iter().map(|(name, read)| {
        let whole = [("tokenizer.", "model.vision_tower."), ("detokenizer.", "model.vision_generator.")];
        let found = whole.iter().find_map(|(alone, whole)| Some(format!("{whole}{}", name.strip_prefix(alone)?)));
        (found.unwrap_or(name), read)
    });
    Ok(renamed.collect())
}

fn bin_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "bin" || extension == "pt"));
    // Saved beside the weights by the trainer.
    paths.retain(|path| path.file_name().is_none_or(|name| name != "training_args.bin"));
    paths.sort();
    match paths.is_empty() {
        true => Err(Error::Convert(format!("`{}` has no weights: .bin, .pt or model.safetensors", folder.display()))),
        false => Ok(paths),
    }
}

impl TowerConfig {
    fn to_config(&self, tower: SiglipConfig, notes: &mut Vec<String>) -> SetokimConfig {
        let patches = (tower.image_size / tower.patch_size).pow(2);
        let neighbors = self.min_cluster_num.min(MAX_NEIGHBORS).min(patches);
        if neighbors < self.min_cluster_num {
            notes.push(format!("the clustering looks at {neighbors} neighbours, not {}", self.min_cluster_num));
        }
        SetokimConfig {
            name: "setokim-reference".into(),
            cluster: ClusterConfig {
                neighbors,
                threshold: self.threshold,
                // The reference code has no limit; there cannot be more clusters than patches.
                max_clusters: patches.min(MAX_CENTERS),
                fallback_clusters: self.min_cluster_num.min(patches),
                pos_scale: 1.0,
                pos_interleaved: true,
                normalize: false,
                norm_eps: 1e-5,
            },
            merger: Some(MergerConfig {
                width: self.hidden_dim,
                heads: self.nheads,
                mlp_ratio: 1,
                mlp_hidden: self.dim_feedforward,
                inner_depth: self.inner_cluster_layers,
                inter_depth: self.intra_cluster_layers,
                token_width: self.token_feat_dim,
                norm_eps: 1e-5,
                shared_blocks: true,
                pooled_head: false,
            }),
            vision: VisionConfig::Siglip(tower),
            preprocess: PreprocessConfig::default(),
            detokenizer: None,
            phrase: None,
            labels: None,
            llm: None,
            diffusion: None,
            mask_head: None,
            special_tokens: None,
            chat: ChatConfig::default(),
            adapters: None,
            picture_margin: 0.0,
            refusals: Vec::new(),
            prompts: PromptsConfig::default(),
            composite: CompositeConfig::default(),
            familiarity: None,
        }
    }
}

/// A model of the reference code on its way: what has not been looked at yet, and what has found its place.
struct Map {
    source: Tensors,
    ours: Tensors,
    notes: Vec<String>,
}

const TOWER: &str = "model.vision_tower.image_feature_encoder.vision_tower.";
const TOKENIZER: &str = "model.vision_tower.";
const DETOKENIZER: &str = "model.vision_generator.";
const DIFFUSION: &str = "model.diffloss.";
const IN_PROJECTOR: &str = "model.mm_in_projector.";
const OUT_PROJECTOR: &str = "model.mm_out_projector.";

impl Map {
    fn has(&self, prefix: &str) -> bool {
        self.source.keys().any(|name| name.starts_with(prefix))
    }

    fn has_llm(&self, without: &[LeftOut]) -> bool {
        self.has("model.embed_tokens.") && !without.contains(&LeftOut::Llm)
    }

    fn drop(&mut self, prefix: &str) {
        self.source.retain(|name, _| !name.starts_with(prefix));
    }

    fn take(&mut self, name: &str) -> Result<Lazy> {
        self.source.remove(name).ok_or_else(|| Error::TensorMissing(name.into()))
    }

    fn rename(&mut self, theirs: &str, ours: &str) -> Result<()> {
        let read = self.take(theirs)?;
        self.ours.insert(ours.into(), read);
        Ok(())
    }

    /// `.weight` and `.bias` of a layer.
    fn layer(&mut self, theirs: &str, ours: &str) -> Result<()> {
        ["weight", "bias"]
            .iter()
            .try_for_each(|part| self.rename(&format!("{theirs}.{part}"), &format!("{ours}.{part}")))
    }

    fn refuse_or_leave_out(&mut self, without: &[LeftOut]) -> Result<()> {
        let parts = [
            (LeftOut::Detokenizer, DETOKENIZER, "no layer of the detokenizer gives pixels"),
            (LeftOut::Diffusion, DIFFUSION, "the diffusion head predicts noise and its variance, ours velocity"),
        ];
        for (part, prefix, why) in parts {
            if without.contains(&part) || without.contains(&LeftOut::Llm) && part == LeftOut::Diffusion {
                self.drop(prefix);
            } else if self.has(prefix) {
                return Err(Error::Convert(format!("`{prefix}*`: {why}; leave it out")));
            }
        }
        if without.contains(&LeftOut::Llm) {
            let prefixes = ["model.embed_tokens.", "model.layers.", "model.norm.", "lm_head.", IN_PROJECTOR];
            prefixes.iter().for_each(|prefix| self.drop(prefix));
        }
        // Made and saved by the reference code, but nothing passes through it.
        self.drop(OUT_PROJECTOR);
        Ok(())
    }

    /// The SigLIP tower. Its text half served the contrastive loss only.
    fn tower(&mut self, settings: &ReferenceConfig) -> Result<SiglipConfig> {
        let prefix = format!("{TOWER}vision_model.");
        let names: Vec<String> = self.source.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        let layer =
            |name: &String| name[prefix.len()..].strip_prefix("encoder.layers.")?.split('.').next()?.parse().ok();
        let layers = names.iter().filter_map(layer).max().map_or(0, |last: usize| last.saturating_add(1));
        let select_layer = settings.vision_tower_config.mm_vision_select_layer;
        let tower = SiglipConfig { select_layer, ..self.tower_config(settings, layers)? };
        VisionConfig::Siglip(tower.clone()).check()?;
        for name in names {
            let ours = name[TOWER.len()..].to_owned();
            if is_read(&tower, &ours) {
                self.rename(&name, &ours)?;
            }
        }
        self.drop(TOWER);
        Ok(tower)
    }

    /// Sizes that the tensors tell, and heads that only their width hints at.
    fn tower_config(&self, settings: &ReferenceConfig, layers: usize) -> Result<SiglipConfig> {
        if let Some(given) = &settings.vision_config {
            return Ok(given.clone());
        }
        let shape = |name: &str| {
            let name = format!("{TOWER}vision_model.{name}");
            let read = self.source.get(&name).ok_or(Error::TensorMissing(name))?;
            Ok::<_, Error>(read()?.shape)
        };
        let (patches, positions) =
            (shape("embeddings.patch_embedding.weight")?, shape("embeddings.position_embedding.weight")?);
        let inner = shape("encoder.layers.0.mlp.fc1.weight")?;
        let (&[width, _, patch_size, _], &[count, _], &[intermediate_size, _]) =
            (&patches[..], &positions[..], &inner[..])
        else {
            return Err(Error::Convert("the vision tower is not SigLIP's".into()));
        };
        // The published towers: base, large, so400m.
        let heads = match width {
            768 => 12,
            1024 | 1152 => 16,
            other => {
                let message = format!(
                    "the heads of a tower of width {other} are not known: add its vision_config to config.json"
                );
                return Err(Error::Convert(message));
            }
        };
        Ok(SiglipConfig {
            hidden_size: width,
            intermediate_size,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            image_size: count.isqrt() * patch_size,
            patch_size,
            ..SiglipConfig::default()
        })
    }

    fn merger(&mut self, settings: &TowerConfig, width: usize) -> Result<()> {
        if settings.hidden_dim != width {
            let message = format!("hidden_dim is {} where the tower's features are {width} wide", settings.hidden_dim);
            return Err(Error::Convert(message));
        }
        for (theirs, ours, depth) in [
            ("inner_encoder", "inner", settings.inner_cluster_layers),
            ("inter_encoder", "inter", settings.intra_cluster_layers),
        ] {
            if depth == 0 {
                return Err(Error::Convert(format!("`{TOKENIZER}{theirs}` has no layers, only an MLP")));
            }
            self.block(&format!("{TOKENIZER}{theirs}"), &format!("setok.merger.{ours}"), depth)?;
        }
        self.layer(&format!("{TOKENIZER}out"), "setok.merger.out")?;
        self.source.remove(&format!("{TOKENIZER}position_embedding.inv_freq"));
        // There features carry their positions from before the clustering on; here they join in the merger, as they are.
        let identity: Lazy = Rc::new(move || Ok(f32_tensor(&[width, width], interleaving(width))));
        self.ours.insert("setok.merger.pos_proj.weight".into(), identity);
        let zeros: Lazy = Rc::new(move || Ok(f32_tensor(&[width], vec![0.0; width])));
        self.ours.insert("setok.merger.pos_proj.bias".into(), zeros);
        Ok(())
    }

    fn block(&mut self, theirs: &str, ours: &str, depth: usize) -> Result<()> {
        for part in ["norm1", "norm2", "mlp.fc1", "mlp.fc2"] {
            self.layer(&format!("{theirs}.{part}"), &format!("{ours}.{part}"))?;
        }
        for i in 0..depth {
            // `norm1` again: every layer of a Sequential holds the same module.
            self.drop(&format!("{theirs}.layers.{i}.0."));
            self.layer(&format!("{theirs}.layers.{i}.1.proj"), &format!("{ours}.{i}.attn.out"))?;
            for part in ["weight", "bias"] {
                let joint = self.take(&format!("{theirs}.layers.{i}.1.qkv.{part}"))?;
                for (at, name) in ["q", "k", "v"].into_iter().enumerate() {
                    let joint = Rc::clone(&joint);
                    let third: Lazy = Rc::new(move || third_of(joint()?, at));
                    self.ours.insert(format!("{ours}.{i}.attn.{name}.{part}"), third);
                }
            }
        }
        Ok(())
    }

    fn language(
        &mut self,
        config_text: &str,
        config: &SetokimConfig,
        folder: &Path,
        tokenizer: Option<Vec<u8>>,
    ) -> Result<(LlamaConfig, SpecialTokens, Vec<u8>)> {
        let llm = LlamaConfig::from_json(config_text)?;
        let tokenizer = match tokenizer {
            Some(given) => given,
            None => read_tokenizer(folder)?,
        };
        let (tokenizer, special, vocabulary) = add_controls(&tokenizer, &special_tokens(config.cluster.max_clusters))?;
        let vocabulary = vocabulary.max(llm.vocab_size);
        for name in weight_names(&llm) {
            let read = self.take(&name)?;
            let is_table = ["model.embed_tokens.weight", "lm_head.weight"].contains(&name.as_str());
            // Zeros: a visual token wears its pointer's embedding, and the reference code knows no pointers.
            let read = if is_table { with_new_rows(read, vocabulary, |count| vec![0.0; count]) } else { read };
            self.ours.insert(format!("llm.{name}"), read);
        }
        self.projector(config.merger.map_or(0, |merger| merger.token_width), llm.hidden_size)?;
        self.notes
            .push("new control tokens, whose embeddings are 0: the chat template is ours, not the reference's".into());
        Ok((LlamaConfig { vocab_size: vocabulary, ..llm }, special, tokenizer))
    }

    /// `mlp2x_gelu`, the one form of the reference's projectors that is ours: two layers with a GELU between.
    fn projector(&mut self, token_width: usize, hidden: usize) -> Result<()> {
        let shape = |read: Option<&Lazy>| read.map(|read| Ok::<_, Error>(read()?.shape)).transpose();
        let first = shape(self.source.get(&format!("{IN_PROJECTOR}0.weight")))?;
        let second = shape(self.source.get(&format!("{IN_PROJECTOR}2.weight")))?;
        let is_ours = first.is_some_and(|shape| shape == [hidden, token_width])
            && second.is_some_and(|shape| shape == [hidden, hidden]);
        if !is_ours || self.has(&format!("{IN_PROJECTOR}3.")) {
            return Err(Error::Convert(format!("`{IN_PROJECTOR}*` is not of the type `mlp2x_gelu`")));
        }
        self.layer(&format!("{IN_PROJECTOR}0"), "projector.fc1")?;
        self.layer(&format!("{IN_PROJECTOR}2"), "projector.fc2")?;
        for (name, value) in [("projector.mean", 0.0), ("projector.std", 1.0)] {
            let constant: Lazy = Rc::new(move || Ok(f32_tensor(&[token_width], vec![value; token_width])));
            self.ours.insert(name.into(), constant);
        }
        Ok(())
    }

    /// What is left has no place here.
    fn finish(&self) -> Result<()> {
        match self.source.keys().find(|name| !name.ends_with("rotary_emb.inv_freq")) {
            Some(name) => Err(Error::Convert(format!("`{name}` has no counterpart"))),
            None => Ok(()),
        }
    }
}

/// Rows of query, key or value out of the three together.
fn third_of(joint: RawTensor<'static>, at: usize) -> Result<RawTensor<'static>> {
    let rows = joint.shape.first().copied().unwrap_or(0);
    if rows == 0 || !rows.is_multiple_of(3) {
        return Err(Error::Convert(format!("{rows} rows of queries, keys and values do not divide into three")));
    }
    let mut shape = joint.shape.clone();
    shape[0] = rows / 3;
    let length = joint.bytes.len() / 3;
    let bytes = Cow::Owned(joint.bytes[at * length..][..length].to_vec());
    Ok(RawTensor { kind: joint.kind, shape, bytes })
}

/// The matrix that takes our sine positions (sines, then cosines, of rows; the same of columns) to the reference's, where
/// sine and cosine of a frequency stand side by side.
fn interleaving(width: usize) -> Vec<f32> {
    let quarter = width / 4;
    let mut matrix = vec![0.0; width * width];
    for half in 0..2 {
        for i in 0..quarter {
            let start = half * 2 * quarter;
            matrix[(start + 2 * i) * width + start + i] = 1.0;
            matrix[(start + 2 * i + 1) * width + start + quarter + i] = 1.0;
        }
    }
    matrix
}

fn f32_tensor(shape: &[usize], values: Vec<f32>) -> RawTensor<'static> {
    RawTensor { kind: WeightKind::F32, shape: shape.to_vec(), bytes: Cow::Owned(le_bytes(&values)) }
}
