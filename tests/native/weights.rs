//! Weights in: manifests, shards, the tensor store, and model folders as ours and as Hugging Face writes them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::common::assert_close;
use burn::tensor::Device;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use setokim::formats::manifest::Manifest;
use setokim::formats::quantize::Precision;
use setokim::formats::safetensors::{read_safetensors_f32, write_safetensors_f32};
use setokim::model::folder::{Progress, read_config, read_weights};
use setokim::model::shard_loader::ShardLoader;
use setokim::nn::tensor_store::TensorStore;
use setokim::{Error, Result};
use sha2::{Digest, Sha256};

fn store() -> TensorStore {
    TensorStore::new(&Device::flex())
}

fn values<const D: usize>(store: &mut TensorStore, name: &str, shape: [usize; D]) -> Vec<f32> {
    let tensor = store.take(name, shape).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(tensor.dims(), shape);
    tensor.into_data().try_to_vec().expect("32-bit floats")
}

/// `name`: type, shape, bytes.
type Raw<'a> = (&'a str, Dtype, Vec<usize>, Vec<u8>);

fn shard(tensors: &[Raw<'_>]) -> Vec<u8> {
    let view = |(name, dtype, shape, bytes): &'_ Raw<'_>| -> (String, Vec<u8>, Dtype, Vec<usize>) {
        (name.to_string(), bytes.clone(), *dtype, shape.clone())
    };
    let owned: Vec<_> = tensors.iter().map(view).collect();
    let views = owned.iter().map(|(name, bytes, dtype, shape)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("a sound tensor"))
    });
    safetensors::serialize(views, None).expect("sound tensors")
}

fn floats(name: &str, shape: &[usize], values: &[f32]) -> Vec<u8> {
    write_safetensors_f32(name, shape, values).expect("values fill the shape")
}

/// A safetensors file with any header, true or not.
fn shard_with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn manifest_of(files: &[(&str, &[u8])]) -> String {
    let entry = |(name, bytes): &(&str, &[u8])| json!({"name": name, "bytes": bytes.len(), "sha256": sha256(bytes)});
    json!({"format": 1, "files": files.iter().map(entry).collect::<Vec<_>>()}).to_string()
}

fn code<T>(result: Result<T>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

// --- manifests

#[test]
fn reads_a_manifest() {
    let text = manifest_of(&[("a-1_2.safetensors", b"x"), ("tokenizer.json", b"{}")]);
    let manifest = Manifest::parse(&text).expect("a sound manifest");
    assert_eq!(
        manifest.files.iter().map(setokim::formats::manifest::FileEntry::is_shard).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(manifest.files[1].bytes, 2);
    let again = serde_json::to_string(&manifest).expect("plain data");
    assert_eq!(Manifest::parse(&again).expect("our own manifest"), manifest);
}

#[test]
fn takes_upper_case_hashes() {
    let text = manifest_of(&[("a", b"x")]);
    let upper = text.replace(&sha256(b"x"), &sha256(b"x").to_uppercase());
    assert_eq!(Manifest::parse(&upper).expect("a sound manifest"), Manifest::parse(&text).expect("a sound manifest"));
}

#[test]
fn refuses_names_that_leave_the_folder() {
    let names = [
        "",
        ".",
        "..",
        "../a.safetensors",
        "a/b.safetensors",
        "a\\b.safetensors",
        "/etc/passwd",
        "C:a",
        ".hidden",
        "a b",
        "a\0",
        "ä",
        "a?b",
        "%2e%2e",
    ];
    for name in names {
        assert_eq!(code(Manifest::parse(&manifest_of(&[(name, b"x")]))), "manifest-invalid", "{name:?}");
    }
    let long = "a".repeat(201);
    assert_eq!(code(Manifest::parse(&manifest_of(&[(&long, b"x")]))), "manifest-invalid");
}

#[test]
fn refuses_manifests_that_make_no_sense() {
    let hash = sha256(b"x");
    let one = |bytes: serde_json::Value, sha256: &str| json!([{"name": "a", "bytes": bytes, "sha256": sha256}]);
    let cases = [
        json!({"format": 2, "files": one(json!(1), &hash)}),
        json!({"format": "1", "files": one(json!(1), &hash)}),
        json!({"files": one(json!(1), &hash)}),
        json!({"format": 1}),
        json!({"format": 1, "files": []}),
        json!({"format": 1, "files": one(json!(0), &hash)}),
        json!({"format": 1, "files": one(json!(-1), &hash)}),
        json!({"format": 1, "files": one(json!(1.5), &hash)}),
        json!({"format": 1, "files": one(json!(1u64 << 40), &hash)}),
        json!({"format": 1, "files": one(json!(1), &hash[1..])}),
        json!({"format": 1, "files": one(json!(1), &hash.replacen(|_| true, "g", 1))}),
        json!({"format": 1, "files": [{"name": "a", "bytes": 1, "sha256": hash}, {"name": "a", "bytes": 1, "sha256": hash}]}),
        json!({"format": 1, "files": vec![json!({"name": "a", "bytes": 1, "sha256": hash}); 5000]}),
    ];
    for case in cases {
        assert_eq!(code(Manifest::parse(&case.to_string())), "manifest-invalid", "{case}");
    }
    for text in ["", "{", "null", "[]", "\u{feff}{}"] {
        assert_eq!(code(Manifest::parse(text)), "manifest-invalid", "{text:?}");
    }
}

// --- shards against their manifest

#[test]
fn loads_shards_in_any_order() {
    let (a, b) = (floats("a", &[2], &[1.0, 2.0]), floats("b", &[1, 2], &[3.0, 4.0]));
    let text = manifest_of(&[("a.safetensors", &a), ("b.safetensors", &b), ("tokenizer.json", b"{}")]);
    let mut loader = ShardLoader::new(&Manifest::parse(&text).expect("a sound manifest"), store());
    assert_eq!(loader.wanted().len(), 2, "the tokenizer is not a shard");
    loader.add("b.safetensors", b).expect("as the manifest says");
    loader.add("a.safetensors", a).expect("as the manifest says");
    let mut store = loader.finish().expect("nothing is missing");
    assert_eq!(values(&mut store, "a", [2]), [1.0, 2.0]);
    assert_eq!(values(&mut store, "b", [1, 2]), [3.0, 4.0]);
    assert_eq!(store.leftover().count(), 0);
}

#[test]
fn a_refused_shard_can_come_again() {
    let good = floats("a", &[2], &[1.0, 2.0]);
    let manifest = Manifest::parse(&manifest_of(&[("a.safetensors", &good)])).expect("a sound manifest");
    let mut loader = ShardLoader::new(&manifest, store());

    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    match loader.add("a.safetensors", flipped.clone()) {
        Err(Error::HashMismatch { name, want, got }) => {
            assert_eq!((name.as_str(), want, got), ("a.safetensors", sha256(&good), sha256(&flipped)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(code(loader.add("a.safetensors", good[1..].to_vec())), "shard-corrupt");
    assert_eq!(code(loader.add("a.safetensors", vec![])), "shard-corrupt");
    assert_eq!(code(loader.add("b.safetensors", good.clone())), "shard-corrupt");
    assert_eq!(loader.wanted().len(), 1);
    loader.add("a.safetensors", good.clone()).expect("the good one");
    assert_eq!(code(loader.add("a.safetensors", good)), "shard-corrupt", "twice");
    assert!(loader.finish().is_ok());
}

#[test]
fn names_the_shard_that_is_missing() {
    let manifest = Manifest::parse(&manifest_of(&[("a.safetensors", b"x")])).expect("a sound manifest");
    match ShardLoader::new(&manifest, store()).finish() {
        Err(Error::Shard { name, .. }) => assert_eq!(name, "a.safetensors"),
        _ => panic!("nothing was loaded"),
    }
}

// --- the store

#[test]
fn widens_half_precision() {
    let numbers = [0.0, -1.5, 65504.0, 0.25];
    let f16 = numbers.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect();
    let bf16 = numbers.iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect();
    let bytes = shard(&[("half", Dtype::F16, vec![2, 2], f16), ("brain", Dtype::BF16, vec![4], bf16)]);
    let mut store = store();
    store.add_shard("both", bytes).expect("a sound shard");
    assert_eq!(values(&mut store, "half", [2, 2]), numbers);
    assert_eq!(values(&mut store, "brain", [4]), [0.0, -1.5, 65536.0, 0.25], "bfloat16 has 8 bits of precision");
}

/// Only the matrices of the language model are packed anew; what comes out is what went in, as well as the bits allow.
#[test]
fn packs_the_language_model_as_it_is_asked_to() {
    let wave: Vec<f32> = (0..256).map(|i| (i as f32 * 0.7).sin()).collect();
    let names = ["llm.up.weight", "llm.down.weight.part.0", "llm.norm.weight", "vision.up.weight"];
    let file = |name| match name {
        "llm.norm.weight" => floats(name, &[256], &wave),
        _ => floats(name, &[4, 64], &wave),
    };
    let packed = |bytes_per_block: u64| 2 * 8 * bytes_per_block + 2 * 1024;
    for (precision, tolerance, memory_bytes) in [
        (Precision::Keep, 0.0, 4 * 1024),
        (Precision::F32, 0.0, 4 * 1024),
        (Precision::Q8, 0.005, packed(34)),
        (Precision::Q4, 0.1, packed(18)),
    ] {
        let mut store = store().with_language_precision(precision);
        for name in names {
            store.add_shard(name, file(name)).unwrap();
        }
        assert_eq!(store.held().stored.iter().collect::<Vec<_>>(), ["f32"]);
        assert_eq!(store.held().memory_bytes, memory_bytes, "{precision:?}");
        for name in ["llm.up.weight", "llm.down.weight"] {
            assert_close(name, &values(&mut store, name, [4, 64]), &wave, tolerance);
        }
        assert_eq!(values(&mut store, "llm.norm.weight", [256]), wave);
        assert_eq!(values(&mut store, "vision.up.weight", [4, 64]), wave);
    }
}

#[test]
fn gives_each_tensor_once_and_names_the_rest() {
    let bytes = shard(&[
        ("w", Dtype::F32, vec![1], 1f32.to_le_bytes().into()),
        ("scalar", Dtype::F32, vec![], 2f32.to_le_bytes().into()),
        ("unused", Dtype::F32, vec![1], 3f32.to_le_bytes().into()),
        ("position_ids", Dtype::I64, vec![1], 0i64.to_le_bytes().into()),
    ]);
    let mut store = store();
    store.add_shard("shard", bytes).expect("a sound shard");
    assert_eq!(store.shape("scalar"), Some(vec![1]));
    assert!(store.contains("position_ids") && store.shape("position_ids").is_none());
    assert_eq!(values(&mut store, "w", [1]), [1.0]);
    assert_eq!(values(&mut store, "scalar", [1]), [2.0]);
    assert_eq!(code(store.take("w", [1])), "tensor-missing");
    assert_eq!(store.leftover().collect::<Vec<_>>(), ["position_ids", "unused"]);
}

#[test]
fn refuses_what_the_module_does_not_expect() {
    let bytes = shard(&[
        ("w", Dtype::F32, vec![2, 1], vec![0; 8]),
        ("table", Dtype::I64, vec![1], vec![0; 8]),
        ("small", Dtype::F8_E4M3, vec![8], vec![0; 8]),
    ]);
    let mut store = store();
    store.add_shard("shard", bytes).expect("a sound shard");
    match store.take("w", [1, 2]) {
        Err(Error::TensorShape { name, want, got }) => {
            assert_eq!((name.as_str(), want, got), ("w", vec![1, 2], vec![2, 1]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(code(store.take("w", [2])), "tensor-shape");
    assert_eq!(code(store.take("w", [2, 1, 1])), "tensor-shape");
    assert_eq!(code(store.take("w", [2, 1])), "ok", "a wrong question loses nothing");
    assert_eq!(code(store.take("missing", [1])), "tensor-missing");
    match store.take("table", [1]) {
        Err(Error::TensorType { name, dtype }) => assert_eq!((name.as_str(), dtype.as_str()), ("table", "I64")),
        other => panic!("{other:?}"),
    }
    assert_eq!(code(store.take("small", [8])), "tensor-type");
}

#[test]
fn passes_over_what_is_not_kept() {
    let bytes = shard(&[
        ("text.w", Dtype::F32, vec![1], 1f32.to_le_bytes().into()),
        ("vision.w", Dtype::F32, vec![1], 2f32.to_le_bytes().into()),
        ("zzz", Dtype::F32, vec![1], 3f32.to_le_bytes().into()),
    ]);
    let mut store = TensorStore::keeping(&Device::flex(), |name| name.starts_with("vision."));
    store.add_shard("shard", bytes).expect("a sound shard");
    assert_eq!(store.leftover().collect::<Vec<_>>(), ["vision.w"]);
    assert_eq!(values(&mut store, "vision.w", [1]), [2.0]);
}

#[test]
fn refuses_a_name_from_two_shards() {
    let mut store = store();
    store.add_shard("one", floats("w", &[1], &[1.0])).expect("the first");
    assert_eq!(code(store.add_shard("two", floats("w", &[1], &[2.0]))), "shard-corrupt");
    assert_eq!(values(&mut store, "w", [1]), [1.0], "the store is as it was");
}

/// The header of tensors that each have as many bytes as a length of bits can say; together 2^64 - 8.
fn every_byte() -> String {
    let bytes = u64::MAX / 8;
    let tensor = |at: u64| {
        format!(r#""w{at}":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[{},{}]}}"#, at * bytes, (at + 1) * bytes)
    };
    format!("{{{}}}", (0..8).map(tensor).collect::<Vec<_>>().join(","))
}

#[test]
fn refuses_headers_that_lie() {
    let f32x = |shape: &str, start: u64, end: u64| {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let cases = [
        ("offsets past the end", shard_with_header(&format!(r#"{{"w":{}}}"#, f32x("[2]", 0, 8)), 4)),
        ("bytes left over", shard_with_header(&format!(r#"{{"w":{}}}"#, f32x("[1]", 0, 4)), 8)),
        ("a gap", shard_with_header(&format!(r#"{{"w":{}}}"#, f32x("[1]", 4, 8)), 8)),
        ("an overlap", shard_with_header(&format!(r#"{{"a":{},"b":{}}}"#, f32x("[2]", 0, 8), f32x("[2]", 4, 12)), 12)),
        (
            "one place twice",
            shard_with_header(&format!(r#"{{"a":{},"b":{}}}"#, f32x("[1]", 0, 4), f32x("[1]", 0, 4)), 4),
        ),
        (
            "one name twice",
            shard_with_header(&format!(r#"{{"a":{},"a":{}}}"#, f32x("[1]", 0, 4), f32x("[1]", 4, 8)), 8),
        ),
        ("shape and length differ", shard_with_header(&format!(r#"{{"w":{}}}"#, f32x("[3]", 0, 8)), 8)),
        ("a backward range", shard_with_header(&format!(r#"{{"w":{}}}"#, f32x("[1]", 4, 0)), 4)),
        (
            "a shape that overflows",
            shard_with_header(&format!(r#"{{"w":{}}}"#, f32x("[9223372036854775807,4]", 0, 4)), 4),
        ),
        ("tensors of all the bytes there are", shard_with_header(&every_byte(), 8)),
        ("a negative shape", shard_with_header(&format!(r#"{{"w":{}}}"#, f32x("[-1]", 0, 4)), 4)),
        ("an empty tensor", shard_with_header(&format!(r#"{{"w":{}}}"#, f32x("[0]", 0, 0)), 0)),
        ("an unknown type", shard_with_header(r#"{"w":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#, 4)),
        ("no JSON", shard_with_header("{", 0)),
        ("a list", shard_with_header("[]", 0)),
        ("deep JSON", shard_with_header(&"[".repeat(100_000), 0)),
        ("no UTF-8", shard_with_header("{\"\u{80}\":1}", 0).into_iter().filter(|&byte| byte != 0xC2).collect()),
        ("a header of 2^64 - 1 bytes", vec![0xFF; 64]),
        ("a header longer than the file", [&1000u64.to_le_bytes()[..], b"{}"].concat()),
        ("a header of 100 GB", [&100_000_000_000u64.to_le_bytes()[..], b"{}"].concat()),
        ("no header", vec![]),
        ("half a length", vec![2, 0, 0]),
    ];
    for (what, bytes) in cases {
        let mut store = store();
        match store.add_shard("x.safetensors", bytes.clone()) {
            Err(Error::Shard { name, .. }) => assert_eq!(name, "x.safetensors"),
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(store.leftover().count(), 0, "{what}");
        let code = code(read_safetensors_f32(&bytes, "w"));
        assert!(code == "shard-corrupt" || (what == "an empty tensor" && code == "ok"), "{what}: {code}");
    }
}

#[test]
fn refuses_every_truncated_shard() {
    let whole = shard(&[("a", Dtype::F32, vec![2], vec![0; 8]), ("b", Dtype::F16, vec![3], vec![0; 6])]);
    for length in 0..whole.len() {
        assert_eq!(code(store().add_shard("cut", whole[..length].to_vec())), "shard-corrupt", "{length} bytes");
    }
    assert_eq!(code(store().add_shard("whole", whole)), "ok");
}

// --- single tensors

#[test]
fn a_feature_file_comes_back() {
    let bytes = floats("features", &[2, 3], &[1.0, -2.0, 3.5, 0.0, f32::MIN_POSITIVE, f32::MAX]);
    let (shape, values) = read_safetensors_f32(&bytes, "features").expect("our own file");
    assert_eq!((shape, values[2]), (vec![2, 3], 3.5));
    assert_eq!(code(read_safetensors_f32(&bytes, "other")), "tensor-missing");
    let table = shard(&[("features", Dtype::I32, vec![1], vec![0; 4])]);
    assert_eq!(code(read_safetensors_f32(&table, "features")), "tensor-type");
    assert_eq!(code(write_safetensors_f32("features", &[2, 2], &[1.0])), "tensor-shape");
    assert_eq!(code(write_safetensors_f32("features", &[usize::MAX, 2], &[1.0])), "tensor-shape");
}

// --- folders

fn read(folder: &Path) -> Result<TensorStore> {
    let mut store = store();
    read_weights(folder, &mut store, &mut |_| ())?;
    Ok(store)
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("a file");
    }
    folder
}

#[test]
fn reads_our_folder_with_progress() {
    let (a, b) = (floats("a", &[2], &[1.0, 2.0]), floats("b", &[1], &[3.0]));
    let manifest = manifest_of(&[("a.safetensors", &a), ("b.safetensors", &b)]);
    let files: [(&str, &[u8]); 4] =
        [("config.json", b"{}"), ("manifest.json", manifest.as_bytes()), ("a.safetensors", &a), ("b.safetensors", &b)];
    let folder = folder(&files);
    assert_eq!(read_config(folder.path()).expect("config.json"), "{}");
    let mut encoded = vec![];
    let mut store = store();
    read_weights(folder.path(), &mut store, &mut |Progress { file, done, total }| {
        encoded.push((file.to_string(), done, total));
    })
    .expect("a sound folder");
    assert_eq!(values(&mut store, "a", [2]), [1.0, 2.0]);
    assert_eq!(values(&mut store, "b", [1]), [3.0]);
    let total = (a.len() + b.len()) as u64;
    assert!(encoded.is_sorted_by_key(|(_, done, _)| *done) && encoded.iter().all(|(_, _, all)| *all == total));
    assert_eq!(encoded.last(), Some(&("b.safetensors".into(), total, total)));
}

#[test]
fn checks_our_folder() {
    let a = floats("a", &[2], &[1.0, 2.0]);
    let manifest = manifest_of(&[("a.safetensors", &a)]);
    let mut flipped = a.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    let cases: [(&[u8], &str); 3] = [(&flipped, "hash-mismatch"), (&a[1..], "shard-corrupt"), (b"", "shard-corrupt")];
    for (bytes, want) in cases {
        let folder = folder(&[("manifest.json", manifest.as_bytes()), ("a.safetensors", bytes)]);
        assert_eq!(code(read(folder.path())), want);
    }
    assert_eq!(code(read(folder(&[("manifest.json", manifest.as_bytes())]).path())), "io");
    assert_eq!(code(read(folder(&[("manifest.json", b"{}")]).path())), "manifest-invalid");
    let empty = folder(&[]);
    assert_eq!(code(read(empty.path())), "io");
    assert_eq!(code(read_config(empty.path())), "io");
}

#[test]
fn reads_hugging_face_folders() {
    let (a, b) = (floats("a", &[2], &[1.0, 2.0]), floats("b", &[1], &[3.0]));
    let single = folder(&[("model.safetensors", &a)]);
    assert_eq!(values(&mut read(single.path()).expect("one file"), "a", [2]), [1.0, 2.0]);

    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let index = |map: &HashMap<&str, &str>| json!({"metadata": {}, "weight_map": map}).to_string();
    let with_index =
        |text: &str| folder(&[("model.safetensors.index.json", text.as_bytes()), (first, &a), (second, &b)]);
    let sharded = with_index(&index(&HashMap::from([("a", first), ("b", second)])));
    let mut store = read(sharded.path()).expect("two files");
    assert_eq!(values(&mut store, "a", [2]), [1.0, 2.0]);
    assert_eq!(values(&mut store, "b", [1]), [3.0]);

    let lost = with_index(&index(&HashMap::from([("a", first), ("c", second)])));
    assert_eq!(code(read(lost.path())), "tensor-missing");
    let outside = with_index(&index(&HashMap::from([("a", "../model.safetensors")])));
    assert_eq!(code(read(outside.path())), "manifest-invalid");
    assert_eq!(code(read(with_index("{}").path())), "manifest-invalid");
    assert_eq!(code(read(folder(&[("model.safetensors", b"text")]).path())), "shard-corrupt");
}
