//! Addresses of git repositories, as contexts, named contexts and ADD take them.
//!
//! `https://host/repository.git#branch:folder`, `git@host:repository`, and the same with a query
//! in place of the fragment: `?ref=`, `?tag=`, `?branch=`, `?subdir=`, `?checksum=` or `?commit=`,
//! `?keep-git-dir=`, `?submodules=`, `?mtime=checkout|commit`, `?fetch-by-commit=`. See "Git
//! repositories" of Docker's reference of build contexts.

use std::borrow::Cow;

/// A repository, and what of it is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GitUrl {
    /// The address for git.
    pub(crate) remote: String,
    /// A branch, a tag, a full name below `refs/`, or a commit.
    pub(crate) reference: Option<String>,
    /// A folder in it.
    pub(crate) directory: Option<String>,
    /// The commit that it must be, or how its name begins.
    pub(crate) checksum: Option<String>,
    /// Whether `.git` is kept.
    pub(crate) keep_git_dir: Option<bool>,
    /// Whether submodules are fetched; they are by default.
    pub(crate) submodules: Option<bool>,
    /// Whether files get the time of the commit.
    pub(crate) commit_times: Option<bool>,
}

impl GitUrl {
    /// Reads an address. `None` is for what is no address of a repository: a path, or a URL of a
    /// file, unless `known` says that it is one.
    pub(crate) fn parse(text: &str, known: bool) -> Option<Result<Self, InvalidGitUrl>> {
        let (address, query, fragment) = split(text)?;
        let web = address.starts_with("http://") || address.starts_with("https://");
        if web && !known && path(address).strip_suffix(".git").is_none() {
            return None;
        }
        Some(Self { remote: address.to_owned(), ..Self::default() }.with(query, fragment))
    }

    /// Reads the address of a build context, for which `github.com/…` needs no scheme.
    pub(crate) fn parse_context(text: &str) -> Option<Result<Self, InvalidGitUrl>> {
        if text.starts_with(BARE) {
            Self::parse(&format!("https://{text}"), true)
        } else {
            Self::parse(text, false)
        }
    }

    fn with(mut self, query: Option<&str>, fragment: Option<&str>) -> Result<Self, InvalidGitUrl> {
        if let Some(fragment) = fragment {
            let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
            self.reference = filled(reference);
            self.directory = filled(directory);
        }
        let mut seen: Vec<Cow<'_, str>> = Vec::new();
        for pair in
            query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty())
        {
            let (key, value) = match pair.split_once('=') {
                Some((key, value)) => (decoded(key), filled(&decoded(value))),
                None => (decoded(pair), None),
            };
            if seen.contains(&key) {
                return Err(InvalidGitUrl::Repeated(key.into_owned()));
            }
            self.option(&key, value)?;
            seen.push(key);
        }
        if self.reference.is_none() {
            self.reference.clone_from(&self.checksum);
        }
        Ok(self)
    }

    fn option(&mut self, key: &str, value: Option<String>) -> Result<(), InvalidGitUrl> {
        let given =
            |value: Option<String>| value.ok_or_else(|| InvalidGitUrl::Empty(key.to_owned()));
        match key {
            "ref" => agree("ref", &mut self.reference, given(value)?),
            "tag" => agree("ref", &mut self.reference, prefixed("refs/tags/", &given(value)?)),
            "branch" => agree("ref", &mut self.reference, prefixed("refs/heads/", &given(value)?)),
            "subdir" => agree("subdir", &mut self.directory, given(value)?),
            "checksum" | "commit" => agree("checksum", &mut self.checksum, given(value)?),
            "keep-git-dir" => set(key, &mut self.keep_git_dir, value.as_deref()),
            "submodules" => set(key, &mut self.submodules, value.as_deref()),
            "mtime" => match given(value)?.as_str() {
                "checkout" => set(key, &mut self.commit_times, Some("false")),
                "commit" => set(key, &mut self.commit_times, Some("true")),
                other => Err(InvalidGitUrl::Value { key: key.to_owned(), value: other.to_owned() }),
            },
            // A commit is always asked for by itself first.
            "fetch-by-commit" => set(key, &mut None, value.as_deref()),
            other => Err(InvalidGitUrl::Unknown(other.to_owned())),
        }
    }
}

/// What stands for `https://` and this in the address of a context.
const BARE: &str = "github.com/";

/// Why the address of a repository is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidGitUrl {
    /// A key is none of those that there are.
    #[error("unexpected query `{0}`")]
    Unknown(String),
    /// A key stands twice.
    #[error("query `{0}` has multiple values")]
    Repeated(String),
    /// A key needs a value.
    #[error("query `{0}` has no value")]
    Empty(String),
    /// A key has a value that it cannot have.
    #[error("invalid {key} value: `{value}`")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Two parts of the address want different things.
    #[error("{key} conflicts: `{first}` and `{second}`")]
    Conflict {
        /// The key.
        key: String,
        /// What stands first.
        first: String,
        /// What stands later.
        second: String,
    },
}

/// Parts an address from its query and fragment, if it is one that git could fetch.
fn split(text: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
    let schemes = ["http://", "https://", "ssh://", "git://"];
    let is_url =
        schemes.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if !is_url && !is_scp(text) {
        return None;
    }
    let (rest, fragment) = match text.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (text, None),
    };
    Some(match rest.split_once('?') {
        Some((address, query)) => (address, Some(query), fragment),
        None => (rest, None, fragment),
    })
}

/// Whether a text is `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else {
        return false;
    };
    let Some((host, path)) = rest.split_once(':') else {
        return false;
    };
    let word = |text: &str, more: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
    };
    word(user, "-_.") && word(host, "-.") && !path.is_empty()
}

/// The path of a URL.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |start| &rest[start..])
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// Sets what was not set, or was set to the same.
fn agree(key: &str, place: &mut Option<String>, value: String) -> Result<(), InvalidGitUrl> {
    match place {
        Some(first) if *first != value => Err(InvalidGitUrl::Conflict {
            key: key.to_owned(),
            first: first.clone(),
            second: value,
        }),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

/// Reads a switch, which is on where it has no value.
fn set(key: &str, place: &mut Option<bool>, value: Option<&str>) -> Result<(), InvalidGitUrl> {
    let on = match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some(other) => {
            return Err(InvalidGitUrl::Value { key: key.to_owned(), value: other.to_owned() });
        }
    };
    *place = Some(on);
    Ok(())
}

/// Resolves `%41` and `+` of a query.
fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        decoded_path(&text.replace('+', " ")).into_owned().into()
    } else {
        decoded_path(text)
    }
}

/// Resolves `%41`; what is not encoded well stays as it is.
pub(crate) fn decoded_path(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = text.get(index + 1..index + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[index], hex) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                index += 2;
            }
            (byte, _) => plain.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&plain).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> GitUrl {
        GitUrl::parse(text, false).expect(text).expect(text)
    }

    fn url(remote: &str, reference: Option<&str>, directory: Option<&str>) -> GitUrl {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (reference, directory) = (owned(reference), owned(directory));
        GitUrl { remote: remote.to_owned(), reference, directory, ..GitUrl::default() }
    }

    #[test]
    fn addresses_of_repositories_are_told_from_paths_and_files() {
        for text in
            ["https://h/a.git", "http://h:80/a.git", "ssh://git@h/a", "git://h/a", "git@h:a"]
        {
            assert_eq!(parse(text), url(text, None, None));
        }
        let others = [
            "https://h/a",
            "https://h/a.git/b",
            "./git@h:a",
            "../a",
            "a",
            "a@b",
            "-x@h:a",
            "/a@h:b",
            "https://",
            "ftp://h/a.git",
            "github.com/a/b",
            "file:///a.git",
            concat!("https://", "h.git"),
            "",
        ];
        for text in others {
            assert_eq!(GitUrl::parse(text, false), None, "{text}");
        }
        assert!(GitUrl::parse("https://h/a", true).is_some());
        let bare = GitUrl::parse_context("github.com/a/b#v1:c").unwrap().unwrap();
        assert_eq!(bare, url("https://github.com/a/b", Some("v1"), Some("c")));
    }

    #[test]
    fn a_fragment_is_a_reference_and_a_folder() {
        let remote = "https://h/a.git";
        assert_eq!(parse("https://h/a.git#v1"), url(remote, Some("v1"), None));
        assert_eq!(parse("https://h/a.git#b/q:c/d"), url(remote, Some("b/q"), Some("c/d")));
        assert_eq!(parse("https://h/a.git#:c"), url(remote, None, Some("c")));
        assert_eq!(parse("https://h/a.git#"), url(remote, None, None));
        assert_eq!(parse("git@h:a#v1:c"), url("git@h:a", Some("v1"), Some("c")));
    }

    #[test]
    fn a_query_says_more() {
        let text = "https://h/a.git?tag=v1&subdir=c%2Fd&checksum=abc&keep-git-dir=1&submodules=false&mtime=commit";
        let wanted = GitUrl {
            checksum: Some("abc".to_owned()),
            keep_git_dir: Some(true),
            submodules: Some(false),
            commit_times: Some(true),
            ..url("https://h/a.git", Some("refs/tags/v1"), Some("c/d"))
        };
        assert_eq!(parse(text), wanted);
        assert_eq!(parse("https://h/a.git?branch=b").reference.unwrap(), "refs/heads/b");
        assert_eq!(parse("https://h/a.git?commit=abc").reference.unwrap(), "abc");
        assert_eq!(parse("https://h/a.git?keep-git-dir").keep_git_dir, Some(true));
        assert_eq!(parse("https://h/a.git?ref=v1#v1").reference.unwrap(), "v1");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (query, message) in [
            ("?x=1", "unexpected query `x`"),
            ("?ref=a&ref=b", "query `ref` has multiple values"),
            ("?ref=", "query `ref` has no value"),
            ("?ref=a#b", "ref conflicts: `b` and `a`"),
            ("?subdir=a#:b", "subdir conflicts: `b` and `a`"),
            ("?tag=a&branch=b", "ref conflicts: `refs/tags/a` and `refs/heads/b`"),
            ("?submodules=maybe", "invalid submodules value: `maybe`"),
            ("?mtime=now", "invalid mtime value: `now`"),
        ] {
            let error =
                GitUrl::parse(&format!("https://h/a.git{query}"), false).unwrap().unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
