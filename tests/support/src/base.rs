//! The base image: Debian's busybox-static with its applets, as one gzipped layer.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The name under which every registry of the tests has the base image.
pub const BASE: &str = "library/busybox:latest";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:1001:\nextra:x:1002:app\n";
const FOLDERS: [(&str, u32); 7] = [
    ("bin", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("home/app", 0o750),
    ("root", 0o700),
    ("tmp", 0o1777),
    ("usr/bin", 0o755),
];

/// The bytes of the image.
#[derive(Debug)]
pub struct Base {
    /// The gzipped layer.
    pub layer: Vec<u8>,
    /// The image config.
    pub config: Vec<u8>,
    /// The manifest, in OCI's form.
    pub manifest: Vec<u8>,
}

impl Base {
    /// The image, made once in a process.
    pub fn get() -> &'static Self {
        static BASE: OnceLock<Base> = OnceLock::new();
        BASE.get_or_init(Self::make)
    }

    fn make() -> Self {
        let tar = layer();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar).expect("memory takes every byte");
        let layer = gzip.finish().expect("memory takes every byte");
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "2024-01-02T03:04:05Z",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["sh"],
            },
            "rootfs": { "type": "layers", "diff_ids": [digest(&tar)] },
            "history": [
                { "created": "2024-01-02T03:04:05Z", "created_by": "busybox-static" },
                { "created": "2024-01-02T03:04:05Z", "created_by": "CMD [\"sh\"]",
                  "empty_layer": true },
            ],
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&config), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": digest(&layer), "size": layer.len(),
            }],
        });
        let manifest = manifest.to_string().into_bytes();
        Self { layer, config, manifest }
    }
}

/// `sha256:…` of bytes.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The files of the image: every other applet is a hard link of busybox, the rest are symlinks.
fn layer() -> Vec<u8> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"];
    let busybox = busybox.into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("the tests need Debian's package busybox-static");
    let list = Command::new(busybox).arg("--list").output().expect("busybox lists its applets");
    let applets = String::from_utf8(list.stdout).expect("names of applets are text");
    let mut tar = Builder::new(Vec::new());
    for (path, mode) in FOLDERS {
        add(&mut tar, EntryType::Directory, mode, path, &[]);
    }
    let program = fs::read(busybox).expect("busybox can be read");
    add(&mut tar, EntryType::Regular, 0o755, "bin/busybox", &program);
    add(&mut tar, EntryType::Regular, 0o644, "etc/passwd", PASSWD.as_bytes());
    add(&mut tar, EntryType::Regular, 0o644, "etc/group", GROUP.as_bytes());
    for (number, applet) in applets.lines().filter(|name| *name != "busybox").enumerate() {
        let (kind, folder, target) = match number % 2 {
            0 => (EntryType::Link, "bin", "bin/busybox"),
            _ => (EntryType::Symlink, "usr/bin", "../../bin/busybox"),
        };
        // A shell is looked for here, whatever its number.
        let folder = if applet == "sh" { "bin" } else { folder };
        let target = if applet == "sh" && number % 2 == 1 { "busybox" } else { target };
        let mut header = header(kind, 0o777);
        tar.append_link(&mut header, format!("{folder}/{applet}"), target)
            .expect("memory takes every byte");
    }
    tar.into_inner().expect("memory takes every byte")
}

fn add(tar: &mut Builder<Vec<u8>>, kind: EntryType, mode: u32, path: &str, bytes: &[u8]) {
    let mut header = header(kind, mode);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes).expect("memory takes every byte");
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(0);
    header
}
