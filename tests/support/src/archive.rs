//! Reading archives of images, to compare what is in them with what they say.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::digest;

/// The regular files of a tar archive, by their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Reads an archive of an image.
pub fn read(path: &Path) -> Files {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries(&bytes).into_iter().filter(|entry| entry.kind == '-').map(Entry::into_pair).collect()
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path, without a slash at its ends.
    pub path: String,
    /// As `ls -l` writes it: `-`, `d`, `l`, `p`, or `h` for a hard link.
    pub kind: char,
    /// The permission bits.
    pub mode: u32,
    /// The owner and the group.
    pub owner: (u64, u64),
    /// When its contents changed, in seconds.
    pub mtime: u64,
    /// The names of its extended attributes.
    pub xattrs: Vec<String>,
    /// Where a link points.
    pub target: String,
    /// The contents of a file.
    pub bytes: Vec<u8>,
}

impl Entry {
    fn into_pair(self) -> (String, Vec<u8>) {
        (self.path, self.bytes)
    }
}

/// The entries of a tar archive, plain or gzipped, in their order.
pub fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut plain = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).expect("valid gzip");
    } else {
        plain.extend_from_slice(bytes);
    }
    let mut archive = tar::Archive::new(plain.as_slice());
    let entries = archive.entries().expect("an archive");
    entries.map(|entry| read_entry(entry.expect("a whole entry"))).collect()
}

fn read_entry(mut entry: tar::Entry<&[u8]>) -> Entry {
    let path = String::from_utf8_lossy(&entry.path_bytes()).trim_matches('/').to_owned();
    let target = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
    let xattrs = xattrs(&mut entry);
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).expect("a whole entry");
    let header = entry.header();
    let kind = match header.entry_type() {
        tar::EntryType::Directory => 'd',
        tar::EntryType::Symlink => 'l',
        tar::EntryType::Link => 'h',
        tar::EntryType::Fifo => 'p',
        _ => '-',
    };
    Entry {
        path,
        kind,
        mode: header.mode().expect("a mode") & 0o7777,
        owner: (header.uid().expect("an owner"), header.gid().expect("a group")),
        mtime: header.mtime().expect("a time"),
        xattrs,
        target: target.unwrap_or_default(),
        bytes,
    }
}

fn xattrs(entry: &mut tar::Entry<&[u8]>) -> Vec<String> {
    let Some(extensions) = entry.pax_extensions().expect("valid pax records") else {
        return Vec::new();
    };
    let name = |extension: Result<tar::PaxExtension<'_>, _>| {
        let extension = extension.expect("a valid pax record");
        let key = extension.key().expect("names are text");
        key.strip_prefix("SCHILY.xattr.").map(str::to_owned)
    };
    extensions.filter_map(name).collect()
}

/// An image as an archive gives it, with every digest on the way checked.
#[derive(Debug)]
pub struct Image {
    /// The config.
    pub config: Value,
    /// The layers, lowest first, as they are stored.
    pub layers: Vec<Vec<u8>>,
}

/// Reads the one image of an OCI archive.
pub fn oci(files: &Files) -> Image {
    let layout = parse(&files["oci-layout"]);
    assert_eq!(layout["imageLayoutVersion"], "1.0.0");
    let index = parse(&files["index.json"]);
    let blob = |descriptor: &Value| {
        let name = descriptor["digest"].as_str().expect("a digest");
        let bytes = &files[&format!("blobs/{}", name.replace(':', "/"))];
        assert_eq!(digest(bytes), name, "a blob under another's name");
        assert_eq!(descriptor["size"], bytes.len(), "the size of {name}");
        bytes.clone()
    };
    let mut manifest = parse(&blob(&index["manifests"][0]));
    if manifest.get("manifests").is_some() {
        manifest = parse(&blob(&manifest["manifests"][0]));
    }
    let layers = manifest["layers"].as_array().expect("layers").iter().map(blob).collect();
    check(Image { config: parse(&blob(&manifest["config"])), layers })
}

/// Reads the image of an archive as `docker save` writes it that has this name.
pub fn docker(files: &Files, name: &str) -> Image {
    let manifest = parse(&files["manifest.json"]);
    let images = manifest.as_array().expect("a list of images");
    let has_name = |image: &&Value| {
        image["RepoTags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == name))
    };
    let image = images.iter().find(has_name).unwrap_or_else(|| panic!("no {name}: {manifest}"));
    let file = |name: &Value| files[name.as_str().expect("a path")].clone();
    let layers = image["Layers"].as_array().expect("layers").iter().map(file).collect();
    check(Image { config: parse(&file(&image["Config"])), layers })
}

/// Demands that the layers are those that the config names.
fn check(image: Image) -> Image {
    let mut found = Vec::new();
    for layer in &image.layers {
        let mut plain = Vec::new();
        if layer.starts_with(&[0x1f, 0x8b]) {
            let mut gzip = flate2::read::MultiGzDecoder::new(layer.as_slice());
            gzip.read_to_end(&mut plain).expect("valid gzip");
            found.push(Value::from(digest(&plain)));
        } else {
            found.push(Value::from(digest(layer)));
        }
    }
    assert_eq!(image.config["rootfs"]["diff_ids"], Value::from(found));
    image
}

/// Reads JSON.
pub fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}
