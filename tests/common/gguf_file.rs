//! GGUF files with something changed: read, altered, written again.

use std::collections::BTreeMap;

use setokim::formats::blocks::WeightKind;
use setokim::formats::gguf::{Gguf, RawTensor, Value};

/// A small LLaMA with a vocabulary like GPT-2's.
pub const LLAMA: &[u8] = include_bytes!("../fixtures/llama_tiny.gguf");

pub struct GgufFile {
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, RawTensor<'static>>,
    /// Numbers of types that stand in the file in place of the true ones.
    pub types: BTreeMap<String, u32>,
}

impl GgufFile {
    pub fn read(bytes: &[u8]) -> Self {
        let gguf = Gguf::parse(bytes).expect("a sound file");
        let tensor = |name: &String| (name.clone(), gguf.tensor(name).expect("listed").into_owned());
        Self {
            metadata: gguf.metadata().clone(),
            tensors: gguf.tensors().keys().map(tensor).collect(),
            types: BTreeMap::new(),
        }
    }

    pub fn set(&mut self, key: &str, value: Value) {
        self.metadata.insert(key.into(), value);
    }

    /// A tensor of ones.
    pub fn add(&mut self, name: &str, shape: &[usize]) {
        let bytes: Vec<u8> = std::iter::repeat_n(1_f32.to_le_bytes(), shape.iter().product()).flatten().collect();
        self.tensors
            .insert(name.into(), RawTensor { kind: WeightKind::F32, shape: shape.to_vec(), bytes: bytes.into() });
    }

    pub fn write(&self) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            string(&mut file, key.as_bytes());
            file.extend(type_of(value).to_le_bytes());
            write_value(&mut file, value);
        }
        let mut data = Vec::new();
        for (name, tensor) in &self.tensors {
            string(&mut file, name.as_bytes());
            file.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().rev().for_each(|size| file.extend((*size as u64).to_le_bytes()));
            let number = match tensor.kind {
                WeightKind::F32 => 0_u32,
                WeightKind::F16 => 1,
                WeightKind::Q4_0 => 2,
                WeightKind::Q4_1 => 3,
                WeightKind::Q8_0 => 8,
                WeightKind::BF16 => 30,
            };
            file.extend(self.types.get(name).unwrap_or(&number).to_le_bytes());
            file.extend((data.len() as u64).to_le_bytes());
            data.extend_from_slice(&tensor.bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }
}

fn string(file: &mut Vec<u8>, text: &[u8]) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text);
}

fn type_of(value: &Value) -> u32 {
    match value {
        Value::Unsigned(number) if u32::try_from(*number).is_ok() => 4,
        Value::Unsigned(_) => 10,
        Value::Signed(_) => 5,
        Value::Float(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) | Value::Bytes(_) => 8,
        Value::Array(_) => 9,
    }
}

fn write_value(file: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Unsigned(number) if type_of(value) == 4 => file.extend((*number as u32).to_le_bytes()),
        Value::Unsigned(number) => file.extend(number.to_le_bytes()),
        Value::Signed(number) => file.extend((*number as i32).to_le_bytes()),
        Value::Float(number) => file.extend((*number as f32).to_le_bytes()),
        Value::Bool(flag) => file.push(u8::from(*flag)),
        Value::String(text) => string(file, text.as_bytes()),
        Value::Bytes(bytes) => string(file, bytes),
        Value::Array(values) => {
            file.extend(values.first().map_or(4, type_of).to_le_bytes());
            file.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| write_value(file, value));
        }
    }
}
