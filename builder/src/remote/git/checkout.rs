//! From a commit in the bare repository to the files of a layer.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rbuild_cache::StagedLayer;
use rbuild_registry::redacted;
use rbuild_solver::op::GitCheckout;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::Revision;
use super::command::Git;
use crate::error::{Error, Result};
use crate::worker::fetch::blocking;
use crate::worker::select;

/// The folder that git keeps its own files in.
const GIT_DIR: &str = ".git";

/// Writes the files of a commit into a layer; gives the time of the commit in seconds since 1970.
pub(super) async fn checkout(
    git: &Git,
    repository: &Path,
    wanted: &GitCheckout,
    revision: &Revision,
    staged: &StagedLayer,
) -> Result<i64> {
    let directory = wanted.directory.as_deref().map(|path| path.trim_matches('/'));
    let directory = directory.filter(|path| !path.is_empty() && *path != ".");
    let tree = match directory {
        None => staged.files().to_owned(),
        Some(_) => staged.work().join("tree"),
    };
    fs::create_dir_all(&tree).map_err(|source| Error::Write { path: tree.clone(), source })?;
    let keep = wanted.keep_git_dir && directory.is_none();
    if keep {
        own_repository(git, repository, wanted, revision, &tree).await?;
    } else {
        files(git, repository, revision, &tree, staged.work()).await?;
    }
    if wanted.submodules && tree.join(".gitmodules").is_file() {
        submodules(git, &tree, staged.work(), keep).await?;
    }
    let show = ["show", "--no-patch", "--format=%ct", &revision.commit];
    let time = git.run(repository, &show).await?;
    let time = time.trim().parse().map_err(|_| Error::Git {
        doing: format!("read the time of {}", revision.commit),
        reason: format!("`{}` is no number", time.trim()),
    })?;
    let (files, stamp) = (staged.files().to_owned(), wanted.commit_times.then_some(time));
    let (part, remote) = (directory.map(str::to_owned), redacted(&wanted.remote));
    blocking(move || {
        let failed = |source| Error::Write { path: files.clone(), source };
        if !keep {
            remove_git_files(&tree).map_err(failed)?;
        }
        if let Some(part) = &part {
            take_part(&tree, Path::new(part), &files).map_err(|error| Error::Git {
                doing: format!("take the folder `{part}` of `{remote}`"),
                reason: error.to_string(),
            })?;
        }
        stamp.map_or(Ok(()), |time| set_times(&files, time)).map_err(failed)
    })
    .await?;
    Ok(time)
}

/// Writes the files without a `.git`.
async fn files(
    git: &Git,
    repository: &Path,
    revision: &Revision,
    tree: &Path,
    work: &Path,
) -> Result<()> {
    let index = work.join("index");
    let environment = [
        ("GIT_DIR", repository.as_os_str()),
        ("GIT_INDEX_FILE", index.as_os_str()),
        ("GIT_WORK_TREE", tree.as_os_str()),
    ];
    let read = ["read-tree", "--reset", "-u", &revision.commit];
    git.run_with(tree, &read, &environment).await.map(drop)
}

/// Makes a repository of the files' own, with the one commit and where it comes from.
async fn own_repository(
    git: &Git,
    repository: &Path,
    wanted: &GitCheckout,
    revision: &Revision,
    tree: &Path,
) -> Result<()> {
    git.run(tree, &["init", "--quiet", "--template=", "--initial-branch=main", "."]).await?;
    let origin = format!("file://{}", repository.display());
    let spec = match &revision.name {
        Some(name) if name.starts_with("refs/tags/") => format!("+{name}:{name}"),
        _ => revision.commit.clone(),
    };
    git.run(tree, &["fetch", "--quiet", "--no-tags", "--depth=1", "--", &origin, &spec]).await?;
    git.run(tree, &["checkout", "--quiet", "--detach", &revision.commit]).await?;
    git.run(tree, &["remote", "add", "origin", &redacted(&wanted.remote)]).await?;
    let fetched = tree.join(GIT_DIR).join("FETCH_HEAD");
    match fs::remove_file(&fetched) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::Write { path: fetched, source: error })
        }
        _ => Ok(()),
    }
}

/// Fetches the submodules. Those of files without a `.git` have a repository of their own for as long
/// as it takes: one that stays would remember where they were, and what a killed process locked.
async fn submodules(git: &Git, tree: &Path, work: &Path, keep: bool) -> Result<()> {
    let (index, own) = (work.join("index"), work.join("repository"));
    let apart: [(&str, &OsStr); 3] = [
        ("GIT_DIR", own.as_os_str()),
        ("GIT_INDEX_FILE", index.as_os_str()),
        ("GIT_WORK_TREE", tree.as_os_str()),
    ];
    let environment = if keep { &[][..] } else { &apart[..] };
    if !keep {
        git.init_bare(&own).await?;
    }
    let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
    git.run_deep(tree, &update, environment).await.map(drop)
}

/// Removes the files with which submodules point at a repository outside the layer.
fn remove_git_files(tree: &Path) -> io::Result<()> {
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            remove_git_files(&entry.path())?;
        } else if kind.is_file() && entry.file_name() == GIT_DIR {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Moves what a folder of the tree holds to where the layer's files are.
fn take_part(tree: &Path, part: &Path, files: &Path) -> io::Result<()> {
    let root = File::open(tree)?;
    // The repository is not trusted: a link in it leads nowhere else.
    let real = select::resolve(root.as_fd(), part)?;
    for entry in fs::read_dir(tree.join(real))? {
        let entry = entry?;
        fs::rename(entry.path(), files.join(entry.file_name()))?;
    }
    Ok(())
}

/// Gives everything below a folder one time.
fn set_times(folder: &Path, time: i64) -> io::Result<()> {
    let mut pending: Vec<PathBuf> = vec![folder.to_owned()];
    let time = Timespec { tv_sec: time, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    while let Some(path) = pending.pop() {
        if fs::symlink_metadata(&path)?.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        }
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
