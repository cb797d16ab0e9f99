//! Bytes of tokens to pieces of text that can be shown at once.

/// Puts tokens' bytes together into whole characters, and watches for stop strings.
///
/// Held back are at most the first bytes of a character and the beginning of a stop string.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    /// Bytes of a character that is not whole yet.
    bytes: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
    stops: Vec<String>,
    stopped: bool,
}

impl TextStream {
    /// Ends before the first of `stops`; empty strings stop nothing.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), ..Self::default() }
    }

    /// Takes a token's bytes and gives the text that is certain now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.bytes.extend_from_slice(bytes);
        let text = take_whole_characters(&mut self.bytes);
        self.pass_stops(&text)
    }

    /// Gives what was held back, at the end of the answer: U+FFFD for half a character.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned();
        let mut text = self.pass_stops(&rest);
        if !self.stopped {
            text += &std::mem::take(&mut self.held);
        }
        text
    }

    /// Whether a stop string has come.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    fn pass_stops(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held += text;
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let kept = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        std::mem::replace(&mut self.held, rest)
    }
}

/// Bytes at the end of `text` with which `stop` begins.
fn overlap(text: &str, stop: &str) -> usize {
    let begins = |&len: &usize| text.as_bytes().ends_with(&stop.as_bytes()[..len]);
    // A stop string is cut between its characters, so the cut in `text` is between characters as well.
    (1..stop.len()).rev().filter(|len| stop.is_char_boundary(*len)).find(begins).unwrap_or(0)
}

/// Takes all but the first bytes of a last, unfinished character. What can never become UTF-8 is U+FFFD.
fn take_whole_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut rest = bytes.as_slice();
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text += valid;
                bytes.clear();
                return text;
            }
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                text += &String::from_utf8_lossy(valid);
                let Some(broken) = error.error_len() else {
                    *bytes = after.to_vec();
                    return text;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                rest = &after[broken..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(stops: &[&str]) -> Vec<String> {
        stops.iter().map(|stop| (*stop).to_owned()).collect()
    }

    #[test]
    fn a_character_is_shown_whole() {
        let mut stream = TextStream::default();
        let pieces: Vec<String> = "aé😀".as_bytes().iter().map(|byte| stream.push(&[*byte])).collect();
        assert_eq!(pieces, ["a", "", "é", "", "", "", "😀"]);
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn broken_bytes_become_replacement_characters() {
        let mut stream = TextStream::default();
        assert_eq!(stream.push(b"a\xffb\xe2\x82"), "a\u{fffd}b");
        assert_eq!(stream.push(b"c"), "\u{fffd}c");
        assert_eq!(stream.push(b"\xf0\x9f"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    #[test]
    fn a_stop_string_over_several_pieces_ends_the_text_before_it() {
        let mut stream = TextStream::new(&stops(&["\n\nQ:", "END"]));
        let pieces: Vec<String> =
            ["one\n", "\n", "two\n\n", "Q: three"].iter().map(|s| stream.push(s.as_bytes())).collect();
        assert_eq!(pieces, ["one", "", "\n\ntwo", ""]);
        assert!(stream.stopped());
        assert_eq!(stream.push(b"more") + &stream.finish(), "");
    }

    #[test]
    fn the_beginning_of_a_stop_string_is_shown_at_the_end() {
        let mut stream = TextStream::new(&stops(&["", "éé"]));
        assert_eq!(stream.push("xé".as_bytes()), "x");
        assert_eq!(stream.finish(), "é");
        assert!(!stream.stopped());
    }
}
