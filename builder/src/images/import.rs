//! An image out of nothing but files: `import` of a tar.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use jiff::Timestamp;
use rbuild_cache::{Digest, ImageEntry, Store};
use rbuild_solver::Events;
use rbuild_solver::op::HttpFile;

use super::change::changed;
use super::{enter, keep_unnamed, set_name};
use crate::archive;
use crate::error::{Error, Result};
use crate::image::{ContainerConfig, History, ImageConfig, RootFs};
use crate::platform::{self, Platform};
use crate::registries::Registries;
use crate::remote::{Remotes, Versions};
use crate::secret::Secrets;
use crate::source;
use crate::ssh::Agents;
use crate::worker::fetch::blocking;

/// What the image of an import is besides its files.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// Its name.
    pub name: Option<String>,
    /// Instructions of a Dockerfile that make no layer, such as `CMD sh`.
    pub changes: Vec<String>,
    /// The line of its history.
    pub message: String,
    /// The platform that it is for; this machine's where there is none.
    pub platform: Option<Platform>,
}

/// Makes an image of one layer of a tar, plain or compressed; gives its id.
///
/// # Errors
/// What is no tar, a change that is none, or a store that cannot be written to.
pub fn import(store: &Store, tar: impl Read + Send, options: &Import) -> Result<Digest> {
    let _visit = enter(store)?;
    let name = options.name.as_deref().map(source::parse).transpose()?;
    let config = config(options)?;
    let failed = || Error::store("unpack the archive");
    let staged = store.stage().map_err(failed())?;
    let unread = |source| Error::Read { path: "the archive".into(), source };
    let root = File::open(staged.files()).map_err(unread)?;
    let tar = archive::stream(tar).map_err(unread)?;
    rbuild_cache::unpack_into(root.as_fd(), tar, None).map_err(failed())?;
    let layer = staged.commit(None).map_err(failed())?;
    store.uses_layers([&layer]);
    let diff_id = store.diff_id(&layer).map_err(Error::store("digest the layer"))?;
    let size = store.layer_size(&layer).map_err(Error::store("measure the layer"))?.unwrap_or(0);
    let config =
        ImageConfig { rootfs: RootFs { diff_ids: vec![diff_id], ..RootFs::default() }, ..config };
    let id = store.write_blob(&config.to_json()).map_err(Error::store("keep the config"))?;
    let entry = ImageEntry {
        manifest: None,
        config: id,
        layers: vec![layer],
        size,
        created: Timestamp::now().as_second(),
        platforms: Vec::new(),
    };
    match name {
        Some(name) => {
            set_name(store, &name.to_string(), &entry)?;
        }
        None => keep_unnamed(store, &entry)?,
    }
    Ok(id)
}

/// The same with a tar at a URL.
///
/// # Errors
/// As [`import`], and a server that does not give it.
pub async fn import_url(
    store: &Store,
    registries: &Registries,
    url: &str,
    options: &Import,
) -> Result<Digest> {
    let _visit = enter(store)?;
    let remotes = Remotes {
        store: store.clone(),
        registries: registries.clone(),
        secrets: Secrets::default(),
        agents: Agents::default(),
        events: Events::none(),
        versions: Versions::default(),
    };
    let file = HttpFile { url: url.to_owned(), name: "archive".to_owned(), checksum: None };
    let fetched = remotes.file(&file).await?;
    let (store, options) = (store.clone(), options.clone());
    blocking(move || {
        let folder = fetched.snapshot.layers.first().and_then(|layer| store.layer_path(layer));
        let path = folder.unwrap_or_default().join(&file.name);
        let tar = File::open(&path).map_err(|source| Error::Read { path, source })?;
        import(&store, tar, &options)
    })
    .await
}

/// The config of the image, still without its layer.
fn config(options: &Import) -> Result<ImageConfig> {
    let platform = options.platform.clone().unwrap_or_else(platform::host);
    let now = Timestamp::now();
    let history =
        History { created: Some(now), comment: options.message.clone(), ..History::default() };
    Ok(ImageConfig {
        config: changed(ContainerConfig::default(), &options.changes, &platform)?,
        created: Some(now),
        history: vec![history],
        ..ImageConfig::scratch(&platform)
    })
}
