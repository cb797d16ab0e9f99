//! What can go wrong with a file.

use super::*;

/// One thing that goes wrong with a file.
#[derive(Debug, Clone)]
pub(super) enum Damage {
    Set(Index, u8),
    /// Eight bytes at once: lengths and offsets are numbers.
    Number(Index, u64),
    Cut(Index),
    Insert(Index, Vec<u8>),
    /// A piece of the file, once more at another place.
    Repeat(Index, Index, Index),
}

pub(super) fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..64,
        Just(u64::MAX),
        Just(1 << 63),
        Just(u64::from(u32::MAX)),
        Just(1 << 31),
        Just((1 << 32) + 1),
    ]
}

pub(super) fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let one = prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (any::<Index>(), number()).prop_map(|(at, number)| Damage::Number(at, number)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, more)| Damage::Insert(at, more)),
        1 => any::<(Index, Index, Index)>().prop_map(|(from, to, at)| Damage::Repeat(from, to, at)),
    ];
    prop::collection::vec(one, 1..5)
}

/// `within` is the part of the file in which the damage lies: its header, mostly.
pub(super) fn damaged(file: &[u8], within: usize, damage: Vec<Damage>) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for one in damage {
        if bytes.is_empty() {
            break;
        }
        let within = within.min(bytes.len());
        match one {
            Damage::Set(at, byte) => bytes[at.index(within)] = byte,
            Damage::Number(at, number) => {
                let at = at.index(within);
                let number = number.to_le_bytes();
                let room = number.len().min(bytes.len() - at);
                bytes[at..at + room].copy_from_slice(&number[..room]);
            }
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Insert(at, more) => {
                let at = at.index(within);
                bytes.splice(at..at, more);
            }
            Damage::Repeat(from, to, at) => {
                let (from, to) = (from.index(within), to.index(within));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                let at = at.index(within);
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// What may stand anywhere in a JSON file.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![Just(-1.0), Just(0.0), Just(1e308), Just(-1e-308), Just(0.5)].prop_map(|number| json!(number)),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["[SEG]", "<keep_3>", "(a+)+$", "[", "\u{0}", "Ġ", ""]).prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[[[1]]]]])),
    ]
}

/// The places of a JSON tree.
pub(super) fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Array(items) => {
            // Long lists are alike throughout.
            items.iter().enumerate().take(12).for_each(|(at, item)| places(item, &format!("{here}/{at}"), found));
        }
        Value::Object(items) => items.iter().take(40).for_each(|(key, item)| {
            places(item, &format!("{here}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }),
        _ => {}
    }
}

pub(super) fn changed(text: &[u8], changes: Vec<(Index, Value)>) -> String {
    let mut value: Value = serde_json::from_slice(text).unwrap();
    for (at, new) in changes {
        let mut found = Vec::new();
        places(&value, "", &mut found);
        *value.pointer_mut(at.get(found.as_slice()).as_str()).unwrap() = new;
    }
    value.to_string()
}

/// Steps of a `tokenizer.json`, known ones and others, with settings that make sense and with some that do not.
pub(super) fn any_step() -> impl Strategy<Value = (&'static str, Value)> {
    let text = || prop::sample::select(vec!["", "a", " ", "\\s+", "(a+)+$", "[", "(?=.)", "Ġ", "\u{0}"]);
    let number = prop::sample::select(vec![0_u64, 1, 5, u64::MAX]);
    let normalizer = (text(), text(), any::<bool>(), 0..6).prop_map(|(pattern, content, flag, which)| match which {
        0 => json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content}),
        1 => json!({"type": "Replace", "pattern": {"String": pattern}, "content": content}),
        2 => json!({"type": "Strip", "strip_left": flag, "strip_right": true}),
        3 => json!({"type": "Prepend", "prepend": content}),
        4 => json!({"type": "NFKC"}),
        _ => json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
    });
    let behaviours = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"];
    let behaviour = prop::sample::select(behaviours.to_vec());
    let cut =
        (text(), behaviour, any::<bool>(), number, 0..5).prop_map(
            |(pattern, behavior, flag, length, which)| match which {
                0 => json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": flag}),
                1 => json!({"type": "Digits", "individual_digits": flag}),
                2 => json!({"type": "Punctuation", "behavior": behavior}),
                3 => json!({"type": "FixedLength", "length": length}),
                _ => json!({"type": "ByteLevel", "add_prefix_space": flag, "trim_offsets": true, "use_regex": flag}),
            },
        );
    let several = |key: &'static str, inner: &'static str, step: BoxedStrategy<Value>| {
        prop::collection::vec(step, 1..4).prop_map(move |steps| (key, json!({"type": "Sequence", inner: steps})))
    };
    prop_oneof![
        several("normalizer", "normalizers", normalizer.boxed()),
        several("pre_tokenizer", "pretokenizers", cut.boxed()),
        any_json().prop_map(|step| ("post_processor", step)),
    ]
}

pub(super) fn changes() -> impl Strategy<Value = Vec<(Index, Value)>> {
    prop::collection::vec((any::<Index>(), any_json()), 1..4)
}
