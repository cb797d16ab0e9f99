//! A picture as the language model reads it.

use std::rc::Rc;

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

/// The pictures last seen or drawn: told by their pixels, so that the same picture is never looked at twice, and a picture
/// that the model drew is read back as the very tokens it drew.
#[derive(Debug, Default)]
pub struct Album {
    /// The latest last.
    seen: Vec<Rc<Seen>>,
}

impl Album {
    /// Pictures kept; a conversation rarely has more, and each holds its pixels.
    const SIZE: usize = 8;

    pub fn find(&mut self, picture: &Picture) -> Option<Rc<Seen>> {
        let at = self.seen.iter().position(|seen| seen.picture == *picture)?;
        let seen = self.seen.remove(at);
        Some(self.keep(seen))
    }

    pub fn add(&mut self, seen: Seen) -> Rc<Seen> {
        self.seen.retain(|old| old.picture != seen.picture);
        self.keep(Rc::new(seen))
    }

    fn keep(&mut self, seen: Rc<Seen>) -> Rc<Seen> {
        if self.seen.len() == Self::SIZE {
            self.seen.remove(0);
        }
        self.seen.push(seen.clone());
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(value: u8, tokens: usize) -> Seen {
        Seen {
            picture: Picture::from_rgb(vec![value; 3], 1, 1).unwrap(),
            crop: Crop { x: 0.0, y: 0.0, width: 1.0, height: 1.0 },
            grid: [1, 1],
            labels: vec![0],
            ids: vec![0],
            tokens: vec![vec![0.0]; tokens],
            maps: None,
            milliseconds: 0.0,
        }
    }

    #[test]
    fn the_album_knows_pictures_by_their_pixels_and_forgets_the_one_not_asked_for_longest() {
        let mut album = Album::default();
        for value in 0..Album::SIZE as u8 {
            album.add(seen(value, 1));
        }
        assert!(album.find(&seen(0, 0).picture).is_some(), "asked for, so the latest now");
        album.add(seen(100, 1));
        assert!(album.find(&seen(1, 0).picture).is_none(), "the oldest left");
        assert!(album.find(&seen(0, 0).picture).is_some());
        album.add(seen(100, 2));
        assert_eq!(album.find(&seen(100, 0).picture).unwrap().tokens.len(), 2, "the later one of the same pixels");
    }
}
