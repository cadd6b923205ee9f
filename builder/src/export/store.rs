//! The default output: the image in rbuild's own store, under its names.

use rbuild_solver::What;

use super::{Exporter, Finished};
use crate::error::{Error, Result};
use crate::images;

/// Names the image in the store; one without a name is kept under its id.
///
/// # Errors
/// Several platforms: a name stands for one image.
pub(super) fn export(exporter: &Exporter, images: &[Finished], names: &[String]) -> Result<()> {
    let Exporter { store, events, step, .. } = exporter;
    let failed = || Error::store("put the image into the store");
    let [image] = images else {
        return Err(Error::Usage("the store names images of one platform only".to_owned()));
    };
    store.write_blob(&image.config_bytes).map_err(failed())?;
    let tell = |part: String| {
        events.emit(*step, What::Progress { part, current: 0, total: None, done: true });
    };
    tell(format!("writing image {}", image.id));
    let entry = image.entry();
    for name in names {
        images::set_name(store, name, &entry)?;
        tell(format!("naming to {name}"));
    }
    if names.is_empty() {
        images::keep_unnamed(store, &entry)?;
    }
    Ok(())
}
