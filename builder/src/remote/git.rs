//! Git repositories, through the `git` of the machine: what the user's own tool can reach, with the
//! user's keys, a build can.
//!
//! Each repository is kept bare in the store, so that only what is new comes over the network, and
//! each commit that was wanted becomes a layer. Nothing of the user's or the machine's git
//! configuration counts, since it could change the files.

mod checkout;
mod command;

use std::path::Path;
use std::time::Instant;

use rbuild_cache::hash::Hasher;
use rbuild_cache::{Key, Lock};
use rbuild_registry::redacted;
use rbuild_solver::op::GitCheckout;

use super::{Fetched, How, Kept, Note, Remotes, host};
use crate::error::{Error, Result};
use crate::worker::fetch::blocking;
use command::Git;

/// The SSH agent of a build that git uses.
const AGENT: &str = "default";
/// The folder of the store with the repositories.
const REPOSITORIES: &str = "repositories";

/// What a reference names in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Revision {
    commit: String,
    /// The full name, unless a commit was asked for.
    name: Option<String>,
    /// The tag object, where the reference is an annotated tag.
    tag: Option<String>,
}

/// How people know what is checked out.
pub(crate) fn address(wanted: &GitCheckout) -> String {
    let shown = redacted(&wanted.remote);
    match &wanted.reference {
        Some(reference) => format!("{shown}#{reference}"),
        None => shown,
    }
}

impl Remotes {
    /// Checks a commit of a repository out, unless that is here already.
    pub(crate) async fn checkout(&self, wanted: &GitCheckout) -> Result<Fetched> {
        self.shown(address(wanted), async |_| self.checkout_unseen(wanted).await).await
    }

    async fn checkout_unseen(&self, wanted: &GitCheckout) -> Result<(Fetched, How)> {
        if self.registries.is_offline() {
            return self.checked_out(wanted);
        }
        let mut git = Git::new(&wanted.remote);
        if let Some(header) = self.git_authorization(&wanted.remote)? {
            git.authorize(&header);
        }
        self.lend_agent(&mut git).await?;
        let revision = find(&git, wanted).await?;
        check(wanted, &revision)?;
        self.versions.note(address(wanted), "sha1", revision.commit.clone());
        let key = key(wanted, &revision);
        if let Some((fetched, _)) = self.find(key)? {
            return Ok((fetched, How::Known));
        }
        let _alone = self.lock(wanted).await?;
        if let Some((fetched, _)) = self.find(key)? {
            return Ok((fetched, How::Known));
        }
        let began = Instant::now();
        let folder = self.repository(wanted);
        if let Some(name) = folder.file_name() {
            self.store.uses_repository(&name.to_string_lossy());
        }
        fetch(&git, &folder, wanted, &revision).await?;
        let staged = self.store.stage().map_err(Error::store("begin a layer"))?;
        let time = checkout::checkout(&git, &folder, wanted, &revision, &staged).await?;
        let version = Kept {
            definition: key,
            content: key,
            note: Note { time: Some(time), ..Note::default() },
            description: format!("{}#{}", redacted(&wanted.remote), revision.commit),
        };
        Ok((self.keep(staged, &version, began)?, How::Fetched))
    }

    /// A commit that is checked out here already; what a branch or tag names nobody knows offline.
    fn checked_out(&self, wanted: &GitCheckout) -> Result<(Fetched, How)> {
        let commit = wanted.reference.as_ref().filter(|name| is_commit(name));
        let revision =
            commit.map(|commit| Revision { commit: commit.clone(), name: None, tag: None });
        if let Some(revision) = &revision {
            self.versions.note(address(wanted), "sha1", revision.commit.clone());
        }
        let found = revision.map(|revision| self.find(key(wanted, &revision))).transpose()?;
        let found = found.flatten().map(|(fetched, _)| (fetched, How::Known));
        found.ok_or_else(|| Error::Git {
            doing: format!("fetch `{}`", redacted(&wanted.remote)),
            reason: "this is offline".to_owned(),
        })
    }

    /// The value of the header that lets one in, from the secrets of the build.
    fn git_authorization(&self, remote: &str) -> Result<Option<String>> {
        use base64::Engine as _;
        if !remote.starts_with("https://") && !remote.starts_with("http://") {
            return Ok(None);
        }
        let host = host(remote);
        let names = [
            format!("GIT_AUTH_HEADER.{host}"),
            format!("GIT_AUTH_TOKEN.{host}"),
            "GIT_AUTH_HEADER".to_owned(),
            "GIT_AUTH_TOKEN".to_owned(),
        ];
        let found = self.secret(&names)?;
        Ok(found.map(|(index, value)| {
            if index % 2 == 0 {
                return value;
            }
            let encoded = base64::engine::general_purpose::STANDARD;
            format!("basic {}", encoded.encode(format!("x-access-token:{value}")))
        }))
    }

    /// Lets git use the SSH agent that the build was given; without one it finds the user's own.
    async fn lend_agent(&self, git: &mut Git) -> Result<()> {
        if git.remote().contains("://") && !git.remote().starts_with("ssh://") {
            return Ok(());
        }
        let (agents, store) = (self.agents.clone(), self.store.clone());
        let socket = blocking(move || {
            let failed = |error| Error::Usage(format!("cannot start an SSH agent: {error}"));
            agents.socket(AGENT, &store).map_err(failed)
        });
        if let Some(socket) = socket.await? {
            git.agent(&socket);
        }
        Ok(())
    }

    fn repository(&self, wanted: &GitCheckout) -> std::path::PathBuf {
        let name = blake3::hash(wanted.remote.as_bytes()).to_hex();
        self.store.root().join(REPOSITORIES).join(&name.as_str()[..32])
    }

    /// Waits until no other task or process works on the repository.
    async fn lock(&self, wanted: &GitCheckout) -> Result<Lock> {
        let (store, remote) = (self.store.clone(), redacted(&wanted.remote));
        blocking(move || {
            store
                .lock_wait(&format!("git {remote}"), |_| {})
                .map_err(Error::store(format!("wait for `{remote}`")))
        })
        .await
    }
}

/// Whether a text is the whole name of a commit.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Finds out which commit is meant; a whole name of one needs no question.
async fn find(git: &Git, wanted: &GitCheckout) -> Result<Revision> {
    let reference = wanted.reference.as_deref().unwrap_or("HEAD");
    if is_commit(reference) {
        return Ok(Revision { commit: reference.to_owned(), name: None, tag: None });
    }
    let mut arguments = vec!["ls-remote".to_owned(), "--".to_owned(), git.remote().to_owned()];
    arguments.extend(names(reference).into_iter().flat_map(|name| [format!("{name}^{{}}"), name]));
    let listed = git.run(Path::new("/"), &arguments).await?;
    choose(&listed, reference).ok_or_else(|| Error::Git {
        doing: format!("find `{reference}` in `{}`", redacted(&wanted.remote)),
        reason: "the repository has no such branch, tag or reference".to_owned(),
    })
}

/// The full names that a reference may stand for, the best first; branches come before tags.
fn names(reference: &str) -> Vec<String> {
    if reference == "HEAD" || reference.starts_with("refs/") {
        return vec![reference.to_owned()];
    }
    ["refs/heads/", "refs/tags/", "refs/"].map(|prefix| format!("{prefix}{reference}")).into()
}

/// Picks from what `ls-remote` lists.
fn choose(listed: &str, reference: &str) -> Option<Revision> {
    let lines: Vec<(&str, &str)> =
        listed.lines().filter_map(|line| line.split_once('\t')).collect();
    let object = |name: &str| {
        let found = lines.iter().find(|(_, listed)| *listed == name);
        found.map(|(object, _)| (*object).to_owned()).filter(|object| is_commit(object))
    };
    names(reference).into_iter().find_map(|name| {
        let named = object(&name)?;
        Some(match object(&format!("{name}^{{}}")) {
            Some(commit) => Revision { commit, name: Some(name), tag: Some(named) },
            None => Revision { commit: named, name: Some(name), tag: None },
        })
    })
}

fn check(wanted: &GitCheckout, revision: &Revision) -> Result<()> {
    let Some(checksum) = wanted.checksum.as_deref().map(str::to_ascii_lowercase) else {
        return Ok(());
    };
    let fits = |object: &String| object.starts_with(&checksum);
    if fits(&revision.commit) || revision.tag.as_ref().is_some_and(fits) {
        return Ok(());
    }
    Err(Error::Malformed {
        what: format!("`{}`", redacted(&wanted.remote)),
        reason: format!("expected checksum to match {checksum}, got {}", revision.commit),
    })
}

fn key(wanted: &GitCheckout, revision: &Revision) -> Key {
    let GitCheckout { remote, directory, keep_git_dir, submodules, commit_times, .. } = wanted;
    let mut hasher = Hasher::new("git checkout");
    hasher.str(&redacted(remote)).str(&revision.commit);
    hasher.option(directory.as_deref(), |hasher, directory| {
        hasher.str(directory);
    });
    hasher.bool(*keep_git_dir).bool(*submodules).bool(*commit_times);
    if *keep_git_dir {
        hasher.str(revision.name.as_deref().unwrap_or_default());
    }
    hasher.key()
}

/// Sees to it that a commit is in the bare repository of the store.
async fn fetch(git: &Git, folder: &Path, wanted: &GitCheckout, revision: &Revision) -> Result<()> {
    if !folder.join("HEAD").exists() {
        git.init_bare(folder).await?;
        // The layers with a `.git` are fetched from here, by commit.
        git.run(folder, &["config", "uploadpack.allowAnySHA1InWant", "true"]).await?;
    }
    // What a killed process left would stop every later one.
    for leftover in ["shallow.lock", "index.lock"] {
        let _ = std::fs::remove_file(folder.join(leftover));
    }
    let commit = format!("{}^{{commit}}", revision.commit);
    let present = ["cat-file", "-e", &commit];
    if revision.name.is_none() && git.run(folder, &present).await.is_ok() {
        return Ok(());
    }
    let source = revision.name.as_deref().unwrap_or(&revision.commit);
    let target = match &revision.name {
        Some(name) if name.starts_with("refs/tags/") => name.clone(),
        _ => format!("refs/rbuild/{}", revision.commit),
    };
    let spec = format!("+{source}:{target}");
    let shallow = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", git.remote(), &spec];
    let first = git.run_deep(folder, &shallow, &[]).await;
    if git.run(folder, &present).await.is_ok() {
        return Ok(());
    }
    // A server may refuse to send a commit by its name: then it is among all that it has.
    let everything = "+refs/heads/*:refs/remotes/origin/*";
    let whole = if folder.join("shallow").exists() { "--unshallow" } else { "--tags" };
    let all = ["fetch", "--quiet", "--force", "--tags", whole, "--", git.remote(), everything];
    git.run(folder, &all).await.or(first)?;
    git.run(folder, &present).await.map_err(|_| Error::Git {
        doing: format!("find the commit {} in `{}`", revision.commit, redacted(&wanted.remote)),
        reason: "no branch or tag leads to it".to_owned(),
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn revision(commit: &str, name: &str, tag: Option<&str>) -> Revision {
        let (commit, name) = (commit.to_owned(), Some(name.to_owned()));
        Revision { commit, name, tag: tag.map(str::to_owned) }
    }

    #[test]
    fn a_branch_comes_before_a_tag_and_neither_is_guessed() {
        let listed = format!("{A}\trefs/heads/x\n{B}\trefs/tags/x\n{B}\trefs/heads/y/x\n");
        assert_eq!(choose(&listed, "x"), Some(revision(A, "refs/heads/x", None)));
        assert_eq!(choose(&listed, "refs/tags/x"), Some(revision(B, "refs/tags/x", None)));
        assert_eq!(choose(&listed, "y"), None);
        assert_eq!(choose("error\n", "x"), None);
    }

    #[test]
    fn an_annotated_tag_is_its_commit() {
        let listed = format!("{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n");
        let found = choose(&listed, "v1").unwrap();
        assert_eq!(found, revision(B, "refs/tags/v1", Some(A)));
        let wanted = |checksum: &str| GitCheckout {
            remote: "https://h/a.git".to_owned(),
            reference: None,
            checksum: Some(checksum.to_owned()),
            directory: None,
            keep_git_dir: false,
            submodules: true,
            commit_times: false,
        };
        assert!(check(&wanted("AAA"), &found).is_ok());
        assert!(check(&wanted("bbb"), &found).is_ok());
        let error = check(&wanted("ccc"), &found).unwrap_err().to_string();
        assert!(error.contains(&format!("expected checksum to match ccc, got {B}")), "{error}");
    }

    #[test]
    fn commits_are_told_from_references() {
        assert!(is_commit(A));
        assert!(is_commit(&"0".repeat(64)));
        assert!(!is_commit("HEAD"));
        assert!(!is_commit(&A[1..]));
        assert!(!is_commit(&"A".repeat(40)));
    }
}
