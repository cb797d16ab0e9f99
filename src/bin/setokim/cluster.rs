//! `cluster`: density-peak clustering of any features, for comparing the kernels with other implementations.

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::{DType, Tensor, TensorData};
use clap::Args;
use serde::Serialize;
use setokim::formats::safetensors::read_safetensors_f32;
use setokim::limits::MAX_CENTERS;
use setokim::model::config::ClusterConfig;
use setokim::model::setok;

use crate::{DeviceArgs, read_file, write_json};

#[derive(Args)]
pub struct ClusterArgs {
    /// A safetensors file with a tensor `features` [N, C].
    features: PathBuf,
    /// Patches that a density is the mean of, the patch itself included.
    #[arg(long, value_name = "K")]
    neighbors: usize,
    /// A centre's density x delta is above this.
    #[arg(long, value_name = "T")]
    threshold: f32,
    /// Clusters at the most: the highest scores are kept. All patches (up to 1024) when not given.
    #[arg(long, value_name = "M")]
    max_clusters: Option<usize>,
    /// Where to write: a file, or `-` for standard output.
    #[arg(long, default_value = "-", value_name = "FILE|-")]
    json: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Serialize)]
struct Report {
    labels: Vec<usize>,
    centers: Vec<usize>,
    density: Vec<f32>,
    delta: Vec<f32>,
    score: Vec<f32>,
}

pub fn cluster(args: &ClusterArgs) -> Result<()> {
    let (shape, values) = read_safetensors_f32(&read_file(&args.features)?, "features")?;
    let &[n, c] = shape.as_slice() else {
        return Err(setokim::Error::TensorShape { name: "features".into(), want: vec![0, 0], got: shape }.into());
    };
    let config = ClusterConfig {
        neighbors: args.neighbors,
        threshold: args.threshold,
        max_clusters: args.max_clusters.unwrap_or(n.min(MAX_CENTERS)),
        ..ClusterConfig::default()
    };
    config.check(n)?;
    let device = args.device.open()?.device;
    let features = Tensor::<2>::from_data(TensorData::new(values, [n, c]), (&device, DType::F32));
    let setok::Clusters { labels, centers, density, delta, score } =
        pollster::block_on(setok::cluster(features, &config))?;
    write_json(&args.json, &Report { labels, centers, density, delta, score })
}
