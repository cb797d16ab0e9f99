//! The whole model. Read [`Setokim::tokenize`] and [`Setokim::reconstruct`] for the data path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use burn::tensor::Tensor;
use serde::Serialize;
use web_time::Instant;

use crate::image::Image;
use crate::image::image_from_pixels;
use crate::image::preprocess::{Crop, Normalisation, Preprocessed, preprocess};
use crate::image::resize::frame_from_square;
use crate::model::config::{PreprocessConfig, SetokimConfig, VisionConfig};
use crate::model::detok::Detokenizer;
use crate::model::encoded_image::{EncodedImage, order_by_area};
use crate::model::feature_maps::{FeatureMaps, FinerMaps};
use crate::model::foreign::not_read;
use crate::model::language::Language;
use crate::model::phrase::PhraseEncoder;
use crate::model::setok::{Clusters, NameHeads, SetokTokenizer, TokenName, TokenNames, pool_head};
use crate::model::token_names::{NounNames, known_names};
use crate::model::vision::{Levels, VisionEncoder, VisionOutput};
use crate::nn::tensor_store::TensorStore;
use crate::runtime::device::{DeviceKind, OpenDevice};
use crate::runtime::readback::read_floats;
use crate::text::Tokenizer;
use crate::{Error, Result};

/// A loaded model on its device.
pub struct Setokim {
    config: SetokimConfig,
    device: OpenDevice,
    vision: VisionEncoder,
    setok: SetokTokenizer,
    heads: Option<NameHeads>,
    phrases: Option<PhraseEncoder>,
    nouns: Option<NounNames>,
    detok: Option<Detokenizer>,
    language: Option<Language>,
}

/// An image as semantic tokens: what a person or a program wants to know of them.
#[derive(Debug, Clone, Serialize)]
pub struct TokenReport {
    /// Size of the image, in pixels.
    pub image: Size,
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// Token of each patch, row by row: an index into `tokens`.
    pub labels: Vec<u32>,
    /// The part of the image that the grid covers, in its own pixels; beyond the image where it was padded.
    pub crop: Crop,
    /// The semantic tokens, in the order of their centres in the grid, row by row.
    pub tokens: Vec<Token>,
    /// Where it was computed.
    pub device: DeviceKind,
    /// What took how long.
    pub timings_ms: Timings,
}

/// Pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// One semantic token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Token {
    /// Its number: what `labels` says.
    pub id: usize,
    /// Row and column of the patch that the cluster gathered around.
    pub center: [usize; 2],
    /// Patches of its cluster.
    pub patches: usize,
    /// Density x distance to the nearest denser patch.
    pub score: f32,
}

/// Milliseconds per stage. A GPU works while the program goes on, so there the wait shows in the first stage that reads
/// something back: `cluster`, then `detokenize`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Image -> the encoder's square.
    pub preprocess: f64,
    /// Square -> patch features.
    pub encode: f64,
    /// Features -> clusters.
    pub cluster: f64,
    /// Clusters -> semantic tokens.
    pub merge: f64,
    /// Semantic tokens -> pixels, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detokenize: Option<f64>,
}

/// An image as the model holds it between stages.
pub struct VisualTokens {
    /// `[L, D]`; none for a bare vision tower.
    pub tensor: Option<Tensor<2>>,
    /// Which patches became which token.
    pub clusters: Clusters,
    /// `[N / 4, head]`, of an EfficientNet: what names of tokens are read from.
    pub head: Option<Tensor<2>>,
    /// What a person or a program wants to know of them.
    pub report: TokenReport,
}

impl Setokim {
    /// Builds the model from its tensors. A checkpoint may carry parts that are not wanted; within a part that is, every
    /// tensor must be taken.
    ///
    /// # Errors
    /// [`Error::TensorMissing`], [`Error::TensorShape`], [`Error::TensorType`] when config and weights disagree;
    /// [`Error::NotSupported`] for a tensor in the midst of a layer that the layer does not take.
    pub fn load(config: SetokimConfig, store: TensorStore, device: OpenDevice) -> Result<Self> {
        Self::build(config, store, None, device)
    }

    /// [`Setokim::load`] with the language model, for which `text` is the tokenizer.
    ///
    /// # Errors
    /// As [`Setokim::load`], and what [`Language::load`] says.
    pub fn load_with_text(
        config: SetokimConfig,
        store: TensorStore,
        text: Tokenizer,
        device: OpenDevice,
    ) -> Result<Self> {
        Self::build(config, store, Some(text), device)
    }

    fn build(
        config: SetokimConfig,
        mut store: TensorStore,
        text: Option<Tokenizer>,
        device: OpenDevice,
    ) -> Result<Self> {
        let vision = VisionEncoder::load(&mut store, &config.vision)?;
        let setok = SetokTokenizer::load(&mut store, &config)?;
        let token_width = config.merger.map_or(0, |merger| merger.token_width);
        let heads = match &config.labels {
            Some(labels) if store.contains("heads.name.weight") => {
                Some(NameHeads::load(&mut store, labels, token_width)?)
            }
            _ => None,
        };
        let phrases = match &config.phrase {
            Some(phrase) => Some(PhraseEncoder::load(&mut store, phrase, token_width, config.vision.width())?),
            None => None,
        };
        let detok = match &config.detokenizer {
            Some(detokenizer) => Some(Detokenizer::load(&mut store, detokenizer, &config.vision, token_width)?),
            None => None,
        };
        let language = text.map(|text| Language::load(&config, &mut store, text)).transpose()?;
        let nouns = match (&config.vision, &config.labels) {
            (VisionConfig::EfficientNet(net), Some(labels)) => Some(NounNames::load(&mut store, labels, net.head)?),
            _ => None,
        };
        refuse_leftover(&store, &config, language.is_some())?;
        Ok(Self { config, device, vision, setok, heads, phrases, nouns, detok, language })
    }

    /// Loads a model folder: `config.json`, `manifest.json` and shards, or a Hugging Face SigLIP folder.
    ///
    /// # Errors
    /// [`Error::Io`], and what [`crate::model::folder`] and [`Setokim::load`] say.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(
        folder: &std::path::Path,
        device: OpenDevice,
        mut progress: impl FnMut(crate::model::folder::Progress<'_>),
    ) -> Result<Self> {
        let config = SetokimConfig::from_json(&crate::model::folder::read_config(folder)?)?;
        crate::model::folder::check_preprocessor(folder, &config)?;
        let mut store = TensorStore::new(&device.device);
        crate::model::folder::read_weights(folder, &mut store, &mut progress)?;
        let text = match &config.llm {
            Some(_) => Some(Tokenizer::from_json(&crate::model::folder::read_tokenizer(folder)?)?),
            None => None,
        };
        Self::build(config, store, text, device)
    }

    /// What its `config.json` says.
    pub fn config(&self) -> &SetokimConfig {
        &self.config
    }

    /// The device that it is on, and why.
    pub fn device(&self) -> &OpenDevice {
        &self.device
    }

    /// The language model and its heads.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a tokenizer alone.
    pub fn language(&self) -> Result<&Language> {
        self.language.as_ref().ok_or(Error::Unsupported("language model"))
    }

    /// Compares phrases with tokens.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model without a phrase encoder.
    pub fn phrases(&self) -> Result<&PhraseEncoder> {
        self.phrases.as_ref().ok_or(Error::Unsupported("phrase encoder"))
    }

    pub(crate) fn detok(&self) -> Option<&Detokenizer> {
        self.detok.as_ref()
    }

    /// Image -> the encoder's square.
    pub fn preprocess(&self, image: &Image) -> Result<Preprocessed> {
        let (mean, std) = self.config.vision.normalization();
        let size = self.config.vision.image_size();
        let PreprocessConfig { resize, filter } = self.config.preprocess;
        preprocess(image, size, resize, filter, &Normalisation { mean, std })
    }

    /// Square -> patch features `[N, C]`, as the encoder leaves them.
    pub fn encode(&self, square: &Preprocessed) -> Tensor<2> {
        self.vision.forward(square.to_tensor(&self.device.device)).squeeze_dim(0)
    }

    /// Image -> patch features `[N, C]` as the encoder leaves them, row-major, with their shape.
    ///
    /// # Errors
    /// [`Error::NotFinite`] where they are no numbers; [`Error::DeviceLost`].
    pub async fn features(&self, image: &Image) -> Result<([usize; 2], Vec<f32>)> {
        let features = self.encode(&self.preprocess(image)?);
        let shape = features.dims();
        let values = read_floats(features).await?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Error::NotFinite { what: "features", row: at / shape[1] }),
            None => Ok((shape, values)),
        }
    }

    /// Square -> what the later stages read of it.
    fn see(&self, square: &Preprocessed) -> Seen {
        let VisionOutput { features, stem, levels } = self.vision.encode(square.to_tensor(&self.device.device));
        let features = self.setok.normalize(features.squeeze_dim(0));
        Seen { features, stem, levels }
    }

    /// Image -> semantic tokens. Reads back from the device once.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the encoder's features are; [`Error::DeviceLost`].
    pub async fn tokenize(&self, image: &Image) -> Result<VisualTokens> {
        let mut clock = Clock::start();
        let square = self.preprocess(image)?;
        let preprocess = clock.lap();
        let seen = self.see(&square);
        let (head, features) = (seen.head(), seen.features);
        let encode = clock.lap();
        let clusters = self.setok.cluster(features.clone()).await?;
        let cluster = clock.lap();
        let tensor = self.setok.merge(features, head.clone(), &clusters);
        let merge = clock.lap();
        let timings_ms = Timings { preprocess, encode, cluster, merge, detokenize: None };
        let report = self.report(&square, &clusters, timings_ms);
        Ok(VisualTokens { tensor, clusters, head, report })
    }

    /// Image -> what the language model reads of it, to be shared by messages. Reads back from the device twice, and
    /// once more for a model that is told what its tokens are called.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model without a language model, else as [`Setokim::tokenize`].
    pub async fn encode_image(&self, image: &Image) -> Result<Arc<EncodedImage>> {
        let mut clock = Clock::start();
        let projector = &self.language()?.projector;
        let square = self.preprocess(image)?;
        let seen = self.see(&square);
        let clusters = self.setok.cluster(seen.features.clone()).await?;
        let tokens = self.setok.merge(seen.features.clone(), seen.head(), &clusters);
        let tokens = tokens.ok_or(Error::Unsupported("token merger"))?;
        let [_, width] = tokens.dims();
        let order = order_by_area(&clusters);
        let names = match self.config.prompts.names {
            Some(_) => self.names_of(tokens.clone(), seen.head(), &clusters).await?.unwrap_or_default(),
            None => Vec::new(),
        };
        let names = order.iter().filter_map(|&cluster| names.get(cluster));
        let names = known_names(names, self.config.prompts.most_names);
        let tokens = read_floats(projector.normalize(tokens)).await?;
        let mut slots = vec![0; order.len()];
        for (slot, &cluster) in order.iter().enumerate() {
            slots[cluster] = slot as u32;
        }
        let side = self.config.vision.grid();
        Ok(Arc::new(EncodedImage {
            image: image.clone(),
            crop: square.crop,
            grid: [side, side],
            labels: clusters.labels.iter().map(|&cluster| slots[cluster]).collect(),
            tokens: order.iter().map(|&cluster| tokens[cluster * width..][..width].to_vec()).collect(),
            ids: order,
            names,
            maps: seen.maps(),
            milliseconds: clock.lap(),
        }))
    }

    /// What the mask head sees of an image.
    pub(crate) fn feature_maps(&self, image: &Image) -> Result<FeatureMaps> {
        self.see(&self.preprocess(image)?).maps().ok_or(Error::Unsupported("maps of the encoder for masks"))
    }

    /// Image -> semantic tokens -> image: what the tokens remember, in the image's own size.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the model has no detokenizer, else as [`Setokim::tokenize`].
    pub async fn reconstruct(&self, image: &Image) -> Result<(Image, VisualTokens)> {
        let mut visual = self.tokenize(image).await?;
        let mut clock = Clock::start();
        let tokens = visual.tensor.clone().ok_or(Error::Unsupported("token merger"))?;
        let square = self.detokenize(tokens).await?;
        visual.report.timings_ms.detokenize = Some(clock.lap());
        let Size { width, height } = visual.report.image;
        Ok((frame_from_square(&square, &visual.report.crop, width, height)?, visual))
    }

    /// Semantic tokens `[L, D]` -> the square image they describe.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the model has no detokenizer; [`Error::DeviceLost`].
    pub async fn detokenize(&self, tokens: Tensor<2>) -> Result<Image> {
        let detok = self.detok.as_ref().ok_or(Error::Unsupported("detokenizer"))?;
        let pixels = read_floats(detok.forward(tokens)).await?;
        image_from_pixels(&pixels, self.config.vision.image_size())
    }

    /// What each token shows, in words, and whether the image is of a known kind; nothing for a model that cannot name. Reads
    /// back from the device once.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub async fn name_tokens(&self, visual: &VisualTokens) -> Result<Option<TokenNames>> {
        let Some(tokens) = &visual.tensor else { return Ok(None) };
        let names = self.names_of(tokens.clone(), visual.head.clone(), &visual.clusters).await?;
        let Some(names) = names else { return Ok(None) };
        let patches: Vec<usize> = visual.report.tokens.iter().map(|token| token.patches).collect();
        let unfamiliar = self.config.familiarity.map(|familiarity| familiarity.is_unfamiliar(&names, &patches));
        Ok(Some(TokenNames { names, unfamiliar }))
    }

    /// By name heads, or of a photo model by the head map of its encoder.
    async fn names_of(
        &self,
        tokens: Tensor<2>,
        head: Option<Tensor<2>>,
        clusters: &Clusters,
    ) -> Result<Option<Vec<TokenName>>> {
        match (&self.heads, &self.nouns, &self.vision, head) {
            (Some(heads), ..) => Ok(Some(heads.forward(tokens).await?)),
            (None, Some(nouns), VisionEncoder::EfficientNet(net, _), Some(head)) => {
                Ok(Some(nouns.forward(net, pool_head(head, clusters)).await?))
            }
            _ => Ok(None),
        }
    }

    /// What each of some given regions shows, in words. `regions` says of each patch which it belongs to; numbers that no
    /// patch has are left out. Reads back from the device once.
    ///
    /// # Errors
    /// [`Error::Setting`] when the regions are not one for each patch; [`Error::Unsupported`] for a model without merger
    /// or name heads; [`Error::DeviceLost`].
    pub async fn name_regions(&self, image: &Image, regions: &[i32]) -> Result<BTreeMap<i32, TokenName>> {
        let seen = self.see(&self.preprocess(image)?);
        let (head, features) = (seen.head(), seen.features);
        let [patches, _] = features.dims();
        if regions.len() != patches {
            return Err(Error::Setting(format!("{} regions are given for {patches} patches", regions.len())));
        }
        let present: Vec<i32> = regions.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let labels = regions.iter().map(|region| present.partition_point(|other| other < region)).collect();
        let clusters = Clusters::of_labels(labels, present.len());
        let tokens = self.setok.merge(features, head.clone(), &clusters).ok_or(Error::Unsupported("token merger"))?;
        let names = self.names_of(tokens, head, &clusters).await?.ok_or(Error::Unsupported("name heads"))?;
        Ok(present.into_iter().zip(names).collect())
    }

    fn report(&self, square: &Preprocessed, clusters: &Clusters, timings_ms: Timings) -> TokenReport {
        let side = self.config.vision.grid();
        let sizes = clusters.sizes();
        let token = |(id, &center): (usize, &usize)| Token {
            id,
            center: [center / side, center % side],
            patches: sizes[id],
            score: clusters.score[center],
        };
        TokenReport {
            image: Size { width: square.width, height: square.height },
            grid: [side, side],
            labels: clusters.labels.iter().map(|&label| label as u32).collect(),
            crop: square.crop,
            tokens: clusters.centers.iter().enumerate().map(token).collect(),
            device: self.device.report.device,
            timings_ms,
        }
    }
}

/// Refuses a tensor of a loaded part that nothing took: the part computes something else than is computed here.
fn refuse_leftover(store: &TensorStore, config: &SetokimConfig, has_language: bool) -> Result<()> {
    let parts = [
        ("vision.", true),
        ("setok.", config.merger.is_some()),
        ("detok.", config.detokenizer.is_some()),
        ("llm.", has_language),
        ("neck.", matches!(config.vision, VisionConfig::EfficientNet(_))),
        ("phrase.", config.phrase.is_some()),
        ("adapters.", has_language),
    ];
    let is_of_part = |name: &str| match &config.vision {
        VisionConfig::Siglip(tower) if parts[1..].iter().all(|(part, _)| !name.starts_with(part)) => tower.reads(name),
        _ => parts.iter().any(|(part, is_loaded)| *is_loaded && name.starts_with(part)),
    };
    match store.leftover().find(|name| is_of_part(name) && !name.ends_with("rotary_emb.inv_freq")) {
        Some(name) => Err(not_read(name)),
        None => Ok(()),
    }
}

/// What the encoder sees of an image, and the clustering's norm makes of it.
struct Seen {
    /// `[N, C]`, normalised.
    features: Tensor<2>,
    stem: Vec<Tensor<4>>,
    /// Of an EfficientNet.
    levels: Option<Levels>,
}

impl Seen {
    /// `[N / 4, head]`, of an EfficientNet.
    fn head(&self) -> Option<Tensor<2>> {
        self.levels.as_ref().map(|levels| levels.head.clone())
    }

    /// What the mask head reads: the stem's first two stages, or the map at stride 8. None for a SigLIP tower.
    fn maps(self) -> Option<FeatureMaps> {
        let Self { features, stem, levels } = self;
        let mut stages = stem.into_iter();
        let finer = match levels {
            Some(levels) => FinerMaps::Stride8(levels.stride8),
            None => {
                let (stride2, stride4) = (stages.next()?, stages.next()?);
                FinerMaps::Stem { stride4, stride2 }
            }
        };
        Some(FeatureMaps { features, finer })
    }
}

/// Measures laps in milliseconds.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> f64 {
        let lap = self.0.elapsed().as_secs_f64() * 1e3;
        self.0 = Instant::now();
        lap
    }
}
