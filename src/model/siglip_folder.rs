//! What a Hugging Face SigLIP folder says beside its weights: `config.json` and `preprocessor_config.json`. Whatever would
//! make other features of the same picture is refused.

use serde_json::Value;

use crate::model::foreign::{known_settings, not_known};
use crate::{Error, Result};

const OTHER_TOWER: &str =
    "Take a SigLIP tower such as google/siglip-base-patch16-224, or one of SigLIP 2 with a fixed size.";

/// What `SiglipConfig` has, and what is checked here.
const READ: [&str; 10] = [
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "layer_norm_eps",
    "hidden_act",
    "select_layer",
    "num_channels",
];

/// The tower's settings out of a folder's `config.json`, whose `model_type` is `kind`.
pub(crate) fn tower_settings(kind: &str, config: &Value) -> Result<Value> {
    if !["siglip", "siglip_vision_model"].contains(&kind) {
        return Err(Error::not_supported(format!("a vision tower of the type `{kind}`"), OTHER_TOWER));
    }
    let tower = config.get("vision_config").unwrap_or(config);
    let tower_kind = tower.get("model_type").and_then(Value::as_str).unwrap_or("siglip_vision_model");
    if !["siglip", "siglip_vision_model"].contains(&tower_kind) {
        return Err(Error::not_supported(format!("a vision tower of the type `{tower_kind}`"), OTHER_TOWER));
    }
    let mut settings = known_settings(tower.clone(), &READ)?;
    if let Some(channels) = settings.remove("num_channels").filter(|channels| *channels != 3) {
        return Err(not_known("num_channels", &channels.to_string()));
    }
    Ok(settings.into())
}

/// Whether a tensor of a checkpoint is of what is read: the embeddings, and the layers up to the selected one. The text
/// half, the head, later layers than `layers` and the table of position numbers are not.
pub(crate) fn reads(layers: usize, name: &str) -> bool {
    match parts(name)[..] {
        ["embeddings", "position_ids"] => false,
        ["embeddings", ..] => true,
        ["encoder", "layers", layer, ..] => layer.parse().is_ok_and(|layer: usize| layer < layers),
        _ => false,
    }
}

/// Fails for a tensor in the midst of the layers that they do not have here.
#[cfg(feature = "convert")]
pub(crate) fn check_known(name: &str) -> Result<()> {
    let is_known = matches!(
        parts(name)[..],
        ["embeddings", "patch_embedding", "weight" | "bias"]
            | ["embeddings", "position_embedding", "weight"]
            | ["encoder", "layers", _, "layer_norm1" | "layer_norm2", "weight" | "bias"]
            | ["encoder", "layers", _, "self_attn", "q_proj" | "k_proj" | "v_proj" | "out_proj", "weight" | "bias"]
            | ["encoder", "layers", _, "mlp", "fc1" | "fc2", "weight" | "bias"]
    );
    if is_known { Ok(()) } else { Err(crate::model::foreign::not_read(name)) }
}

fn parts(name: &str) -> Vec<&str> {
    let name = name.strip_prefix("vision.").unwrap_or(name);
    name.strip_prefix("vision_model.").unwrap_or(name).split('.').collect()
}

/// Holds a `preprocessor_config.json` against what is done with a picture here: squashed to the tower's square, and from
/// bytes to -1..=1.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn check_preprocessor(json: &str, image_size: usize) -> Result<()> {
    const SETTINGS: [&str; 11] = [
        "do_resize",
        "do_rescale",
        "do_normalize",
        "do_convert_rgb",
        "size",
        "resample",
        "rescale_factor",
        "image_mean",
        "image_std",
        "image_processor_type",
        "processor_class",
    ];
    let value: Value = serde_json::from_str(json).map_err(|error| Error::Config(error.to_string()))?;
    // transformers 5 keeps it inside `processor_config.json`.
    let value = value.get("image_processor").cloned().unwrap_or(value);
    let refuse = |key: &str, value: &Value| {
        let what = format!("`{key}` = {value} in preprocessor_config.json (another way to read a picture)");
        Err(Error::not_supported(what, OTHER_TOWER))
    };
    let near = |value: &Value, want: f64| value.as_f64().is_some_and(|number| (number - want).abs() < 1e-6);
    for (key, value) in known_settings(value, &SETTINGS)? {
        let is_ours = match key.as_str() {
            "do_resize" | "do_rescale" | "do_normalize" => value == true,
            "rescale_factor" => near(&value, 1.0 / 255.0),
            "image_mean" | "image_std" => {
                near(&value, 0.5) || value.as_array().is_some_and(|all| all.iter().all(|one| near(one, 0.5)))
            }
            "size" => {
                let sides = [value.get("height"), value.get("width")];
                value == image_size || sides.iter().all(|side| side.is_some_and(|side| *side == image_size))
            }
            // Bilinear, as here, and bicubic, SigLIP's own: docs/weights.md says what that makes of features.
            "resample" => value == 2 || value == 3,
            "image_processor_type" => value.as_str().is_some_and(|kind| kind.starts_with("SiglipImage")),
            _ => true,
        };
        if !is_ours {
            return refuse(&key, &value);
        }
    }
    Ok(())
}
