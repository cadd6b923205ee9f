//! A container image builder as a library: from a Dockerfile to a graph to an image.
//!
//! ```no_run
//! fn main() -> rbuild::Result<()> {
//!     rbuild::main(async {
//!         let store = rbuild::Store::open("/var/lib/rbuild")?;
//!         let image = rbuild::Build::new(".")
//!             .tag("mypub-ip")
//!             .on_event(|event| eprintln!("{event:?}"))
//!             .run(&store)
//!             .await?;
//!         println!("{}", image.digest());
//!         image.push("registry.example.com/mypub-ip:latest").await
//!     })
//! }
//! ```

mod archive;
mod attest;
mod build;
pub mod bundle;
pub mod cdi;
pub mod container;
pub mod context;
pub mod diff;
pub mod dockerfile;
pub mod doctor;
mod emulation;
mod error;
mod export;
pub mod image;
pub mod images;
pub mod imagetools;
pub mod journal;
mod layout;
mod load;
pub mod lower;
mod packages;
pub mod platform;
pub mod registries;
mod remote;
pub mod report;
pub mod rootless;
mod secret;
mod settle;
mod share;
mod source;
pub mod space;
mod ssh;
pub mod subrequest;
mod view;
mod worker;

use std::future::Future;

pub use attest::{Attest, Detail, Provenance};
pub use build::{Build, Built, ContextReference, DockerfileSource};
pub use context::ContextSource;
pub use error::{Error, ErrorKind, Result, Source, StepError};
pub use export::{
    Annotated, Annotation, Compression, Descriptor, Destination, Output, OutputKind, Packing,
};
pub use platform::Platform;
pub use rbuild_cache::{Digest, ImageEntry, Layer, Store};
pub use rbuild_registry::{Pushed, Reference, docker_config};
pub use rbuild_runtime::init_if_asked;
pub use rbuild_solver::op::Network;
pub use rbuild_solver::{CachedBy, Change, Event, Events, FileChange, Miss, StepId, Stream, What};
pub use registries::{Access, Actions, Bucket, Credential, Mirror, Registries};
pub use secret::SecretSource;
pub use settle::settle_if_asked;
pub use share::{ActionsCache, CacheFrom, CacheMode, CacheMounts, CachePlace, CacheTo, S3Cache};
pub use source::{Lookup, ResolvedImage};
pub use ssh::SshSource;

/// Runs a future to its end, on an async runtime made for it.
///
/// It exists for one reason: a RUN step, and a container, start as a copy of this program, which
/// must be noticed before any thread starts. So this is the first thing in `main`; a program that
/// has a runtime of its own calls [`init_if_asked`], [`container::monitor_if_asked`] and
/// [`settle_if_asked`] there instead.
///
/// # Panics
/// When the system gives no threads.
pub fn main<T>(future: impl Future<Output = T>) -> T {
    init_if_asked();
    container::monitor_if_asked();
    settle_if_asked();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("an async runtime needs a few threads and descriptors")
        .block_on(future)
}
