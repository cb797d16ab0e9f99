//! An image as the language model reads it.

use std::sync::Arc;

use crate::image::Image;
use crate::image::preprocess::Crop;
use crate::model::feature_maps::FeatureMaps;
use crate::model::setok::Clusters;

/// An image's semantic tokens in the language model's order, the largest first: token `i` here is what `<keep_i>` means.
#[derive(Debug, Clone)]
pub struct EncodedImage {
    /// The image itself, in its own size.
    pub image: Image,
    /// The part of the image that the grid covers.
    pub crop: Crop,
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// Token of each patch, row by row: an index into `tokens`.
    pub labels: Vec<u32>,
    /// The number of each token in [`crate::model::setokim::TokenReport`], which counts in another order.
    pub ids: Vec<usize>,
    /// `[L][D]`, in the projector's unit. Kept on this side of the device: they are few, and telling whether two requests
    /// begin alike must not wait.
    pub tokens: Vec<Vec<f32>>,
    /// What its tokens are called, as the language model is told: the largest first, each once. Empty for one that is not told.
    pub names: Vec<String>,
    /// For masks; none for an image that was drawn and never looked at.
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

/// The images last encoded or drawn: told by their pixels, so that the same image is never looked at twice, and an image
/// that the model drew is read back as the very tokens it drew.
#[derive(Debug, Default)]
pub struct ImageCache {
    /// The latest last.
    images: Vec<Arc<EncodedImage>>,
}

impl ImageCache {
    /// Images kept; a conversation rarely has more, and each holds its pixels.
    const SIZE: usize = 8;

    /// The encoded image with these very pixels, if it is still kept.
    pub fn find(&mut self, image: &Image) -> Option<Arc<EncodedImage>> {
        let at = self.images.iter().position(|encoded| encoded.image == *image)?;
        let encoded = self.images.remove(at);
        Some(self.keep(encoded))
    }

    /// Keeps an encoded image in place of one with the same pixels, and of the one not asked for longest.
    pub fn add(&mut self, encoded: Arc<EncodedImage>) -> Arc<EncodedImage> {
        self.images.retain(|old| old.image != encoded.image);
        self.keep(encoded)
    }

    fn keep(&mut self, encoded: Arc<EncodedImage>) -> Arc<EncodedImage> {
        if self.images.len() == Self::SIZE {
            self.images.remove(0);
        }
        self.images.push(encoded.clone());
        encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: u8, tokens: usize) -> Arc<EncodedImage> {
        Arc::new(EncodedImage {
            image: Image::from_rgb(vec![value; 3], 1, 1).unwrap(),
            crop: Crop { x: 0.0, y: 0.0, width: 1.0, height: 1.0 },
            grid: [1, 1],
            labels: vec![0],
            ids: vec![0],
            names: Vec::new(),
            tokens: vec![vec![0.0]; tokens],
            maps: None,
            milliseconds: 0.0,
        })
    }

    #[test]
    fn the_cache_knows_pictures_by_their_pixels_and_forgets_the_one_not_asked_for_longest() {
        let mut image_cache = ImageCache::default();
        for value in 0..ImageCache::SIZE as u8 {
            image_cache.add(encoded(value, 1));
        }
        assert!(image_cache.find(&encoded(0, 0).image).is_some(), "asked for, so the latest now");
        image_cache.add(encoded(100, 1));
        assert!(image_cache.find(&encoded(1, 0).image).is_none(), "the oldest left");
        assert!(image_cache.find(&encoded(0, 0).image).is_some());
        image_cache.add(encoded(100, 2));
        assert_eq!(
            image_cache.find(&encoded(100, 0).image).unwrap().tokens.len(),
            2,
            "the later one of the same pixels"
        );
    }
}
