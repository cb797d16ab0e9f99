//! What a GGUF file says of itself: its metadata, and what it is for. Whole language models are read here, and there are
//! many other uses of the format.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// One metadata value. Integers of all widths are [`Value::Unsigned`] or [`Value::Signed`], both floats are
/// [`Value::Float`]. A string that is not UTF-8 is [`Value::Bytes`]: an error only for the one who asks for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An integer of any width without a sign.
    Unsigned(u64),
    /// An integer of any width with a sign.
    Signed(i64),
    /// A float of 32 or 64 bits.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    String(String),
    /// Text that is not UTF-8.
    Bytes(Vec<u8>),
    /// Values of one kind.
    Array(Vec<Value>),
}

/// Refuses what is no whole, plain language model, by what it is.
pub(super) fn refuse_other_uses(metadata: &BTreeMap<String, Value>) -> Result<()> {
    let text = |key: &str| match metadata.get(key) {
        Some(Value::String(text)) => text.as_str(),
        _ => "",
    };
    let count = |key: &str| match metadata.get(key) {
        Some(Value::Unsigned(count)) => *count,
        Some(Value::Signed(count)) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    };
    if count("split.count") > 1 {
        let what = format!("a GGUF file in {} parts (this is part {})", count("split.count"), count("split.no") + 1);
        return Err(Error::not_supported(what, "Join the parts with llama.cpp's `llama-gguf-split --merge` first."));
    }
    let architecture = text("general.architecture");
    let (what, help) = match (text("general.type"), architecture) {
        ("adapter", _) => (
            "an adapter (LoRA) without its model",
            "Merge it into its model first, with llama.cpp's `llama-export-lora`, and give the result.",
        ),
        ("mmproj", _) | (_, "clip" | "mmproj") => (
            "the vision half of a multimodal model (`mmproj`)",
            "Give the file of the language model; images are seen by a SigLIP tower here: docs/convert.md.",
        ),
        ("imatrix", _) | (_, "imatrix") => ("a table for quantizing (`imatrix`)", "Give the file of the model itself."),
        ("controlvector", _) | (_, "controlvector") => ("a control vector", "Give the file of the model itself."),
        _ => return refuse_experts(count(&format!("{architecture}.expert_count"))),
    };
    Err(Error::not_supported(what, help))
}

fn refuse_experts(count: u64) -> Result<()> {
    match count {
        0 => Ok(()),
        _ => Err(Error::not_supported(
            format!("a mixture of {count} experts (MoE)"),
            "Take a dense model of the LLaMA family: docs/weights.md lists what is supported.",
        )),
    }
}

/// ggml's name of a type by its number (`enum ggml_type`).
pub(super) fn type_name(ggml_type: u32) -> String {
    let name = match ggml_type {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        4 => "Q4_2",
        5 => "Q4_3",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        30 => "BF16",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        other => return format!("ggml's type {other}, which has no name here"),
    };
    name.into()
}
