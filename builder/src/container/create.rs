//! Making containers.

use jiff::Timestamp;
use rbuild_cache::Store;

use super::error::Result;
use super::folder::{Folder, Record};
use super::names;
use super::note::note;
use super::options::{ImageToRun, Network, RunOptions};
use super::remove::remove_folder;
use super::{network, sandbox, volumes};

/// A container that was made, and not started yet.
#[derive(Debug, Clone)]
pub struct Created {
    /// The id: 64 hexadecimal digits.
    pub id: String,
    /// The name.
    pub name: String,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
    /// Whether another runtime makes it.
    pub(crate) is_foreign: bool,
    /// Whether it has a terminal.
    pub(crate) tty: bool,
    /// Whether it is removed when it stops.
    pub(crate) remove: bool,
}

/// Makes a container of an image.
pub fn create(store: &Store, image: &ImageToRun, mut options: RunOptions) -> Result<Created> {
    network::settle(&mut options)?;
    sandbox::check(&options)?;
    // Until the container's record says so.
    let _visit = store.enter()?;
    for layers in std::iter::once(&image.layers).chain(volumes::layers(&options)) {
        store.uses_layers(layers);
    }
    name_networks(store, &mut options)?;
    // Until the container's record says so, nobody knows that its volumes are used.
    let turn = volumes::turn_to_use(store, &options, &image.config.config)?;
    let anonymous = volumes::name_all(store, &mut options, &image.config.config)?;
    let (tty, remove, notes) = (options.tty, options.remove, notes(&options));
    let is_foreign = options.runtime.is_some();
    let wanted = options.name.take();
    let record = Record {
        created: Timestamp::now(),
        reference: image.reference.clone(),
        image: image.id,
        layers: image.layers.clone(),
        config: image.config.config.clone(),
        options,
        anonymous,
    };
    sandbox::argv(&record)?;
    let id = names::new_id()?;
    let (folder, held) = Folder::create(store, &id)?;
    let make = || {
        let name = match wanted {
            Some(name) => names::claim(store, &name, &id).map(|()| name),
            None => names::claim_any(store, &id),
        }?;
        folder.write_name(&name)?;
        folder.make_layer()?;
        folder.write_record(&record)?;
        volumes::make_all(store, &record)?;
        note(&folder, &record, "create", &[]);
        Ok(name)
    };
    let made = make();
    drop(turn);
    match made {
        Ok(name) => Ok(Created { id, name, notes, is_foreign, tty, remove }),
        Err(error) => {
            let _ = remove_folder(store, &folder, true, held);
            Err(error)
        }
    }
}

/// Has networks by their names, also where an id was typed; one that is not there is an error.
fn name_networks(store: &Store, options: &mut RunOptions) -> Result<()> {
    if let Network::Named(name) = &mut options.network {
        *name = network::find(store, name)?.name;
    }
    for connection in &mut options.more_networks {
        connection.network = network::find(store, &connection.network)?.name;
    }
    Ok(())
}

fn notes(options: &RunOptions) -> Vec<String> {
    let mut notes = Vec::new();
    if options.network == Network::Host && !options.publish.is_empty() {
        notes.push("published ports are discarded in the host's network".to_owned());
    }
    notes
}
