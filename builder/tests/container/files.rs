//! What containers see of the host's files, and what volumes keep.

use std::fs;
use std::path::Path;

use rbuild::container::{self, Mount};

use crate::Test;
use crate::stage::{Stage, script};

pub(crate) const TESTS: &[Test] = &[
    ("a_bind_shows_the_hosts_files", a_bind_shows_the_hosts_files),
    ("a_volume_is_filled_once_and_kept", a_volume_is_filled_once_and_kept),
    ("anonymous_volumes_go_with_their_container", anonymous_volumes_go_with_their_container),
    ("memory_and_read_only_files", memory_and_read_only_files),
];

fn a_bind_shows_the_hosts_files() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let mut options = script("echo inside > /here/file; cat /there/file; echo no > /there/file");
    options.mounts = vec![
        Mount::volume("./made:/here", folder.path()).unwrap(),
        Mount::volume("./made:/there:ro", folder.path()).unwrap(),
    ];
    let output = stage.output(&options);
    assert_eq!(output.stdout, b"inside\n");
    assert!(String::from_utf8(output.stderr).unwrap().contains("Read-only"));
    assert_eq!(fs::read_to_string(folder.path().join("made/file")).unwrap(), "inside\n");
    // What is spelled out is not made.
    let fields = [("type", "bind"), ("src", "missing"), ("dst", "/here")];
    let fields = fields.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
    options.mounts = vec![Mount::from_fields(&fields, folder.path()).unwrap()];
    let output = stage.output(&options);
    assert_eq!(output.status.code(), Some(125));
    assert!(!folder.path().join("missing").exists());
}

fn a_volume_is_filled_once_and_kept() {
    let stage = Stage::new();
    let mut options =
        script("cat /data/*; stat -c %a /data; echo more > /data/more; rm /data/seed");
    options.mounts = vec![Mount::volume("keep:/data", Path::new("/")).unwrap()];
    options.remove = true;
    assert_eq!(stage.output(&options).stdout, b"seed\n750\n");
    assert_eq!(stage.output(&options).stdout, b"more\n750\n");
    let mut other = script("ls /new");
    other.remove = true;
    other.mounts = vec![Mount::volume("keep:/new:ro", Path::new("/")).unwrap()];
    assert_eq!(stage.output(&other).stdout, b"more\n");
    other.mounts.push(Mount::volume("more:/new", Path::new("/")).unwrap());
    let twice = container::create(&stage.store, &stage.image, other).unwrap_err();
    assert!(twice.to_string().contains("/new"), "{twice}");
}

fn anonymous_volumes_go_with_their_container() {
    let stage = Stage::with(
        |_| (),
        |config| {
            config.config.volumes.insert("/data".to_owned());
        },
    );
    let created = stage.create(&script("touch /data/x"));
    container::start(&stage.store, &created.id).unwrap();
    container::wait(&stage.store, &created.id).unwrap();
    let volumes = || fs::read_dir(stage.store.root().join("volumes")).unwrap().count();
    assert_eq!(volumes(), 1);
    let inspected = container::inspect(&stage.store, &created.id).unwrap();
    assert_eq!(inspected["Mounts"][0]["Destination"], "/data");
    container::remove(&stage.store, &created.id, false, true).unwrap();
    assert_eq!(volumes(), 0);
}

fn memory_and_read_only_files() {
    let stage = Stage::new();
    let mut options = script("touch /no; touch /tmp/yes && ls /tmp; stat -f -c %T /tmp");
    options.read_only = true;
    options.mounts = vec![Mount::tmpfs("/tmp:size=1m").unwrap()];
    let output = stage.output(&options);
    assert_eq!(output.stdout, b"yes\ntmpfs\n");
    assert!(String::from_utf8(output.stderr).unwrap().contains("Read-only"));
}
