//! A container for tests of the parts that start none.

use super::folder::Record;
use super::options::RunOptions;
use crate::image::ContainerConfig;

/// A container of an empty image.
pub(crate) fn record() -> Record {
    Record {
        created: jiff::Timestamp::UNIX_EPOCH,
        reference: "image".to_owned(),
        image: rbuild_cache::Digest::from_bytes([0; 32]),
        layers: Vec::new(),
        config: ContainerConfig::default(),
        options: RunOptions::default(),
        anonymous: Vec::new(),
    }
}
