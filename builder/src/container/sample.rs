//! A container for tests of the parts that start none.

use super::folder::Record;
use super::network::{Endpoint, Subnet};
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

/// A place in a network.
pub(crate) fn endpoint() -> Endpoint {
    Endpoint {
        network: "app".to_owned(),
        network_id: "0".repeat(64),
        device: "eth0".to_owned(),
        address: [10, 1, 0, 2].into(),
        subnet: Subnet::of([10, 1, 0, 0].into(), 24),
        gateway: [10, 1, 0, 1].into(),
        ipv6: None,
        mac: "02:42:0a:01:00:02".parse().expect("it is one"),
        internal: false,
        aliases: Vec::new(),
    }
}
