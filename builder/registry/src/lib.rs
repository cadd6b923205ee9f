//! The OCI distribution protocol: images are pulled from and pushed to registries.
//!
//! The crate knows HTTP and OCI's documents and nothing of disks or graphs. Everything that a
//! registry says is taken as hostile: sizes are bounded, content is checked against its digest
//! while it passes, and a password or token goes to nobody but the server it is meant for.
//!
//! ```no_run
//! # async fn pull() -> Result<(), rbuild_registry::Error> {
//! use rbuild_registry::{Client, Platform, Reference, Settings};
//!
//! let client = Client::new(Settings::default());
//! let alpine: Reference = "alpine:3".parse()?;
//! let manifest = client.manifest_for(&alpine, &Platform::new("linux", "amd64", None)).await?;
//! println!("{} is {}", alpine, manifest.digest);
//! # Ok(())
//! # }
//! ```

mod actions;
mod auth;
mod blob;
mod bucket;
mod client;
mod credential;
mod digest;
pub mod docker_config;
mod endpoint;
mod error;
mod file;
mod flow;
mod manifest;
mod object;
mod platform;
mod push;
mod reference;
mod retry;
mod rules;
mod settings;
#[cfg(test)]
mod testing;
mod tls;

pub use actions::Actions;
pub use blob::{BlobStream, PartStream};
pub use bucket::{Access, Bucket};
pub use client::{Client, Login};
pub use credential::{Credential, Secret};
pub use error::{Error, Result, Task};
pub use file::{FileAnswer, FilePart, FileRequest, redacted};
pub use manifest::{CONFIG_LIMIT, MANIFEST_LIMIT, Manifest, Pin};
pub use platform::{Platform, select};
pub use push::{Body, Pushed, in_memory};
pub use reference::Reference;
pub use retry::Retry;
pub use rules::{Location, Rule, Serves};
pub use settings::{Credentials, Identity, Mirror, Proxies, Settings, Trust};
