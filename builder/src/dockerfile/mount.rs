//! `RUN --mount`: its options as written, and the mount that they describe once expanded.

mod draft;

use super::diagnostic::Diagnostic;
use super::files::{has_variable, no_variables};
use super::hint::suggest;
use super::span::Span;
use super::tree::Word;

/// The keys of all options.
const KEYS: [&str; 19] = [
    "type",
    "target",
    "dst",
    "destination",
    "source",
    "src",
    "from",
    "rw",
    "readwrite",
    "ro",
    "readonly",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "size",
    "required",
    "env",
];
/// The keys that may stand without a value.
const BARE: [&str; 5] = ["rw", "readwrite", "ro", "readonly", "required"];
/// One `--mount`, its values not yet expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// Keys in lower case, with values where `=` is written.
    pub options: Vec<(String, Option<String>)>,
    /// Where the flag stands.
    pub span: Span,
}

/// What a `RUN` finds mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A part of the context, of a stage or of an image.
    Bind {
        /// Where it appears; relative to the working directory.
        target: String,
        /// The path within the source, `/` for all.
        source: String,
        /// A stage or an image; none is the context.
        from: Option<String>,
        /// Whether it may be written; what is written is thrown away.
        read_write: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name; the cleaned target unless given.
        id: String,
        /// Where it appears.
        target: String,
        /// The path within `from`.
        source: String,
        /// What a new one is filled from: a stage or an image.
        from: Option<String>,
        /// How steps that run at once share it.
        sharing: Sharing,
        /// Whether it may only be read.
        read_only: bool,
        /// Permissions of a new one.
        mode: u32,
        /// Owner of a new one.
        uid: u32,
        /// Group of a new one.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Where it appears.
        target: String,
        /// Its bound in bytes.
        size: Option<u64>,
    },
    /// A secret, as a file, as a variable, or both.
    Secret {
        /// Its name among the build's secrets.
        id: String,
        /// The file, unless only a variable is asked for.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Whether the step fails without it.
        required: bool,
        /// Permissions of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Its name among the build's agents.
        id: String,
        /// The socket; `/run/buildkit/ssh_agent.N` if none is given.
        target: Option<String>,
        /// Whether the step fails without it.
        required: bool,
        /// Permissions of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// How steps that run at once share a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// All write to one.
    #[default]
    Shared,
    /// A step that finds it busy gets a new one.
    Private,
    /// A step that finds it busy waits.
    Locked,
}

impl MountOptions {
    /// Parses the value of `--mount`. What can be told wrong before variables are known, is.
    pub(super) fn parse(text: &str, span: Span) -> Result<Self, Diagnostic> {
        let fields = fields(text).map_err(|message| Diagnostic::error(span, message))?;
        let mut options = Vec::with_capacity(fields.len());
        for field in fields {
            let (key, value) = field
                .split_once('=')
                .map_or((field.as_str(), None), |(key, value)| (key, Some(value.to_owned())));
            let key = key.to_ascii_lowercase();
            if !KEYS.contains(&key.as_str()) {
                let message = format!("unknown option `{key}` of `--mount`");
                return Err(Diagnostic::error(span, message).hint(suggest(&key, KEYS)));
            }
            if value.is_none() && !BARE.contains(&key.as_str()) {
                let message = format!("the option `{key}` of `--mount` needs a value");
                return Err(Diagnostic::error(span, message));
            }
            if let Some(from) = value.as_ref().filter(|from| key == "from" && has_variable(from)) {
                let word = Word { text: from.clone(), span };
                return Err(no_variables("--mount from", &word));
            }
            options.push((key, value));
        }
        let options = Self { options, span };
        if !options.options.iter().any(|(_, value)| value.as_ref().is_some_and(|v| v.contains('$')))
        {
            Mount::from_options(&options.options)
                .map_err(|(message, hint)| Diagnostic::error(span, message).hint(hint))?;
        }
        Ok(options)
    }

    /// The stage or the image that it is taken from, which is never expanded.
    pub fn from(&self) -> Option<&str> {
        if self.options.iter().any(|(key, value)| key == "type" && is_tmpfs(value.as_deref())) {
            // It is allowed there, and nothing is taken from it.
            return None;
        }
        let last = self.options.iter().rev().find(|(key, _)| key == "from");
        last.and_then(|(_, value)| value.as_deref()).filter(|from| !from.is_empty())
    }

    /// Returns the mount, its values but that of `from` run through `expand`.
    pub fn resolve(
        &self,
        mut expand: impl FnMut(&Word) -> Result<String, Diagnostic>,
    ) -> Result<Mount, Diagnostic> {
        let mut options = Vec::with_capacity(self.options.len());
        for (key, value) in &self.options {
            let value = match value {
                Some(text) if key != "from" => {
                    Some(expand(&Word { text: text.clone(), span: self.span })?)
                }
                other => other.clone(),
            };
            options.push((key.clone(), value));
        }
        Mount::from_options(&options)
            .map_err(|(message, hint)| Diagnostic::error(self.span, message).hint(hint))
    }
}

/// Cuts a line of comma-separated values, where a value may be in double quotes.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted).ok_or_else(|| format!("unbalanced quotes in `{text}`"))?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(fields),
            None => return Err(format!("a comma must follow the quotes in `{text}`")),
        }
    }
}

fn is_tmpfs(kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("tmpfs"))
}

/// Reads to the closing quote; a doubled quote is one.
fn quoted_field(mut rest: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(text: &str) -> Result<Mount, String> {
        let options = MountOptions::parse(text, Span::default()).map_err(|error| error.message)?;
        options.resolve(|word| Ok(word.text.replace("$X", "x"))).map_err(|error| error.message)
    }

    #[test]
    fn defaults_are_filled_in() {
        assert_eq!(
            mount("target=/a"),
            Ok(Mount::Bind {
                target: "/a".into(),
                source: "/".into(),
                from: None,
                read_write: false
            })
        );
        assert_eq!(
            mount("type=cache,target=/a/./$X/"),
            Ok(Mount::Cache {
                id: "/a/x".into(),
                target: "/a/./x/".into(),
                source: "/".into(),
                from: None,
                sharing: Sharing::Shared,
                read_only: false,
                mode: 0o755,
                uid: 0,
                gid: 0
            })
        );
        let target = |text| match mount(text) {
            Ok(Mount::Secret { id, target, .. }) => (id, target),
            other => panic!("{other:?}"),
        };
        assert_eq!(target("type=secret,id=a"), ("a".into(), Some("/run/secrets/a".into())));
        assert_eq!(target("type=secret,target=/x/b"), ("b".into(), Some("/x/b".into())));
        assert_eq!(target("type=secret,id=a,env=A"), ("a".into(), None));
        assert_eq!(target("type=secret,id=a,env=A,target=/f"), ("a".into(), Some("/f".into())));
        assert!(matches!(mount("type=bind"), Ok(Mount::Bind { target, .. }) if target == "."));
        assert!(matches!(
            mount("type=ssh"),
            Ok(Mount::Ssh { id, target: None, required: false, mode: 0o600, uid: 0, gid: 0 })
                if id == "default"
        ));
    }

    #[test]
    fn memory_is_taken_from_nothing() {
        let from = |text| {
            let options = MountOptions::parse(text, Span::default()).unwrap();
            options.from().map(str::to_owned)
        };
        assert_eq!(from("type=tmpfs,target=/t,from=nothing"), None);
        assert_eq!(from("type=cache,target=/t,from=seed"), Some("seed".to_owned()));
    }

    #[test]
    fn quoted_fields_hold_commas() {
        let Ok(Mount::Bind { source, .. }) = mount("\"source=a,b\"\"\",target=/x") else {
            panic!()
        };
        assert_eq!(source, "a,b\"");
        assert!(mount("\"source=a").is_err());
        assert!(mount("\"source=a\"b").is_err());
    }

    #[test]
    fn what_a_type_has_not_is_refused() {
        for text in [
            "",
            "type=foo,target=/a",
            "target",
            "type=cache,target=/",
            "type=cache,target=/a/..",
            "target=/a,mode=755",
            "target=/a,sharing=locked",
            "type=cache,target=/a,sharing=x",
            "type=tmpfs,target=/a,required",
            "type=secret",
            "type=secret,id=a,source=b",
            "type=secret,id=a,from=b",
            "type=ssh,size=1",
            "type=ssh,source=default",
            "type=cache,target=/a,mode=9",
            "type=cache,target=/a,uid=x",
            "type=tmpfs,target=/a,size=x",
            "target=/a,from=$X",
            "target=/a,ro=maybe",
            "target=/a,taget=/b",
            "type=cache,target=/a,env=A",
        ] {
            assert!(mount(text).is_err(), "{text}");
        }
    }
}
