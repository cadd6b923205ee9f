//! The default output: the image in rbuild's own store, under its names.

use rbuild_cache::ImageEntry;
use rbuild_solver::What;

use super::{Exporter, Finished};
use crate::error::{Error, Result};
use crate::images;
use crate::platform;
use crate::source;

/// Names the images in the store, those of several platforms together; without a name they are
/// kept under the id of the one for this machine.
///
/// # Errors
/// No image, or a store that cannot be written to.
pub(super) fn export(exporter: &Exporter, images: &[Finished], names: &[String]) -> Result<()> {
    let Exporter { store, events, step, .. } = exporter;
    let tell = |part: String| {
        events.emit(*step, What::Progress { part, current: 0, total: None, done: true });
    };
    for image in images {
        let written = store.write_blob(&image.config_bytes);
        written.map_err(Error::store("put the image into the store"))?;
        tell(format!("writing image {}", image.id));
    }
    let entries = images.iter().map(Finished::entry).collect();
    let main = platform::main_of(images.iter().map(|image| &image.platform));
    let entry = ImageEntry::of_platforms(entries, main, jiff::Timestamp::now().as_second());
    let entry = entry.ok_or_else(|| Error::Usage("there is no image".to_owned()))?;
    for name in names {
        // What is known costs nothing.
        if images::set_name(store, name, &entry)? {
            let familiar = source::parse(name).map_or(name.clone(), |name| name.familiar());
            images::note(store, "tag", &entry.config, &familiar);
        }
        tell(format!("naming to {name}"));
    }
    if names.is_empty() {
        images::keep_unnamed(store, &entry)?;
    }
    Ok(())
}
