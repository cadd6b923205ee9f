//! The readers with files as package managers write them, and with others.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;

const RPM: &[u8] = include_bytes!("../../../fixtures/packages/rpmdb.sqlite");
const OLD: &[u8] = include_bytes!("../../../fixtures/packages/Packages");
const SUSE: &[u8] = include_bytes!("../../../fixtures/packages/Packages.db");

const APK: &str = "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nD:so:x\np:so:y\n\n\
    P:busybox-binsh\nV:1.36.1-r29\nA:x86_64\nL:GPL-2.0-only\no:busybox\nF:bin\nR:sh\n\nP:nothing\n";

const DPKG: &str = "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\nArchitecture: amd64\n\
    Source: glibc (2.36)\nDescription: GNU C Library\n Version: 9\n\n\
    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
    Package: tzdata\nVersion: 2024a\n";

const METADATA: &str = "Metadata-Version: 2.1\nName: requests\nVersion: 2.32.3\nLicense: Apache-2.0\n\n\
    # Requests\nName: not-this\nVersion: 9\n";

/// A list as `cargo auditable` makes it.
fn audit() -> Vec<u8> {
    let json = br#"{"packages":[
        {"name":"app","version":"0.1.0","source":"local","root":true,"dependencies":[1]},
        {"name":"serde","version":"1.0.2","source":"crates.io"},
        {"name":"cc","version":"1.1.0","source":"crates.io","kind":"build"}]}"#;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(json).unwrap();
    encoder.finish().unwrap()
}

/// A program of 64 bits that has nothing but the list.
fn program() -> Vec<u8> {
    let (list, names) = (audit(), b"\0.dep-v0\0.shstrtab\0");
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(0x28, 0);
    program.extend(64_u64.to_le_bytes());
    program.resize(0x3a, 0);
    for number in [64_u16, 3, 2] {
        program.extend(number.to_le_bytes());
    }
    let at = 64 + 3 * 64;
    let header = |name: u32, at: u64, length: usize| {
        let mut header = name.to_le_bytes().to_vec();
        header.resize(0x18, 0);
        header.extend(at.to_le_bytes());
        header.extend((length as u64).to_le_bytes());
        header.resize(64, 0);
        header
    };
    program.extend([0; 64]);
    program.extend(header(1, at, list.len()));
    program.extend(header(9, at + list.len() as u64, names.len()));
    program.extend(list);
    program.extend(names);
    program
}

fn told(packages: &[Package]) -> Vec<String> {
    let told = |one: &Package| {
        let or_dash = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".to_owned());
        let rest = [&one.architecture, &one.license, &one.origin].map(or_dash).join(" ");
        format!("{} {} {} {rest}", one.kind.name(), one.name, one.version)
    };
    packages.iter().map(told).collect()
}

#[test]
fn every_manager_s_notes_are_read() {
    assert_eq!(
        told(&apk::read(APK.as_bytes())),
        [
            "apk musl 1.2.5-r0 x86_64 MIT musl",
            "apk busybox-binsh 1.36.1-r29 x86_64 GPL-2.0-only busybox"
        ]
    );
    assert_eq!(
        told(&dpkg::read(DPKG.as_bytes())),
        ["deb libc6 2.36-9 amd64 - glibc", "deb tzdata 2024a - - -"]
    );
    assert_eq!(told(&python::read(METADATA.as_bytes())), ["pypi requests 2.32.3 - Apache-2.0 -"]);
    let module = br#"{"name":"@a/b","version":"1.0.0","license":{"type":"MIT","url":"x"}}"#;
    assert_eq!(told(&npm::read(module)), ["npm @a/b 1.0.0 - MIT -"]);
    let lock = b"version = 4\n[[package]]\nname = \"serde\"\nversion = \"1.0.2\"\ndependencies = [\n \"x\",\n]\n";
    assert_eq!(told(&cargo::lock(lock)), ["cargo serde 1.0.2 - - -"]);
    assert_eq!(told(&cargo::audit(&audit())), ["cargo app 0.1.0 - - -", "cargo serde 1.0.2 - - -"]);
}

#[test]
fn headers_of_rpm_are_found_on_all_pages() {
    let found = told(&rpm::database(RPM));
    assert_eq!(found.len(), 14, "{found:?}");
    assert!(found.contains(
        &"rpm bash 5.2.37-1.fc42 x86_64 GPL-3.0-or-later bash-5.2.37-1.fc42.src.rpm".to_owned()
    ));
    let spread =
        "rpm shadow-utils 2:4.17.4-1.fc42 x86_64 BSD-3-Clause AND GPL-2.0-or-later -".to_owned();
    assert!(found.contains(&spread), "a row on several pages: {found:?}");
    assert_eq!(told(&rpm::slots(SUSE)).last(), Some(&spread));
    assert_eq!(rpm::slots(SUSE).len(), 2);
    let old = told(&rpm::table(OLD));
    assert!(old.len() == 2 && old.contains(&spread) && found.contains(&old[0]), "{old:?}");
}

#[test]
fn no_byte_of_a_database_is_read_twice() {
    let total = |bytes: &[u8]| sqlite::blobs(bytes, "Packages").iter().map(Vec::len).sum::<usize>();
    assert!(total(RPM) > 1_000);
    // Every page becomes the one of the row that takes the most pages, and there are many.
    let mut bytes = RPM.to_vec();
    let pages = bytes.len() / 1024;
    let leaf = (1..pages).find(|page| bytes[page * 1024] == 0x0d).unwrap();
    let page = bytes[leaf * 1024..][..1024].to_vec();
    for other in 1..pages {
        if bytes[other * 1024] == 0x0d {
            bytes[other * 1024..][..1024].copy_from_slice(&page);
        }
    }
    // All cells of it are the first.
    let first = [bytes[leaf * 1024 + 8], bytes[leaf * 1024 + 9]];
    for cell in 0..200 {
        bytes[leaf * 1024 + 8 + 2 * cell..][..2].copy_from_slice(&first);
    }
    bytes[leaf * 1024 + 3..][..2].copy_from_slice(&200_u16.to_be_bytes());
    assert!(total(&bytes) <= bytes.len());
}

#[test]
fn a_tree_is_scanned_and_no_link_followed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    };
    write("lib/apk/db/installed", APK.as_bytes());
    write("usr/lib/os-release", b"NAME=x\nID=alpine\nVERSION_ID=\"3.20.1\"\n");
    fs::create_dir(folder.path().join("etc")).unwrap();
    symlink("../usr/lib/os-release", folder.path().join("etc/os-release")).unwrap();
    write("py/requests-2.32.3.dist-info/METADATA", METADATA.as_bytes());
    write("app/node_modules/@a/b/package.json", br#"{"name":"@a/b","version":"1.0.0"}"#);
    write("app/package.json", br#"{"name":"app","version":"1.0.0"}"#);
    symlink("app/node_modules", folder.path().join("node_modules")).unwrap();
    let app = write("bin/app", &program());
    write("bin/not-a-program", &program());
    fs::set_permissions(app, fs::Permissions::from_mode(0o755)).unwrap();
    let scanned = scan(File::open(folder.path()).unwrap().as_fd()).unwrap();
    assert_eq!(scanned.distribution.as_deref(), Some("alpine"));
    assert_eq!(scanned.release.as_deref(), Some("3.20.1"));
    let found: Vec<_> =
        scanned.packages.iter().map(|one| format!("{} {}", one.name, one.found_in)).collect();
    assert_eq!(
        found,
        [
            "busybox-binsh /lib/apk/db/installed",
            "musl /lib/apk/db/installed",
            "requests /py/requests-2.32.3.dist-info/METADATA",
            "@a/b /app/node_modules/@a/b/package.json",
            "app /bin/app",
            "serde /bin/app",
        ]
    );
}

#[test]
fn what_is_no_name_is_no_package() {
    for name in ["", " ", "a\u{1b}[2J", "a\nb", &"x".repeat(LONGEST + 1)] {
        assert_eq!(Package::new(Kind::Apk, name, "1"), None, "{name:?}");
        assert_eq!(Package::new(Kind::Apk, "a", name), None, "{name:?}");
    }
}

/// All readers, on the same bytes.
fn read_all(bytes: &[u8]) {
    type Reader = fn(&[u8]) -> Vec<Package>;
    let readers: [Reader; 9] = [
        apk::read,
        dpkg::read,
        python::read,
        npm::read,
        cargo::lock,
        cargo::audit,
        rpm::database,
        rpm::slots,
        rpm::table,
    ];
    for reader in readers {
        reader(bytes);
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    elf::section(&file, cargo::SECTION).unwrap();
}

proptest! {
    #[test]
    fn readers_take_anything(
        whole in prop::sample::select(vec![0_usize, 1, 2, 3, 4]),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = [RPM.to_vec(), SUSE.to_vec(), OLD.to_vec(), program(), audit()][whole].clone();
        for (place, value) in flips {
            // Most of what matters is at the front.
            let place = place.index(bytes.len().min(2048));
            bytes[place] = value;
        }
        read_all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read_all(&bytes);
    }
}
