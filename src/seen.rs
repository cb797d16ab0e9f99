//! A picture as the language model reads it.

use crate::mask_head::FeatureMaps;
use crate::preprocess::{Crop, Picture};
use crate::setok::Clusters;

/// A picture's semantic tokens in the language model's order, the largest first: token `i` here is what `<keep_i>` means.
#[derive(Debug, Clone)]
pub struct Seen {
    pub picture: Picture,
    /// The part of the picture that the grid covers.
    pub crop: Crop,
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// Token of each patch, row by row: an index into `tokens`.
    pub labels: Vec<u32>,
    /// The number of each token in [`crate::setokim::TokenReport`], which counts in another order.
    pub ids: Vec<usize>,
    /// `[L][D]`, in the projector's unit. Kept on this side of the device: they are few, and telling whether two requests
    /// begin alike must not wait.
    pub tokens: Vec<Vec<f32>>,
    /// For masks; none for a picture that was drawn and never looked at.
    pub maps: Option<FeatureMaps>,
    /// Milliseconds that looking took.
    pub milliseconds: f64,
}

/// Clusters by falling number of patches; the lower index first among equals.
pub(crate) fn order_by_area(clusters: &Clusters) -> Vec<usize> {
    let sizes = clusters.sizes();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&cluster| (std::cmp::Reverse(sizes[cluster]), cluster));
    order
}
