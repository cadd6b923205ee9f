//! The end-to-end tests: what a user types, and what comes of it. This is their table of contents.
//!
//! They need root, for the namespaces and mounts of containers, and Debian's `busybox-static` and
//! `strace`; `tests/run` installs what is missing. None is skipped silently.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// Commands as scripts that were written for docker have them.
mod alias;
/// The walls of ARCHITECTURE.md: what may depend on what, and how files look.
mod architecture;
/// Archives of images, read by others' eyes.
mod archives;
/// What images, Dockerfiles, repositories and names try, and must not get.
mod attacks;
/// What is attested of images.
mod attest;
/// What an instruction does to the image.
mod build;
/// What is done again, and what is not.
mod cache;
/// What is asked about a Dockerfile in place of a build.
mod check;
/// The cases of `fixtures/build`: config, history and layers as BuildKit makes them.
mod conformance;
/// What is done with containers and volumes that are there.
mod containers;
/// A builder that is killed, and a disk that is full.
mod crash;
/// What differs between images, and between builds of the same.
mod diff;
/// The kit's example of two containers that work together.
mod digits;
/// What is said of a machine and what it lacks.
mod doctor;
/// A build that fails, and what is said of it.
mod failure;
/// What users of docker know: what shows as changed, what is found by its name, what goes.
mod familiar;
/// Containers that other runtimes make.
mod foreign;
/// Devices by their descriptions, and GPUs.
mod gpu;
/// Images in the store and at registries.
mod images;
/// The kit's registries and servers.
mod kit;
/// The life of containers: health, pauses, changes, events, logs.
mod life;
/// Limits on what containers use.
mod limits;
/// When a registry is asked what a name stands for.
mod lookup;
/// What RUN finds mounted and lent.
mod mounts;
/// Registries on a bad network.
mod network;
/// Networks of containers.
mod networks;
/// Images that leave the store, read by programs of others.
mod outputs;
/// Builds for several platforms, and indexes in registries.
mod platforms;
/// What the design of the solver promises.
mod properties;
/// What of an image is fetched for a file of it.
mod reach;
/// What is read of a context.
mod reads;
/// Sources and contexts that are elsewhere.
mod remote;
/// The road of the first issue, with the kit's real registries and Alpine.
mod road;
/// An ordinary user, who is no root.
mod rootless;
/// Containers.
mod run;
/// Containers of OCI bundles, made by us and by podman.
mod runtime;
/// What a probe finds in the sandbox, beside what Docker's gives.
mod sandbox;
/// Caches that travel between machines.
mod share;
/// What the store takes on the disk.
mod space;
/// Containers that are killed, and very many of them.
mod survive;
/// Builds that run beside each other.
mod together;
/// The course, line by line, in a user's shell.
mod tutorial;
/// What `run` mounts: folders of the host, volumes, memory and images.
mod volumes;
/// What is said of why a step ran.
mod why;

use rbuild_testkit::Home;

/// A home for a test of the program under test.
fn home() -> Home {
    Home::new(env!("CARGO_BIN_EXE_rbuild"))
}

#[test]
fn no_file_of_tests_is_forgotten() {
    let contents = include_str!("main.rs");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".rs") else {
            continue;
        };
        let is_listed = contents.lines().any(|line| line == format!("mod {name};"));
        assert!(is_listed || name == "main", "tests/{name}.rs is in no build: list it in main.rs");
    }
}
