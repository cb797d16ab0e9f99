//! What an instruction asks to be done to a photograph, in plain English: "make the car red", "blur the background".

use crate::image::Image;
use crate::image::edit::{Change, EditedImage, edit};
use crate::image::soft_mask::SoftMask;
use crate::{Error, Result};

/// One change of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoEdit {
    /// What is done.
    pub change: Change,
    /// To what.
    pub target: Target,
}

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// What a phrase means, such as "the dog" or "the background".
    Thing(String),
    /// What is left when a thing is taken out.
    AllBut(String),
    /// The picture as a whole.
    Everything,
}

/// How an instruction begins, and what it does to all that follows. Longer ones before those that they begin with.
const VERBS: [(&str, Change); 27] = [
    ("remove", Change::Remove),
    ("erase", Change::Remove),
    ("delete", Change::Remove),
    ("get rid of", Change::Remove),
    ("take out", Change::Remove),
    ("take away", Change::Remove),
    ("cut out", Change::CutOut),
    ("crop out", Change::CutOut),
    ("extract", Change::CutOut),
    ("isolate", Change::CutOut),
    ("keep only", Change::CutOut),
    ("blur out", Change::Blur),
    ("blur", Change::Blur),
    ("pixelate", Change::Pixelate),
    ("pixellate", Change::Pixelate),
    ("censor", Change::Pixelate),
    ("anonymise", Change::Pixelate),
    ("anonymize", Change::Pixelate),
    ("grey out", Change::Grey),
    ("gray out", Change::Grey),
    ("desaturate", Change::Grey),
    ("brighten up", Change::Brighten),
    ("brighten", Change::Brighten),
    ("lighten up", Change::Brighten),
    ("lighten", Change::Brighten),
    ("darken", Change::Darken),
    ("dim", Change::Darken),
];

/// Verbs whose last words say how a thing shall look, as in "make the car dark red".
const TURNS: [&str; 11] =
    ["make", "turn", "paint", "color", "colour", "recolor", "recolour", "dye", "tint", "change", "set"];

/// Verbs after which a thing is followed by the colour that takes its place.
const REPLACES: [&str; 3] = ["replace", "fill", "cover"];

/// Verbs with their second half behind the thing, as in "cut the cat out".
const AROUND: [(&str, &str, Change); 5] = [
    ("cut", "out", Change::CutOut),
    ("take", "out", Change::Remove),
    ("take", "away", Change::Remove),
    ("blur", "out", Change::Blur),
    ("grey", "out", Change::Grey),
];

/// Looks that are no colours.
const LOOKS: [(&str, Change); 21] = [
    ("black and white", Change::Grey),
    ("out of focus", Change::Blur),
    ("grey", Change::Grey),
    ("gray", Change::Grey),
    ("greyscale", Change::Grey),
    ("grayscale", Change::Grey),
    ("monochrome", Change::Grey),
    ("colourless", Change::Grey),
    ("colorless", Change::Grey),
    ("bright", Change::Brighten),
    ("brighter", Change::Brighten),
    ("lighter", Change::Brighten),
    ("dark", Change::Darken),
    ("darker", Change::Darken),
    ("blurry", Change::Blur),
    ("blurred", Change::Blur),
    ("blurrier", Change::Blur),
    ("pixelated", Change::Pixelate),
    ("disappear", Change::Remove),
    ("vanish", Change::Remove),
    ("invisible", Change::Remove),
];

/// sRGB as in CSS, where CSS means what people mean.
const COLORS: [(&str, [u8; 3]); 24] = [
    ("red", [215, 30, 35]),
    ("orange", [245, 130, 25]),
    ("yellow", [250, 215, 40]),
    ("green", [40, 150, 60]),
    ("lime", [140, 220, 50]),
    ("olive", [128, 128, 0]),
    ("teal", [0, 128, 128]),
    ("turquoise", [64, 214, 200]),
    ("cyan", [0, 210, 230]),
    ("blue", [35, 85, 215]),
    ("navy", [15, 30, 100]),
    ("purple", [125, 50, 165]),
    ("violet", [140, 80, 210]),
    ("magenta", [225, 40, 200]),
    ("pink", [250, 150, 190]),
    ("maroon", [128, 0, 20]),
    ("brown", [125, 75, 40]),
    ("beige", [230, 215, 185]),
    ("gold", [220, 175, 55]),
    ("golden", [220, 175, 55]),
    ("silver", [192, 192, 198]),
    ("white", [250, 250, 250]),
    ("black", [18, 18, 20]),
    ("gray", [128, 128, 128]),
];

/// What may stand before an instruction and says nothing.
const POLITE: [&str; 9] =
    ["please", "can you", "could you", "would you", "i want to", "i want you to", "i would like to", "now", "just"];

/// What may stand between a thing and its look.
const LINKS: [&str; 17] = [
    "a",
    "an",
    "the",
    "to",
    "into",
    "in",
    "be",
    "look",
    "all",
    "with",
    "by",
    "completely",
    "bit",
    "little",
    "lot",
    "much",
    "more",
];

const ALL_BUT: [&str; 5] =
    ["everything but", "everything except for", "everything except", "everything apart from", "all but"];

const WHOLE: [&str; 14] = [
    "everything",
    "all",
    "the picture",
    "the photo",
    "the image",
    "the photograph",
    "the whole picture",
    "the whole photo",
    "the whole image",
    "picture",
    "photo",
    "image",
    "this picture",
    "this photo",
];

impl PhotoEdit {
    /// Reads one instruction.
    ///
    /// # Errors
    /// [`Error::EditUnsupported`] for what a mask does not allow, such as drawing something new, for several changes at once,
    /// and where no thing is named.
    pub fn parse(instruction: &str) -> Result<Self> {
        let text = plain(instruction);
        if let Some((_, rest)) = text.split_once(" and ").filter(|(_, rest)| begins_with_verb(rest)) {
            return Err(refused(format!("\"{rest}\" is a second change; ask for one at a time")));
        }
        for (verb, end, change) in AROUND {
            let inner = words_after(&text, verb).and_then(|rest| rest.strip_suffix(end)?.strip_suffix(' '));
            if let Some(inner) = inner {
                return Self::of(change, inner);
            }
        }
        if let Some((rest, change)) = VERBS.iter().find_map(|(verb, change)| Some((words_after(&text, verb)?, change)))
        {
            return Self::of(*change, rest);
        }
        if let Some(rest) = TURNS.iter().find_map(|verb| words_after(&text, verb)) {
            return Self::turned(rest, &text);
        }
        if let Some(rest) = REPLACES.iter().find_map(|verb| words_after(&text, verb)) {
            return Self::replaced(rest, &text);
        }
        Err(refused(format!("\"{text}\" is no change of something that is already in the picture")))
    }

    /// "the car red"
    fn turned(rest: &str, text: &str) -> Result<Self> {
        let words: Vec<&str> = rest.split(' ').collect();
        for first in 1..words.len() {
            let Some(change) = look(&words[first..].join(" ")) else { continue };
            let links = words[..first].iter().rev().take_while(|word| LINKS.contains(word)).count();
            let thing = words[..first - links].join(" ");
            let before = thing.strip_suffix(" and").or_else(|| Some(thing.rsplit_once(" and ")?.0)).unwrap_or_default();
            if last_words(before).any(|words| look(words).is_some()) {
                return Err(refused(format!("\"{text}\" is more than one change; ask for one at a time")));
            }
            return Self::of(change, without_color_word(&thing));
        }
        match rest.strip_suffix(" transparent").map(Target::parse).transpose()? {
            Some(Target::Thing(thing)) => Ok(Self { change: Change::CutOut, target: Target::AllBut(thing) }),
            _ => Err(refused(format!("\"{text}\" names no colour or look that is known"))),
        }
    }

    /// "the background with white"
    fn replaced(rest: &str, text: &str) -> Result<Self> {
        let (thing, with) = rest.split_once(" with ").or_else(|| rest.split_once(" by ")).unwrap_or((rest, ""));
        let with: Vec<&str> = with.split(' ').filter(|word| !LINKS.contains(word)).collect();
        let with = with.strip_suffix(&["background"]).unwrap_or(&with).join(" ");
        match color(&with) {
            Some(color) => Self::of(Change::Fill(color), thing),
            None => Err(refused(format!("\"{text}\" would need something drawn that is not in the picture"))),
        }
    }

    fn of(change: Change, thing: &str) -> Result<Self> {
        let target = Target::parse(thing)?;
        // A background that is removed leaves the thing cut out.
        let (change, target) = match (change, target) {
            (Change::Remove, Target::AllBut(thing)) => (Change::CutOut, Target::Thing(thing)),
            (Change::Remove, Target::Thing(thing)) if is_background(&thing) => (Change::CutOut, Target::AllBut(thing)),
            (Change::Remove | Change::CutOut, Target::Everything) => {
                return Err(refused("of the picture as a whole nothing would be left".into()));
            }
            other => other,
        };
        Ok(Self { change, target })
    }

    /// What must be found in the photograph; none where all of it is meant.
    pub fn phrase(&self) -> Option<&str> {
        match &self.target {
            Target::Thing(thing) | Target::AllBut(thing) => Some(thing),
            Target::Everything => None,
        }
    }

    /// Changes the pixels that the target's phrase means, `mask`, or all others. Where all of the image is meant the mask is
    /// [`SoftMask::whole`].
    ///
    /// # Errors
    /// [`Error::NothingToEdit`] when the mask is empty, else as [`edit`].
    pub fn apply(&self, image: &Image, mask: &SoftMask) -> Result<EditedImage> {
        if mask.is_empty() {
            return Err(Error::NothingToEdit("no pixel of the picture is meant"));
        }
        match &self.target {
            Target::Thing(thing) => edit(image, mask, self.change, is_background(thing)),
            Target::AllBut(thing) => edit(image, &mask.inverted(), self.change, !is_background(thing)),
            Target::Everything => edit(image, mask, self.change, true),
        }
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some(thing) = ALL_BUT.iter().find_map(|but| words_after(text, but)) {
            return Self::thing(thing).map(Self::AllBut);
        }
        for behind in ["behind ", "around ", "of "] {
            let around = text.strip_prefix("the background ").or_else(|| text.strip_prefix("everything "));
            if let Some(thing) = around.and_then(|rest| rest.strip_prefix(behind)) {
                return Self::thing(thing).map(Self::AllBut);
            }
        }
        if WHOLE.contains(&text) {
            return Ok(Self::Everything);
        }
        Self::thing(text).map(Self::Thing)
    }

    /// A phrase that can be looked for.
    fn thing(text: &str) -> Result<String> {
        let text =
            text.strip_suffix(" from the picture").or_else(|| text.strip_suffix(" from the photo")).unwrap_or(text);
        match text {
            "" | "the" | "it" | "this" | "that" | "them" | "him" | "her" => {
                Err(refused("it does not say which thing is meant".into()))
            }
            thing => Ok(thing.to_owned()),
        }
    }
}

fn refused(why: String) -> Error {
    Error::EditUnsupported(why)
}

/// Small letters, one blank between words, without what is polite and without the full stop.
fn plain(instruction: &str) -> String {
    let lower = instruction.to_lowercase().replace(['’', '‘'], "'").replace([',', '"'], " ");
    let words: Vec<&str> = lower.split_whitespace().collect();
    let text = words.join(" ");
    let mut text = text.trim_end_matches(['.', '!', '?', ' ']);
    while let Some(rest) = POLITE.iter().find_map(|polite| words_after(text, polite)) {
        text = rest;
    }
    text.strip_suffix(" please").unwrap_or(text).to_owned()
}

/// What follows a whole word or several.
fn words_after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.strip_prefix(words)?.strip_prefix(' ')
}

/// The last word, and the last two.
fn last_words(text: &str) -> impl Iterator<Item = &str> {
    text.rmatch_indices(' ').map(|(at, _)| &text[at + 1..]).take(2)
}

fn begins_with_verb(text: &str) -> bool {
    let text = text.strip_prefix("then ").unwrap_or(text);
    let mut verbs = VERBS.iter().map(|(verb, _)| verb).chain(&TURNS).chain(&REPLACES).chain(&["add", "draw", "put"]);
    verbs.any(|verb| words_after(text, verb).is_some())
}

fn look(words: &str) -> Option<Change> {
    let known = LOOKS.iter().find(|(name, _)| *name == words).map(|(_, change)| *change);
    known.or_else(|| color(words).map(Change::Recolor))
}

fn color(words: &str) -> Option<[u8; 3]> {
    let (towards, name) = match words.split_once(' ') {
        Some(("light" | "pale", name)) => (Some(255.0), name),
        Some(("dark" | "deep", name)) => (Some(0.0), name),
        Some(("bright", name)) => (None, name),
        _ => (None, words),
    };
    let name = if name == "grey" { "gray" } else { name };
    let &(_, color) = COLORS.iter().find(|(known, _)| *known == name)?;
    let mix = |end: f32| color.map(|value| (f32::from(value) * 0.55 + end * 0.45).round() as u8);
    Some(towards.map_or(color, mix))
}

/// "the colour of the car", "the car's colour" -> "the car"
fn without_color_word(thing: &str) -> &str {
    let of = ["the color of ", "the colour of "].iter().find_map(|of| thing.strip_prefix(of));
    let own = ["'s color", "'s colour"].iter().find_map(|own| thing.strip_suffix(own));
    of.or(own).unwrap_or(thing)
}

fn is_background(thing: &str) -> bool {
    matches!(thing, "background" | "the background" | "the backdrop")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(change: Change, thing: &str) -> PhotoEdit {
        PhotoEdit { change, target: Target::Thing(thing.into()) }
    }

    fn all_but(change: Change, thing: &str) -> PhotoEdit {
        PhotoEdit { change, target: Target::AllBut(thing.into()) }
    }

    #[test]
    fn instructions_in_plain_english() {
        let [red, blue, white] = ["red", "blue", "white"].map(|name| color(name).unwrap());
        let whole = |change| PhotoEdit { change, target: Target::Everything };
        let cases = [
            ("remove the dog", thing(Change::Remove, "the dog")),
            (
                "Please remove the dog and the man on the left.",
                thing(Change::Remove, "the dog and the man on the left"),
            ),
            ("Can you get rid of the red car?", thing(Change::Remove, "the red car")),
            ("take the bin out", thing(Change::Remove, "the bin")),
            ("make the bin disappear", thing(Change::Remove, "the bin")),
            ("erase the sign from the picture", thing(Change::Remove, "the sign")),
            ("make the car red", thing(Change::Recolor(red), "the car")),
            ("make the red car blue", thing(Change::Recolor(blue), "the red car")),
            ("paint the wall in light blue", thing(Change::Recolor([134, 162, 233]), "the wall")),
            ("change the colour of the car to red", thing(Change::Recolor(red), "the car")),
            ("change the man\u{2019}s shirt to blue", thing(Change::Recolor(blue), "the man's shirt")),
            ("blur the background", thing(Change::Blur, "the background")),
            ("blur the background behind the girl", all_but(Change::Blur, "the girl")),
            ("turn everything but the girl grey", all_but(Change::Grey, "the girl")),
            ("turn everything except for the girl black and white", all_but(Change::Grey, "the girl")),
            ("make the picture black and white", whole(Change::Grey)),
            ("darken the photo", whole(Change::Darken)),
            ("cut out the cat", thing(Change::CutOut, "the cat")),
            ("cut the black and white cat out", thing(Change::CutOut, "the black and white cat")),
            ("keep only the cat", thing(Change::CutOut, "the cat")),
            ("remove the background", all_but(Change::CutOut, "the background")),
            ("make the background transparent", all_but(Change::CutOut, "the background")),
            ("remove everything but the cat", thing(Change::CutOut, "the cat")),
            ("replace the background with white", thing(Change::Fill(white), "the background")),
            ("replace the background by a red background", thing(Change::Fill(red), "the background")),
            ("brighten the man's face", thing(Change::Brighten, "the man's face")),
            ("make the sky a bit darker", thing(Change::Darken, "the sky")),
            ("pixelate the faces", thing(Change::Pixelate, "the faces")),
        ];
        for (text, want) in cases {
            assert_eq!(PhotoEdit::parse(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn what_a_mask_does_not_allow_is_refused_with_what_is_possible() {
        let texts = [
            "",
            "add a hat",
            "draw a cat",
            "make it night",
            "put a hat on the man",
            "turn the cat into a dog",
            "remove",
            "remove it",
            "make it red",
            "make red",
            "make the car faster",
            "make the car red and the sky blue",
            "make the car red and blue",
            "replace the background with a beach",
            "remove everything",
            "remove the dog and blur the background",
            "remove the dog and add a cat",
            "swap the two dogs",
            "entferne den Hund",
        ];
        for text in texts {
            let error = PhotoEdit::parse(text).expect_err(text);
            assert_eq!(error.code(), "edit-unsupported", "{text}");
            assert!(error.remedy().contains("remove, recolour, blur"), "{text}");
        }
    }

    #[test]
    fn the_rest_of_the_picture_is_what_a_mask_leaves() {
        let image = Image::from_rgb([200, 30, 30].repeat(16), 4, 4).unwrap();
        let alpha: Vec<u8> = (0..16).map(|at| if at % 4 < 2 { 255 } else { 0 }).collect();
        let mask = SoftMask::new(alpha, 4, 4).unwrap();
        let edited = PhotoEdit::parse("turn everything but the girl grey").unwrap().apply(&image, &mask).unwrap();
        let is_source: Vec<bool> = edited.image.rgb().chunks(3).map(|pixel| pixel == [200, 30, 30]).collect();
        assert_eq!(is_source[..4], [true, true, false, false]);
        let nothing = SoftMask::new(vec![0; 16], 4, 4).unwrap();
        for text in ["turn everything but the girl grey", "remove the girl"] {
            let error = PhotoEdit::parse(text).unwrap().apply(&image, &nothing).unwrap_err();
            assert_eq!(error.code(), "nothing-to-edit", "{text}");
        }
    }
}
