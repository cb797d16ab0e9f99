//! A Hugging Face `config.json` in the one form that [`LlamaConfig`](super::LlamaConfig) is read from: without nulls, with
//! rotary positions in one place. transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 `rope_parameters`.

use serde_json::{Map, Value, json};

use crate::model::foreign::{OTHER_MODEL, is_off, known_settings, not_known};
use crate::{Error, Result};

/// What [`LlamaConfig`](super::LlamaConfig) has.
const READ: [&str; 15] = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "rope_theta",
    "max_position_embeddings",
    "tie_word_embeddings",
    "rope_scaling",
    "hidden_act",
    "attention_bias",
    "mlp_bias",
];

const OTHER_ROPE: &str = "Take a model with plain rotary positions, or with those of LLaMA 3.";

/// # Errors
/// [`Error::Config`] for what contradicts itself; [`Error::NotSupported`] for another architecture, and for the first
/// setting that changes what is computed and is not known here.
pub(super) fn llama_settings(mut config: Value) -> Result<Value> {
    check_architecture(&config)?;
    let Some(settings) = config.as_object_mut() else { return Err(Error::Config("it is not an object".into())) };
    let context = settings.get("max_position_embeddings").and_then(Value::as_u64).unwrap_or(u64::MAX);
    drop_what_changes_nothing(settings, context);
    let original = settings.get("original_max_position_embeddings").cloned();
    let Rope { theta, scaling } = Rope::of(settings, original)?;
    if let Some((key, value)) = settings.iter().find(|(key, value)| READ.contains(&key.as_str()) && value.is_array()) {
        return Err(Error::not_supported(
            format!("`{key}` = {value}, which differs from layer to layer,"),
            OTHER_MODEL,
        ));
    }
    let mut settings = known_settings(config, &READ)?;
    for (key, value) in [("rope_theta", theta), ("rope_scaling", scaling)] {
        value.map(|value| settings.insert(key.into(), value));
    }
    Ok(settings.into())
}

/// LLaMA itself, and what does not say: the language model of a folder of ours.
fn check_architecture(config: &Value) -> Result<()> {
    match config.get("model_type").and_then(Value::as_str) {
        None | Some("llama") => (),
        Some(other) => return Err(Error::not_supported(format!("the model type `{other}`"), OTHER_MODEL)),
    }
    let architectures = config.get("architectures").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match architectures.iter().find(|name| *name != "LlamaForCausalLM") {
        Some(other) => Err(Error::not_supported(format!("the architecture {other}"), OTHER_MODEL)),
        None => Ok(()),
    }
}

/// Settings of windows and layers whose values say that every layer is as every other.
fn drop_what_changes_nothing(settings: &mut Map<String, Value>, context: u64) {
    let reaches_all = match settings.get("sliding_window") {
        None | Some(Value::Null) => true,
        Some(window) => window.as_u64().is_some_and(|window| window >= context),
    };
    if reaches_all || settings.get("use_sliding_window") == Some(&Value::Bool(false)) {
        ["sliding_window", "use_sliding_window", "max_window_layers"]
            .iter()
            .for_each(|key| drop(settings.remove(*key)));
    }
    let all = |value: &Value, usual: Value| value.as_array().is_some_and(|values| values.iter().all(|it| *it == usual));
    settings.retain(|key, value| match key.as_str() {
        "layer_types" => !all(value, "full_attention".into()),
        // Which layers turn: 1 for those that do.
        "no_rope_layers" => !all(value, 1.into()),
        _ => true,
    });
    if settings.get("hidden_act") == Some(&"swish".into()) {
        settings.insert("hidden_act".into(), "silu".into());
    }
}

/// Rotary positions, wherever they stood.
#[derive(Default)]
struct Rope {
    theta: Option<Value>,
    scaling: Option<Value>,
}

impl Rope {
    /// Takes all that is said of them out of `settings`.
    fn of(settings: &mut Map<String, Value>, original_context: Option<Value>) -> Result<Self> {
        let mut rope = Self { theta: settings.remove("rope_theta").filter(|theta| !theta.is_null()), scaling: None };
        for key in ["rope_parameters", "rope_scaling"] {
            let Some(value) = settings.remove(key).filter(|value| !value.is_null()) else { continue };
            let Value::Object(parameters) = value else {
                return Err(Error::Config(format!("{key} is not an object")));
            };
            let found = Self::of_parameters(key, parameters, original_context.as_ref())?;
            rope.theta = once("rope_theta", rope.theta, found.theta)?;
            rope.scaling = once("rope_scaling", rope.scaling, found.scaling)?;
        }
        Ok(rope)
    }

    fn of_parameters(key: &str, mut given: Map<String, Value>, original_context: Option<&Value>) -> Result<Self> {
        given.retain(|_, value| !value.is_null());
        if let Some(kind) = given.keys().find(|kind| given[*kind].is_object()) {
            if let (1, Some(Value::Object(all))) = (given.len(), given.get("full_attention")) {
                return Self::of_parameters(key, all.clone(), original_context);
            }
            let what = format!("`{key}` with `{kind}`, which differs from layer to layer,");
            return Err(Error::not_supported(what, OTHER_ROPE));
        }
        let theta = given.remove("rope_theta");
        let old_name = given.remove("type");
        let name = once("rope_type", given.remove("rope_type"), old_name)?;
        let has_factor = given.get("factor").is_some_and(|factor| factor.as_f64() != Some(1.0));
        let scaling = match name.as_ref().map(|name| name.as_str().unwrap_or_default()) {
            None if has_factor => return Err(Error::Config(format!("{key} has a factor and no rope_type"))),
            None | Some("default") => None,
            Some("linear") if !has_factor => None,
            Some("llama3") => Some(llama3(&mut given, original_context)),
            Some(other) => return Err(Error::not_supported(format!("`{key}` of type `{other}`"), OTHER_ROPE)),
        };
        // Of use to other types only.
        given.remove("original_max_position_embeddings");
        match given.iter().find(|(inner, value)| !is_off(inner, value)) {
            Some((inner, value)) => Err(not_known(&format!("{key}.{inner}"), &value.to_string())),
            None => Ok(Self { theta, scaling }),
        }
    }
}

fn llama3(given: &mut Map<String, Value>, original_context: Option<&Value>) -> Value {
    let mut scaling = json!({ "rope_type": "llama3" });
    for key in ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"] {
        if let Some(value) = given.remove(key) {
            scaling[key] = value;
        }
    }
    if let (None, Some(context)) = (scaling.get("original_max_position_embeddings"), original_context) {
        scaling["original_max_position_embeddings"] = context.clone();
    }
    scaling
}

/// A value that may be said at two places, as long as it is the same.
fn once(key: &str, first: Option<Value>, second: Option<Value>) -> Result<Option<Value>> {
    let same = |a: &Value, b: &Value| a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a));
    match (first, second) {
        (Some(a), Some(b)) if !same(&a, &b) => {
            Err(Error::Config(format!("{key} is {a} at one place and {b} at another")))
        }
        (first, second) => Ok(first.or(second)),
    }
}
