//! Devices by their descriptions, GPUs among them, in a container.

use std::os::fd::{AsFd, BorrowedFd};

use rbuild_runtime::user::User;
use rbuild_runtime::{Container, Hook, Mount, MountSource, open_in_root};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::json;

use super::error::{Error, Result};
use super::folder::{Folder, Record};

/// Where the dynamic linker of the C library is told of folders.
const LINKER_FOLDERS: &str = "/etc/ld.so.conf.d/00-rbuild-devices.conf";
/// What tells it, and others, without the cache that it makes of those.
const LINKER_VARIABLE: &str = "LD_LIBRARY_PATH=";
/// Where an image has the program that makes the cache, and links by the names that libraries give
/// themselves.
const LINKERS: [&str; 2] = ["sbin/ldconfig", "usr/sbin/ldconfig"];
const SHELL: &str = "bin/sh";
/// Runs that program. Nothing depends on whether it can do its work.
const LINK: &str = "exec 2>/dev/null; ldconfig \"$@\" || :";
const SEARCH_PATH: &str = "PATH=/usr/sbin:/sbin:/usr/bin:/bin";
/// Seconds that it may take.
const LINKING: u64 = 60;

/// Puts the devices into the container, with the hooks that they need.
pub(super) fn apply(folder: &Folder, record: &Record, container: &mut Container) -> Result<()> {
    let request = &record.options.device_request;
    if request.is_empty() {
        return Ok(());
    }
    let user = rbuild_runtime::user::resolve(container.root.as_fd(), &container.process.user)?;
    if let Some(folders) = request.apply(container, (user.uid, user.gid))? {
        link(&folders, &user, container)?;
    }
    let hooks = &container.hooks;
    if !(hooks.before.is_empty() && hooks.outside.is_empty() && hooks.inside.is_empty()) {
        describe(folder, container)?;
    }
    Ok(())
}

/// Has the dynamic linker find libraries that were mounted.
fn link(folders: &[String], user: &User, container: &mut Container) -> Result<()> {
    if !folders.is_empty() {
        let bytes = (folders.join("\n") + "\n").into_bytes();
        let source = MountSource::Bytes { bytes, mode: 0o644, uid: 0, gid: 0 };
        container.mounts.push(Mount::new(source, LINKER_FOLDERS).read_only());
        add_linker_folders(&mut container.process.env, folders);
    }
    let root = container.root.as_fd();
    let can_link = LINKERS.iter().any(|path| is_there(root, path)) && is_there(root, SHELL);
    // It runs as the container's own process would, so what that may not write it may not either.
    if user.uid == 0 && !container.read_only_root && !container.init && can_link {
        let words = ["sh", "-c", LINK, "sh"].map(str::to_owned).into_iter();
        container.hooks.start.push(Hook {
            path: format!("/{SHELL}").into(),
            args: words.chain(folders.iter().cloned()).collect(),
            env: vec![SEARCH_PATH.to_owned()],
            timeout: Some(LINKING),
        });
        let told = || -> rustix::io::Result<_> {
            let (start, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::write(theirs, &[0])?;
            Ok(start)
        };
        // Hooks at the start are those of a container that waits; this one need not.
        container.start = Some(told().map_err(Error::system("make a pipe"))?);
    }
    Ok(())
}

fn is_there(root: BorrowedFd<'_>, path: &str) -> bool {
    open_in_root(root, path, OFlags::PATH, Mode::empty()).is_ok()
}

/// Writes what hooks read of a container: a bundle whose root is where they see it.
fn describe(folder: &Folder, container: &mut Container) -> Result<()> {
    let root = folder.path().join("root");
    std::fs::create_dir_all(&root).map_err(Error::file("make the folder", &root))?;
    let config = folder.path().join("config.json");
    let text = json!({ "ociVersion": "1.0.2", "root": { "path": root } }).to_string();
    std::fs::write(&config, text).map_err(Error::file("write", &config))?;
    container.hooks.root = root;
    container.hooks.state = json!({
        "ociVersion": "1.0.2", "id": folder.id, "bundle": folder.path(), "annotations": {},
    })
    .to_string();
    Ok(())
}

/// Has dynamic linkers look through folders after those that they are told already.
fn add_linker_folders(env: &mut Vec<String>, folders: &[String]) {
    let known = env.iter().rev().find_map(|line| line.strip_prefix(LINKER_VARIABLE));
    let known = known.filter(|known| !known.is_empty()).map(str::to_owned);
    let all = known.into_iter().chain(folders.iter().cloned()).collect::<Vec<_>>().join(":");
    env.retain(|line| !line.starts_with(LINKER_VARIABLE));
    env.push(format!("{LINKER_VARIABLE}{all}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_libraries_come_after_those_of_the_image() {
        let folders = ["/a".to_owned(), "/b".to_owned()];
        let mut env = vec!["X=1".to_owned(), "LD_LIBRARY_PATH=/own".to_owned()];
        add_linker_folders(&mut env, &folders);
        assert_eq!(env, ["X=1", "LD_LIBRARY_PATH=/own:/a:/b"]);
        let mut env = Vec::new();
        add_linker_folders(&mut env, &folders);
        assert_eq!(env, ["LD_LIBRARY_PATH=/a:/b"]);
    }
}
