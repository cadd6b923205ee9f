//! Names and ids of containers, and finding a container by either.
//!
//! `containers/names/<name>` is a link to the folder of the id: made in one step, by one process.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rbuild_cache::Store;

use super::error::{Error, Result};
use super::folder::{CONTAINERS, Folder};
use super::parse::is_name;

pub(crate) const NAMES: &str = "names";

const ADJECTIVES: [&str; 48] = [
    "able", "amber", "apt", "bold", "brave", "brisk", "calm", "candid", "clever", "crisp", "deft",
    "eager", "early", "fair", "fine", "fleet", "fond", "frank", "gentle", "glad", "happy", "hardy",
    "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "merry", "modest",
    "neat", "noble", "patient", "proud", "quick", "quiet", "ready", "serene", "sharp", "spry",
    "steady", "sunny", "tidy", "vivid", "warm", "wise",
];
const SURNAMES: [&str; 48] = [
    "abel",
    "ampere",
    "babbage",
    "banach",
    "bernoulli",
    "bohr",
    "boole",
    "boyle",
    "cantor",
    "carson",
    "cauchy",
    "church",
    "curie",
    "darwin",
    "dijkstra",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "fourier",
    "galois",
    "gauss",
    "germain",
    "goedel",
    "hamilton",
    "hilbert",
    "hopper",
    "huygens",
    "jacobi",
    "kepler",
    "kovalevskaya",
    "lagrange",
    "laplace",
    "leibniz",
    "lovelace",
    "maxwell",
    "meitner",
    "mendel",
    "newton",
    "noether",
    "ohm",
    "pascal",
    "planck",
    "ramanujan",
    "riemann",
    "shannon",
    "turing",
    "volta",
];

/// The folders of all containers, in no order; what a dead process left half made is swept.
pub(crate) fn all(store: &Store) -> Result<Vec<Folder>> {
    let path = store.root().join(CONTAINERS);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", &path)(error)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::file("read", &path))?.file_name();
        if let Some(id) = name.to_str().filter(|name| is_id(name)) {
            folders.push(Folder::new(store, id));
        }
    }
    Ok(folders)
}

/// The names of all containers by id.
pub(crate) fn names(store: &Store) -> Result<BTreeMap<String, Vec<String>>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let path = store.root().join(CONTAINERS).join(NAMES);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(Error::file("read", &path)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::file("read", &path))?;
        let id = owner(&entry.path());
        if let (Some(id), Ok(name)) = (id, entry.file_name().into_string()) {
            names.entry(id).or_default().push(name);
        }
    }
    Ok(names)
}

/// The container with a name, an id, or the only id that begins so.
pub(crate) fn find(store: &Store, name: &str) -> Result<Folder> {
    let is_there = |id: &str| -> Result<Option<Folder>> {
        let folder = Folder::new(store, id);
        Ok(folder.record()?.map(|_| folder))
    };
    if is_id(name)
        && let Some(folder) = is_there(name)?
    {
        return Ok(folder);
    }
    if is_name(name)
        && let Some(id) = owner(&link(store, name))
        && let Some(folder) = is_there(&id)?
    {
        return Ok(folder);
    }
    let not_found = || Error::NotFound(name.to_owned());
    if name.is_empty() || !name.bytes().all(is_digit) {
        return Err(not_found());
    }
    let mut found = None;
    for folder in all(store)? {
        if folder.id.starts_with(name) && folder.record()?.is_some() {
            if found.is_some() {
                return Err(Error::Ambiguous(name.to_owned()));
            }
            found = Some(folder);
        }
    }
    found.ok_or_else(not_found)
}

/// The name of a container: that which it was given last, if that is still its own.
pub(crate) fn name(folder: &Folder) -> Option<String> {
    let store = &folder.store;
    let is_its = |name: &String| by_name(store, name).is_some_and(|id| id == folder.id);
    let look = || names(store).ok()?.remove(&folder.id)?.into_iter().next();
    folder.name().filter(is_its).or_else(look)
}

/// The id that has exactly this name, whether or not there is such a container.
pub(crate) fn by_name(store: &Store, name: &str) -> Option<String> {
    is_name(name).then(|| owner(&link(store, name))).flatten()
}

/// The id and the name of a new container.
pub(crate) fn new_id() -> Result<String> {
    let mut bytes = [0; 32];
    random(&mut bytes)?;
    Ok(bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Gives a container a name that no other has.
pub(crate) fn claim(store: &Store, name: &str, id: &str) -> Result<()> {
    if !is_name(name) {
        return Err(Error::InvalidName(name.to_owned()));
    }
    let names = store.root().join(CONTAINERS).join(NAMES);
    fs::create_dir_all(&names).map_err(Error::file("make the folder", &names))?;
    let path = link(store, name);
    match symlink(Path::new("..").join(id), &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map_err(Error::file("make the link", &path)),
    }
    // Processes that find the same link to nothing must not remove each other's new one.
    let _turn = store.lock_wait("container-names", |_| ())?;
    if let Some(by) = owner(&path).filter(|by| Folder::new(store, by).path().exists()) {
        return Err(Error::NameTaken { name: name.to_owned(), by: by[..12].to_owned() });
    }
    let _ = fs::remove_file(&path);
    symlink(Path::new("..").join(id), &path).map_err(Error::file("make the link", &path))
}

/// Gives a container a generated name, and returns it.
pub(crate) fn claim_any(store: &Store, id: &str) -> Result<String> {
    for attempt in 0_u32.. {
        let mut bytes = [0; 2];
        random(&mut bytes)?;
        let [adjective, surname] = bytes.map(usize::from);
        let mut name = format!(
            "{}_{}",
            ADJECTIVES[adjective % ADJECTIVES.len()],
            SURNAMES[surname % SURNAMES.len()]
        );
        if attempt > 4 {
            name.push_str(&attempt.to_string());
        }
        match claim(store, &name, id) {
            Err(Error::NameTaken { .. }) => {}
            claimed => return claimed.map(|()| name),
        }
    }
    unreachable!("there is always another attempt")
}

/// Takes a name away from a container.
pub(crate) fn release(store: &Store, name: &str, id: &str) {
    let path = link(store, name);
    if owner(&path).is_some_and(|owner| owner == id) {
        let _ = fs::remove_file(path);
    }
}

fn link(store: &Store, name: &str) -> PathBuf {
    store.root().join(CONTAINERS).join(NAMES).join(name)
}

/// The id that a name's link points at.
fn owner(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    let id = target.file_name()?.to_str()?;
    is_id(id).then(|| id.to_owned())
}

pub(crate) fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_digit)
}

pub(crate) fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(io::Error::other)
        .map_err(Error::system("get random bytes from the system"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_one_container_until_that_is_gone() {
        let store = Store::temporary().unwrap();
        let (first, second) = (new_id().unwrap(), new_id().unwrap());
        let (folder, _held) = Folder::create(&store, &first).unwrap();
        claim(&store, "web", &first).unwrap();
        let taken = claim(&store, "web", &second);
        assert!(matches!(taken, Err(Error::NameTaken { by, .. }) if by == first[..12]));
        folder.remove().unwrap();
        claim(&store, "web", &second).unwrap();
        assert_eq!(names(&store).unwrap()[&second], ["web"]);
        release(&store, "web", &first);
        assert_eq!(names(&store).unwrap().len(), 1);
        release(&store, "web", &second);
        assert!(names(&store).unwrap().is_empty());
    }

    #[test]
    fn generated_names_are_valid_and_never_taken() {
        let store = Store::temporary().unwrap();
        let id = new_id().unwrap();
        let _folder = Folder::create(&store, &id).unwrap();
        let mut seen: Vec<_> = (0..200).map(|_| claim_any(&store, &id).unwrap()).collect();
        assert!(seen.iter().all(|name| is_name(name)));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 200);
    }

    #[test]
    fn a_half_made_container_is_not_found() {
        let store = Store::temporary().unwrap();
        let id = new_id().unwrap();
        let _folder = Folder::create(&store, &id).unwrap();
        claim(&store, "half", &id).unwrap();
        for name in ["half", &id, &id[..12], "", "../x", "é"] {
            assert!(matches!(find(&store, name), Err(Error::NotFound(_))), "{name}");
        }
    }
}
