//! What is attested of an image beside the image itself: how it was made, and what is in it.

pub(crate) mod files;
mod license;
pub(crate) mod provenance;
pub(crate) mod purl;
pub(crate) mod spdx;

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// What every statement says that it is.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// A statement on the image of one platform, as in-toto has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attestation {
    /// What kind of statement it is: `https://slsa.dev/provenance/v1`.
    pub(crate) predicate_type: String,
    /// What is stated, as JSON.
    pub(crate) predicate: Vec<u8>,
    /// Whether it goes with images only, and not with files.
    pub(crate) inline_only: bool,
}

impl Attestation {
    /// The JSON of the statement on these subjects.
    pub(crate) fn statement(&self, subjects: &[Value]) -> Result<Vec<u8>> {
        let Self { predicate_type, predicate, .. } = self;
        let predicate: Value = serde_json::from_slice(predicate)
            .map_err(Error::malformed(format!("the attestation `{predicate_type}`")))?;
        let statement = json!({
            "_type": STATEMENT,
            "predicateType": predicate_type,
            "subject": subjects,
            "predicate": predicate,
        });
        Ok(statement.to_string().into_bytes())
    }
}

/// What a build attests of its images; nothing where nothing is said, so that an image for one
/// platform is a plain manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attest {
    /// How they were made.
    pub provenance: Option<Provenance>,
    /// Which packages are in them.
    pub sbom: bool,
}

/// How much is told of how an image was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// How much.
    pub detail: Detail,
    /// Who made it, as a URI; the maker of the build says so, and nobody checks it.
    pub builder: String,
    /// Whether the build is meant to give the same bytes each time.
    pub reproducible: bool,
    /// Whether it is told beside images only, and not as a file beside files.
    pub inline_only: bool,
}

/// How much is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// Times, sources, and which flags were used; no value of an argument or a label.
    Min,
    /// Also the Dockerfile, its steps, values of arguments, and the names of secrets. What a
    /// secret holds is never told.
    #[default]
    Max,
}
