//! What a file is, whatever its name says: downloads end as web pages, pointers and archives under the name of a model.

use crate::{Error, Result};

/// As much of a file as is looked at.
pub(crate) const SNIFFED_BYTES: usize = 512;

const OWN_ADDRESS: &str =
    "Download the file itself: on Hugging Face the address has `/resolve/` where its page has `/blob/`.";
const UNPACK: &str = "Unpack it first, and give the file that was in it.";
const TORCH: &str = "Take the model as safetensors; what `torch.save` wrote is read by `setokim convert` alone.";
const GGUF_PLACE: &str = "Give it to `setokim complete --gguf`, or to `setokim convert SIGLIP --language`.";
const OLD_GGML: &str = "Take the model as GGUF, or convert it with llama.cpp's `convert_llama_ggml_to_gguf.py`.";
const AGAIN: &str = "Download it again.";

/// What kind of file was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Gguf,
    Safetensors,
    Json,
    #[cfg(feature = "convert")]
    Torch,
}

impl Wanted {
    /// Whether a file that begins so is what was wanted.
    fn is_begun_by(self, start: &[u8]) -> bool {
        match self {
            Self::Gguf => start.starts_with(b"GGUF"),
            Self::Safetensors => start.get(8) == Some(&b'{') && !start.starts_with(b"GGUF"),
            Self::Json => start.trim_ascii_start().starts_with(b"{"),
            #[cfg(feature = "convert")]
            Self::Torch => start.starts_with(ZIP) || start.starts_with(PICKLE),
        }
    }
}

const ZIP: &[u8] = b"PK\x03\x04";
const PICKLE: &[u8] = b"\x80\x02";

/// Refuses a file that begins like one of another kind. `code` is the error's, `name` what the file is called.
pub(crate) fn refuse_another(wanted: Wanted, name: &str, code: &'static str, start: &[u8]) -> Result<()> {
    match found(wanted, &start[..start.len().min(SNIFFED_BYTES)]) {
        Some((found, help)) => Err(Error::WrongFile { name: format!("`{name}`"), code, found, help }),
        None => Ok(()),
    }
}

/// What it is, and what to do; nothing for what was wanted and for what nobody knows.
fn found(wanted: Wanted, start: &[u8]) -> Option<(&'static str, &'static str)> {
    if wanted.is_begun_by(start) {
        return None;
    }
    let magics: [(&[u8], &str, &str); 17] = [
        (
            b"version https://git-lfs",
            "a pointer of Git LFS, not the file itself",
            "Run `git lfs pull` in its repository.",
        ),
        (b"\x1f\x8b", "compressed with gzip", UNPACK),
        (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", UNPACK),
        (b"\xfd7zXZ\0", "compressed with xz", UNPACK),
        (b"BZh", "compressed with bzip2", UNPACK),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
        (b"Rar!", "a RAR archive", UNPACK),
        (ZIP, "a ZIP archive, such as PyTorch's `.bin` and `.pt` files are", TORCH),
        (PICKLE, "a pickle of Python, such as old `.bin` and `.pt` files are", TORCH),
        (b"\x89HDF", "an HDF5 file, such as Keras writes", "Take the model as safetensors."),
        (b"lmgg", "a file of llama.cpp from before GGUF", OLD_GGML),
        (b"fmgg", "a file of llama.cpp from before GGUF", OLD_GGML),
        (b"tjgg", "a file of llama.cpp from before GGUF", OLD_GGML),
        (b"GGML", "a file of llama.cpp from before GGUF", OLD_GGML),
        (b"%PDF", "a PDF document", AGAIN),
        (b"\x89PNG", "a PNG picture", AGAIN),
        (b"\xff\xd8\xff", "a JPEG picture", AGAIN),
    ];
    if let Some((_, found, help)) = magics.into_iter().find(|(magic, ..)| start.starts_with(magic)) {
        return Some((found, help));
    }
    if start.starts_with(b"GGUF") {
        return Some(("a GGUF file", GGUF_PLACE));
    }
    if !start.starts_with(b"{") && start.get(8..10) == Some(b"{\"") {
        return Some(("a safetensors file", "Give the folder that it lies in, with its config.json."));
    }
    found_in_text(start)
}

fn found_in_text(start: &[u8]) -> Option<(&'static str, &'static str)> {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start().to_ascii_lowercase();
    if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") || start.starts_with(b"<head") {
        return Some(("a web page (HTML)", OWN_ADDRESS));
    }
    if start.starts_with(b"<?xml") || start.starts_with(b"<error") {
        return Some(("an answer of a server (XML), most often an error", AGAIN));
    }
    let refusals: [&[u8]; 4] =
        [b"entry not found", b"invalid username or password", b"access to model", b"repository not found"];
    if refusals.iter().any(|refusal| start.starts_with(refusal)) {
        return Some((
            "an error message of Hugging Face",
            "Check the address, and log in where the model asks for it.",
        ));
    }
    match start.starts_with(b"{") {
        true => Some(("a JSON text", "Give the weights, not the file that describes them.")),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wanted_is_let_through() {
        let safetensors = b"\x10\0\0\0\0\0\0\0{\"__metadata__\":{}}";
        for (wanted, start) in [
            (Wanted::Gguf, &b"GGUF\x03\0\0\0"[..]),
            (Wanted::Safetensors, safetensors),
            (Wanted::Json, b"{\"model_type\": \"llama\"}"),
            (Wanted::Json, b""),
            (Wanted::Gguf, b"\0\0\0\0 nothing that anybody knows"),
        ] {
            assert!(refuse_another(wanted, "file", "io", start).is_ok(), "{}", start.escape_ascii());
        }
    }

    #[test]
    fn what_it_is_and_what_helps() {
        let cases: [(Wanted, &[u8], &str, &str); 10] = [
            (Wanted::Gguf, b"\xef\xbb\xbf\n<!DOCTYPE HTML><html>", "web page", "/resolve/"),
            (Wanted::Json, b"<html lang=en>", "web page", "/resolve/"),
            (
                Wanted::Safetensors,
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
                "Git LFS",
                "git lfs pull",
            ),
            (Wanted::Json, b"\x1f\x8b\x08\0", "gzip", "Unpack"),
            (Wanted::Gguf, b"\x10\0\0\0\0\0\0\0{\"a\":", "safetensors", "folder"),
            (Wanted::Safetensors, b"GGUF\x03\0\0\0", "GGUF", "--gguf"),
            (Wanted::Safetensors, b"PK\x03\x04\0\0", "PyTorch", "safetensors"),
            (Wanted::Gguf, b"tjgg\x03\0\0\0", "before GGUF", "GGUF"),
            (Wanted::Gguf, b"Entry not found", "Hugging Face", "address"),
            (Wanted::Safetensors, b"{\"error\": \"Invalid\"}", "JSON", "weights"),
        ];
        for (wanted, start, found, help) in cases {
            let error = refuse_another(wanted, "model", "shard-corrupt", start).expect_err(found);
            assert_eq!(error.code(), "shard-corrupt");
            assert!(error.to_string().contains(found), "{error}");
            assert!(error.remedy().contains(help), "{error}: {}", error.remedy());
        }
    }
}
