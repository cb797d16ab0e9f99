//! Density-peak clustering of patch features into a number of clusters that the image decides (paper section 3.1;
//! reference code `tokenizer.py::cluster_dpc_knn`).

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor, Transaction};

use crate::kernels::{CenterRule, ClusterOps, Selection};
use crate::model::config::ClusterConfig;
use crate::runtime::readback::{read_together, values};
use crate::{Error, Result};

/// What the clustering decided, read back from the device in one go.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// Cluster of each patch: an index into `centers`. `[N]`
    pub labels: Vec<usize>,
    /// Patch index of each centre, ascending. `[L]`
    pub centers: Vec<usize>,
    /// `[N]`
    pub density: Vec<f32>,
    /// Distance to the nearest higher patch. `[N]`
    pub delta: Vec<f32>,
    /// `density * delta`. `[N]`
    pub score: Vec<f32>,
}

impl Clusters {
    /// A partition that was not found but given: no patch is a centre, and there are no scores.
    pub(crate) fn of_labels(labels: Vec<usize>, clusters: usize) -> Self {
        Self { labels, centers: vec![0; clusters], density: Vec::new(), delta: Vec::new(), score: Vec::new() }
    }

    /// Patches of each cluster. `[L]`
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.centers.len()];
        for &label in &self.labels {
            sizes[label] += 1;
        }
        sizes
    }
}

/// Clusters the rows of `features` as they are: no norm and no positions are added here.
///
/// # Shapes
/// - `features`: `[N, C]`
///
/// # Errors
/// [`Error::Clustering`] when the settings do not fit `N`; [`Error::NotFinite`] when a feature is NaN or infinite.
pub async fn cluster(features: Tensor<2>, config: &ClusterConfig) -> Result<Clusters> {
    let [n, c] = features.dims();
    if n == 0 || c == 0 || n > MAX_CLUSTERED {
        return Err(Error::Clustering(format!(
            "{n} patches of width {c}: 1..={MAX_CLUSTERED} patches can be clustered"
        )));
    }
    config.check(n)?;
    let rule =
        CenterRule { threshold: config.threshold, fallback: config.fallback_clusters, k_max: config.max_clusters };
    let features = features.into_dispatch();
    let density = Dispatch::knn_density(features.clone(), config.neighbors);
    let peaks = Dispatch::peak_distance(features.clone(), density.clone());
    let (scores, selection) = Dispatch::select_centers(density.clone(), peaks, rule);
    let labels = Dispatch::assign_clusters(features, selection.clone());

    let read = Transaction::default()
        .register(Tensor::<1, Int>::from_dispatch(selection))
        .register(Tensor::<1, Int>::from_dispatch(labels))
        .register(Tensor::<1>::from_dispatch(density))
        .register(Tensor::<2>::from_dispatch(scores));
    let [selection, labels, density, scores] = read_together(read).await?;
    let selection = Selection::from_raw(&values::<i32>(selection), n);
    if let Some(row) = selection.not_finite {
        return Err(Error::NotFinite { what: "features", row });
    }
    let mut delta: Vec<f32> = values(scores);
    let score = delta.split_off(n);
    Ok(Clusters {
        labels: values::<i32>(labels).into_iter().map(|label| label.max(0) as usize).collect(),
        centers: selection.centers,
        density: values(density),
        delta,
        score,
    })
}

/// An index must survive as `f32` in `select_centers`.
const MAX_CLUSTERED: usize = 1 << 24;
