//! One description as it stands in a file, JSON or YAML.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::name::{is_device, is_kind};

/// The versions of the format whose fields are all known here.
const VERSIONS: [&str; 9] =
    ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "1.0.0", "1.1.0"];

/// A description: the devices of one kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    cdi_version: String,
    /// `vendor/class`.
    pub(super) kind: String,
    #[serde(default, deserialize_with = "texts")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) devices: Vec<DeviceSpec>,
    /// What comes with each device.
    #[serde(default, rename = "containerEdits")]
    pub(super) edits: Edits,
}

/// One device of a description.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceSpec {
    #[serde(deserialize_with = "text")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "texts")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, rename = "containerEdits")]
    pub(super) edits: Edits,
}

/// What a device changes in a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) mounts: Vec<BindMount>,
    pub(super) hooks: Vec<Hook>,
    #[serde(rename = "additionalGids")]
    pub(super) groups: Vec<u32>,
    intel_rdt: Option<serde::de::IgnoredAny>,
    net_devices: Vec<serde::de::IgnoredAny>,
}

/// A node below `/dev`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    pub(super) host_path: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) file_mode: Option<u32>,
    pub(super) permissions: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// A path of the host that is mounted.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BindMount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) options: Vec<String>,
}

/// A program of the host that would run around the container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hook {
    #[serde(rename = "hookName")]
    pub(super) stage: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<u64>,
}

impl Spec {
    /// Reads a description in JSON.
    pub(super) fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str::<Self>(text).map_err(|error| error.to_string())?.checked()
    }

    /// Reads a description in YAML.
    pub(super) fn from_yaml(text: &str) -> Result<Self, String> {
        // `0666` is what people write for the mode of a file.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let spec = serde_saphyr::from_str_with_options::<Self>(text, options);
        spec.map_err(|error| error.to_string())?.checked()
    }

    fn checked(self) -> Result<Self, String> {
        if !VERSIONS.contains(&self.cdi_version.trim_start_matches('v')) {
            return Err(format!("its version `{}` is not known", self.cdi_version));
        }
        if !is_kind(&self.kind) {
            return Err(format!("`{}` is no kind of devices", self.kind));
        }
        match self.devices.iter().find(|device| !is_device(&device.name)) {
            Some(device) => Err(format!("`{}` is no name of a device", device.name)),
            None => Ok(self),
        }
    }
}

impl Edits {
    /// What is asked for that needs a kernel feature which containers here do not use.
    pub(super) fn beyond(&self) -> Option<&'static str> {
        match self {
            Self { intel_rdt: Some(_), .. } => Some("a class of Intel's Resource Director"),
            Self { net_devices, .. } if !net_devices.is_empty() => Some("network devices"),
            _ => None,
        }
    }
}

/// A text, or what YAML takes for a number or a truth where no quotes stand.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Truth(bool),
    Whole(i64),
}

impl From<Scalar> for String {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => text,
            Scalar::Truth(truth) => truth.to_string(),
            Scalar::Whole(number) => number.to_string(),
        }
    }
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Scalar::deserialize(from).map(String::from)
}

fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let map = Option::<BTreeMap<String, Scalar>>::deserialize(from)?.unwrap_or_default();
    Ok(map.into_iter().map(|(key, value)| (key, value.into())).collect())
}
