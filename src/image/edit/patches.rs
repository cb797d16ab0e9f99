//! A hole in a small image is filled with patches from around it: coarse to fine, each pixel of the hole is what the most
//! alike patches say (Wexler, Shechtman, Irani: Space-Time Completion of Video, 2007), and they are found by PatchMatch
//! (Barnes, Shechtman, Finkelstein, Goldman, 2009).

/// Pixels from the middle of a patch to its edge.
const RADIUS: usize = 2;
/// How often patches are looked for anew and the hole is painted, at each size.
const ROUNDS: usize = 5;
/// How often all patches are gone through in one search.
const PASSES: usize = 2;
/// A hole at most so far to its middle, in pixels, is filled from its border without a smaller size before: in still smaller
/// ones few whole patches lie near the hole, and it would be filled with what is far away.
const SHALLOW: u16 = 10;
/// What a source from the other end of the image costs: as if each value differed by 17 of 255. Hair that is alike by chance
/// does not fill a hole in a wall.
const FAR: f32 = 300.0;
/// How much larger than usual a distance may be to still count: less, and seams show; more, and grass becomes fog.
const SHARPNESS: f32 = 0.4;
/// How much less is trusted what lies a pixel deeper in the hole.
const TRUST: f32 = 0.7;

/// An image with a hole, row by row.
pub(super) struct Holed {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<[u8; 3]>,
    /// Rings from the border of the hole inwards, 1 the outermost; 0 outside the hole.
    depth: Vec<u16>,
}

/// For each pixel of the hole the one whose surroundings are most like its own, as a place in the row-by-row order.
pub(super) type Sources = Vec<u32>;

impl Holed {
    /// Fills the hole at once, from its border to its middle: each pixel is the mean of its neighbours that are known.
    pub(super) fn new(width: usize, height: usize, mut pixels: Vec<[u8; 3]>, hole: &[bool]) -> Self {
        const UNKNOWN: u16 = u16::MAX;
        let mut depth: Vec<u16> = hole.iter().map(|&hole| if hole { UNKNOWN } else { 0 }).collect();
        let mut waiting: Vec<usize> = (0..depth.len()).filter(|&at| hole[at]).collect();
        for ring in 1..UNKNOWN {
            let around = |at: usize| around(at, 1, width, height).filter(|&near| depth[near] < ring);
            let (border, rest): (Vec<_>, Vec<_>) = waiting.iter().copied().partition(|&at| around(at).next().is_some());
            if border.is_empty() {
                break; // all is filled, or nothing is known
            }
            let means: Vec<_> = border.iter().map(|&at| mean(around(at).map(|near| pixels[near]))).collect();
            for (&at, mean) in border.iter().zip(means) {
                (pixels[at], depth[at]) = (mean, ring);
            }
            waiting = rest;
        }
        Self { width, height, pixels, depth }
    }

    /// Fills the hole with patches; none where no patch lies outside of it.
    pub(super) fn fill(&mut self) -> Option<Sources> {
        let mut random = Random(0x9E37_79B9);
        self.fill_with(&mut random)
    }

    fn fill_with(&mut self, random: &mut Random) -> Option<Sources> {
        let patches = Patches::new(self)?;
        let mut sources: Sources = vec![0; self.pixels.len()];
        for &at in &patches.targets {
            sources[at] = patches.any(random);
        }
        let is_deep = self.depth.iter().any(|&depth| depth > SHALLOW);
        let mut coarse = self.halved();
        if let Some(coarser) = is_deep.then(|| coarse.fill_with(random)).flatten() {
            patches.start_from(self, &coarse, &coarser, &mut sources);
        }
        for _ in 0..ROUNDS {
            let distances = patches.search(self, &mut sources, random);
            patches.paint(self, &sources, &distances);
        }
        Some(sources)
    }

    /// Half the size. A pixel is in the hole when one of the four that it is made of is, and else their mean.
    fn halved(&self) -> Self {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let four = |at: usize| {
            let (x, y) = (at % width * 2, at / width * 2);
            let columns = x..(x + 2).min(self.width);
            (y..(y + 2).min(self.height)).flat_map(move |y| columns.clone().map(move |x| y * self.width + x))
        };
        let hole: Vec<bool> = (0..width * height).map(|at| four(at).any(|at| self.depth[at] > 0)).collect();
        let pixels = (0..width * height).map(|at| mean(four(at).map(|at| self.pixels[at]))).collect();
        Self::new(width, height, pixels, &hole)
    }
}

/// Where patches lie.
struct Patches {
    /// Middles of patches that reach into the hole, in order; of those at the image's edge only what is inside counts.
    targets: Vec<usize>,
    is_target: Vec<bool>,
    /// Middles of whole patches without a hole.
    sources: Vec<u32>,
    is_source: Vec<bool>,
}

impl Patches {
    fn new(image: &Holed) -> Option<Self> {
        let (width, height) = (image.width, image.height);
        let mut is_target = vec![false; width * height];
        for at in (0..width * height).filter(|&at| image.depth[at] > 0) {
            around(at, RADIUS, width, height).for_each(|near| is_target[near] = true);
        }
        let is_whole = |at: usize| {
            let (x, y) = (at % width, at / width);
            x >= RADIUS && y >= RADIUS && x + RADIUS < width && y + RADIUS < height
        };
        let is_source: Vec<bool> = (0..width * height).map(|at| is_whole(at) && !is_target[at]).collect();
        let places = |flags: &[bool]| (0..width * height).filter(|&at| flags[at]).collect::<Vec<_>>();
        let sources: Vec<u32> = places(&is_source).into_iter().map(|at| at as u32).collect();
        (!sources.is_empty()).then(|| Self { targets: places(&is_target), sources, is_target, is_source })
    }

    fn any(&self, random: &mut Random) -> u32 {
        self.sources[random.below(self.sources.len())]
    }

    /// Takes over what the half size found: colours from the sources at this size, because means of means would become ever
    /// smoother, and then only smooth patches are like them.
    fn start_from(&self, image: &mut Holed, coarse: &Holed, found: &Sources, sources: &mut Sources) {
        for &at in &self.targets {
            let (x, y) = (at % image.width, at / image.width);
            let half = y / 2 * coarse.width + x / 2;
            let source = found[half] as usize;
            let (source_x, source_y) = (source % coarse.width * 2 + x % 2, source / coarse.width * 2 + y % 2);
            let place = source_y * image.width + source_x;
            let is_source = source_x < image.width && source_y < image.height && self.is_source[place];
            if is_source {
                sources[at] = place as u32;
            }
            if image.depth[at] > 0 {
                image.pixels[at] = if is_source { image.pixels[place] } else { coarse.pixels[half] };
            }
        }
    }

    /// Looks for better sources: next to those of the pixels before, and at random, ever closer. Gives the distance of each
    /// target to its source.
    fn search(&self, image: &Holed, sources: &mut Sources, random: &mut Random) -> Vec<u32> {
        let (width, height) = (image.width as isize, image.height as isize);
        let mut distances = vec![u32::MAX; image.pixels.len()];
        for &at in &self.targets {
            distances[at] = distance(image, at, sources[at] as usize, u32::MAX);
        }
        for pass in 0..PASSES {
            let step = if pass % 2 == 0 { -1 } else { 1 };
            for index in 0..self.targets.len() {
                let at = self.targets[if step < 0 { index } else { self.targets.len() - 1 - index }];
                let mut best = (distances[at], sources[at]);
                let mut attempt = |x: isize, y: isize| {
                    let is_inside = (0..width).contains(&x) && (0..height).contains(&y);
                    let place = (y * width + x) as usize;
                    if is_inside && self.is_source[place] {
                        let distance = distance(image, at, place, best.0);
                        if distance < best.0 {
                            best = (distance, place as u32);
                        }
                    }
                    (best.1 as isize % width, best.1 as isize / width)
                };
                let x = at as isize % width;
                for (dx, dy) in [(step, 0), (0, step)] {
                    let near = at as isize + dy * width + dx;
                    let is_inside = (0..width).contains(&(x + dx)) && (0..width * height).contains(&near);
                    if is_inside && self.is_target[near as usize] {
                        let source = sources[near as usize] as isize;
                        attempt(source % width - dx, source / width - dy);
                    }
                }
                let mut reach = width.max(height);
                let mut middle = (sources[at] as isize % width, sources[at] as isize / width);
                while reach > 0 {
                    let mut away = || random.below(2 * reach as usize + 1) as isize - reach;
                    middle = attempt(middle.0 + away(), middle.1 + away());
                    reach /= 2;
                }
                (distances[at], sources[at]) = best;
            }
        }
        distances
    }

    /// Each pixel of the hole becomes the mean of what all patches over it say of it, the more alike the more.
    fn paint(&self, image: &mut Holed, sources: &Sources, distances: &[u32]) {
        let (width, height) = (image.width, image.height);
        // Three in four patches are at least so much alike (as in Wexler et al.).
        let mut sorted: Vec<u32> = self.targets.iter().map(|&at| distances[at]).collect();
        let rank = sorted.len() * 3 / 4;
        let usual = (*sorted.select_nth_unstable(rank).1 as f32).max(1.0);
        let weight =
            |at: usize| (-(distances[at] as f32) / (SHARPNESS * usual)).exp() * TRUST.powi(image.depth[at].into());
        let weights: Vec<f32> = self.targets.iter().map(|&at| weight(at).max(f32::MIN_POSITIVE)).collect();
        let mut weight_of = vec![0.0; width * height];
        self.targets.iter().zip(weights).for_each(|(&at, weight)| weight_of[at] = weight);
        let hole: Vec<usize> = self.targets.iter().copied().filter(|&at| image.depth[at] > 0).collect();
        for at in hole {
            let (mut sum, mut total) = ([0.0; 3], 0.0);
            for near in around(at, RADIUS, width, height) {
                // The source's patch has at this place what its middle has, moved as far as this is from the target's middle.
                let color = image.pixels[sources[near] as usize + at - near];
                let weight = weight_of[near];
                sum.iter_mut().zip(color).for_each(|(sum, value)| *sum += weight * f32::from(value));
                total += weight;
            }
            image.pixels[at] = sum.map(|sum| (sum / total).round() as u8);
        }
    }
}

/// Sum of squared differences of the patches around a target and a source, scaled up where some of the target's lies beyond
/// the image, and what their distance in the image costs. Anything larger than `enough` may be given for one that is.
fn distance(image: &Holed, target: usize, source: usize, enough: u32) -> u32 {
    const SIDE: usize = 2 * RADIUS + 1;
    let (x, y) = (target % image.width, target / image.width);
    let (left, right) = (x.min(RADIUS), (image.width - 1 - x).min(RADIUS));
    let (above, below) = (y.min(RADIUS), (image.height - 1 - y).min(RADIUS));
    let (across, down) = (left + right + 1, above + below + 1);
    let row = |middle: usize, line: usize| {
        let first = middle + line * image.width - above * image.width - left;
        image.pixels[first..first + across].as_flattened()
    };
    let mut sum = 0;
    for line in 0..down {
        let differences = row(target, line).iter().zip(row(source, line));
        sum += differences.map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum::<u32>();
        if sum > enough {
            return sum;
        }
    }
    let (source_x, source_y) = (source % image.width, source / image.width);
    let away = (source_x.abs_diff(x).pow(2) + source_y.abs_diff(y).pow(2)) as f32;
    let share = away / image.width.max(image.height).pow(2) as f32;
    sum * (SIDE * SIDE) as u32 / (across * down) as u32 + (FAR * share * (3 * SIDE * SIDE) as f32) as u32
}

/// The pixels at most `radius` from one, itself included, in an image of `width` by `height`.
fn around(at: usize, radius: usize, width: usize, height: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (at % width, at / width);
    let columns = x.saturating_sub(radius)..(x + radius + 1).min(width);
    (y.saturating_sub(radius)..(y + radius + 1).min(height))
        .flat_map(move |y| columns.clone().map(move |x| y * width + x))
}

fn mean(colors: impl Iterator<Item = [u8; 3]>) -> [u8; 3] {
    let add = |(sum, count): ([u32; 3], u32), color: [u8; 3]| {
        (std::array::from_fn(|c| sum[c] + u32::from(color[c])), count + 1)
    };
    let (sum, count) = colors.fold(([0; 3], 0), add);
    sum.map(|sum| ((sum + count / 2) / count.max(1)) as u8)
}

/// Xorshift (Marsaglia 2003): the same edit of the same image is the same, bit for bit.
struct Random(u32);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % end
    }
}
