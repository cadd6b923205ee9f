//! Sources of ADD that are elsewhere: files at URLs and git repositories.

use rbuild_cache::Digest;
use rbuild_registry::redacted;
use rbuild_solver::op::{HttpFile, Source};

use crate::remote::GitUrl;

/// The name of a file whose URL has none.
const UNNAMED: &str = "__unnamed__";

/// What an ADD says of sources that are elsewhere.
pub(super) struct Options {
    /// `--checksum`.
    pub(super) checksum: Option<String>,
    /// `--keep-git-dir`, which also says that a URL is one of a repository.
    pub(super) keep_git_dir: Option<bool>,
    /// Whether files of a repository get the time of the commit where the URL does not say.
    pub(super) commit_times: bool,
}

/// What a source is if it is elsewhere, in words.
pub(super) fn kind(path: &str) -> Option<&'static str> {
    match GitUrl::parse(path, false) {
        Some(_) => Some("git ref"),
        None if is_url(path) => Some("URL"),
        None => None,
    }
}

/// What a source is if it is elsewhere, and which path of it is copied.
pub(super) fn source(path: &str, options: &Options) -> Result<Option<(Source, String)>, String> {
    if let Some(url) = GitUrl::parse(path, options.keep_git_dir.is_some()) {
        let url = url.map_err(|error| format!("`{}`: {error}", redacted(path)))?;
        return git(url, options).map(|source| Some((source, ".".to_owned())));
    }
    if !is_url(path) {
        return Ok(None);
    }
    let name = file_name(path);
    if let Some(text) = &options.checksum {
        text.parse::<Digest>()
            .map_err(|error| format!("the checksum `{text}` is not valid: {error}"))?;
    }
    let file =
        HttpFile { url: path.to_owned(), name: name.clone(), checksum: options.checksum.clone() };
    Ok(Some((Source::Http(file), escaped(&name))))
}

fn git(mut url: GitUrl, options: &Options) -> Result<Source, String> {
    if let (Some(asked), Some(written)) = (options.keep_git_dir, url.keep_git_dir)
        && asked != written
    {
        return Err("inconsistent keep-git-dir configuration".to_owned());
    }
    if let (Some(asked), Some(written)) = (&options.checksum, &url.checksum)
        && asked != written
    {
        return Err(format!("checksum mismatch `{asked}` != `{written}`"));
    }
    let keep_git_dir = url.keep_git_dir.or(options.keep_git_dir).unwrap_or(false);
    url.checksum = url.checksum.or_else(|| options.checksum.clone());
    Ok(Source::Git(url.checkout(keep_git_dir, options.commit_times)))
}

fn is_url(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

/// The last element of a URL's path, decoded.
fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let decoded = crate::remote::decoded_path(path);
    match decoded.trim_end_matches('/').rsplit('/').next() {
        None | Some("" | "." | "..") => UNNAMED.to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// A name as a pattern that matches only it.
fn escaped(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_the_end_of_its_path() {
        for (url, name) in [
            ("http://h/a/b.tar.gz?x=/y#/z", "b.tar.gz"),
            ("http://h/a/", "a"),
            ("http://h/a%20b%2Fc", "c"),
            ("http://h/", UNNAMED),
            ("http://h", UNNAMED),
            ("http://h?a/b", UNNAMED),
            ("http://h/a/..", UNNAMED),
            ("http://h/%2e%2e", UNNAMED),
            ("http://h/a+b", "a+b"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
        assert_eq!(escaped("a*[b]\\"), "a\\*\\[b]\\\\");
    }

    fn options(checksum: Option<&str>, keep_git_dir: Option<bool>) -> Options {
        Options { checksum: checksum.map(str::to_owned), keep_git_dir, commit_times: false }
    }

    #[test]
    fn urls_are_files_unless_they_are_repositories() {
        let plain = options(None, None);
        assert!(matches!(source("https://h/a", &plain), Ok(Some((Source::Http(_), _)))));
        assert!(matches!(source("https://h/a.git", &plain), Ok(Some((Source::Git(_), _)))));
        assert!(matches!(source("git@h:a", &plain), Ok(Some((Source::Git(_), _)))));
        assert_eq!(source("a/b", &plain), Ok(None));
        let known = options(None, Some(true));
        let Ok(Some((Source::Git(git), pattern))) = source("https://h/a", &known) else {
            panic!("it was said to be a repository");
        };
        assert!(git.keep_git_dir);
        assert_eq!(pattern, ".");
        assert_eq!(
            (kind("https://h/a"), kind("git@h:a"), kind("a")),
            (Some("URL"), Some("git ref"), None)
        );
    }

    #[test]
    fn flags_and_urls_must_agree() {
        let error = |path: &str, options: &Options| source(path, options).unwrap_err();
        let keep = options(None, Some(false));
        assert_eq!(
            error("https://h/a.git?keep-git-dir=1", &keep),
            "inconsistent keep-git-dir configuration"
        );
        let checksum = options(Some("abc"), None);
        assert_eq!(
            error("https://h/a.git?checksum=def", &checksum),
            "checksum mismatch `abc` != `def`"
        );
        assert!(error("https://h/a", &checksum).starts_with("the checksum `abc` is not valid"));
    }
}
