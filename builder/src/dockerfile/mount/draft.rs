//! The options of one mount, judged together.

use super::super::hint::suggest;
use super::super::value::{boolean, size};
use super::{Mount, Sharing};

/// The types of mounts.
const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// A message, and what to do about it.
pub(super) type Refusal = (String, Option<String>);

/// The options of a mount, read but not yet judged.
#[derive(Default)]
struct Draft {
    kind: String,
    target: Option<String>,
    source: Option<String>,
    from: Option<String>,
    id: Option<String>,
    env: Option<String>,
    sharing: Option<Sharing>,
    read_only: Option<bool>,
    required: bool,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
}

impl Mount {
    /// Makes a mount of options whose values are expanded.
    pub(super) fn from_options(options: &[(String, Option<String>)]) -> Result<Self, Refusal> {
        let mut draft = Draft { kind: "bind".to_owned(), ..Draft::default() };
        for (key, value) in options {
            draft.set(key, value.as_deref())?;
        }
        draft.check()?;
        draft.mount()
    }
}

impl Draft {
    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), Refusal> {
        let text = value.unwrap_or_default();
        let invalid = || (format!("invalid value `{text}` of the mount option `{key}`"), None);
        let flag = || value.map_or(Some(true), boolean).ok_or_else(invalid);
        let number = || text.parse::<u32>().map_err(|_| invalid());
        let owned = || Some(text.to_owned()).filter(|text| !text.is_empty());
        match key {
            "type" => {
                let kind = text.to_ascii_lowercase();
                if !TYPES.contains(&kind.as_str()) {
                    let message = format!("unknown type `{text}` of a mount");
                    let all = || format!("it is one of {}", TYPES.join(", "));
                    return Err((message, suggest(text, TYPES).or_else(|| Some(all()))));
                }
                self.kind = kind;
            }
            "target" | "dst" | "destination" => self.target = owned(),
            "source" | "src" => self.source = owned(),
            "from" => self.from = owned(),
            "id" => self.id = owned(),
            "env" => self.env = owned(),
            "ro" | "readonly" => self.read_only = Some(flag()?),
            "rw" | "readwrite" => self.read_only = Some(!flag()?),
            "required" => self.required = flag()?,
            "sharing" => self.sharing = Some(sharing(text).ok_or_else(invalid)?),
            "mode" => self.mode = Some(u32::from_str_radix(text, 8).map_err(|_| invalid())?),
            "uid" => self.uid = Some(number()?),
            "gid" => self.gid = Some(number()?),
            "size" => self.size = Some(size(text).map_err(|_| invalid())?),
            _ => return Err((format!("unknown option `{key}` of a mount"), None)),
        }
        Ok(())
    }

    /// Refuses options that the type does not have.
    fn check(&self) -> Result<(), Refusal> {
        let kind = self.kind.as_str();
        let owned = matches!(kind, "cache" | "secret" | "ssh");
        let asked = matches!(kind, "secret" | "ssh");
        let wrong = [
            ("mode", self.mode.is_some() && !owned),
            ("uid", self.uid.is_some() && !owned),
            ("gid", self.gid.is_some() && !owned),
            ("required", self.required && !asked),
            ("sharing", self.sharing.is_some() && kind != "cache"),
            ("size", self.size.is_some() && kind != "tmpfs"),
            ("env", self.env.is_some() && kind != "secret"),
            ("from", self.from.is_some() && asked),
            ("source", self.source.is_some() && kind == "ssh"),
        ];
        match wrong.iter().find(|(_, wrong)| *wrong) {
            Some((key, _)) => {
                Err((format!("a mount of type `{kind}` has no option `{key}`"), None))
            }
            None => Ok(()),
        }
    }

    fn mount(self) -> Result<Mount, Refusal> {
        match self.kind.as_str() {
            "cache" => self.cache(),
            "tmpfs" => Ok(Mount::Tmpfs { size: self.size, target: self.place()? }),
            "secret" => self.secret(),
            "ssh" => Ok(Mount::Ssh {
                id: self.id.unwrap_or_else(|| "default".to_owned()),
                target: self.target,
                required: self.required,
                mode: self.mode.unwrap_or(0o600),
                uid: self.uid.unwrap_or(0),
                gid: self.gid.unwrap_or(0),
            }),
            _ => Ok(Mount::Bind {
                target: self.place()?,
                source: self.source.unwrap_or_else(|| "/".to_owned()),
                from: self.from,
                read_write: self.read_only == Some(false),
            }),
        }
    }

    /// The target of a mount that has one always: the working directory unless given.
    fn place(&self) -> Result<String, Refusal> {
        let target = self.target.as_deref().unwrap_or(".");
        if clean(target) == "/" {
            return Err((format!("a mount of type `{}` cannot be on `/`", self.kind), None));
        }
        Ok(target.to_owned())
    }

    fn cache(self) -> Result<Mount, Refusal> {
        let target = self.place()?;
        Ok(Mount::Cache {
            id: self.id.unwrap_or_else(|| clean(&target)),
            target,
            source: self.source.unwrap_or_else(|| "/".to_owned()),
            from: self.from,
            sharing: self.sharing.unwrap_or_default(),
            read_only: self.read_only == Some(true),
            mode: self.mode.unwrap_or(0o755),
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
        })
    }

    fn secret(self) -> Result<Mount, Refusal> {
        if self.source.is_some() && self.id.is_some() {
            return Err(("a secret has either an `id` or a `source`".to_owned(), None));
        }
        let named = self.id.or(self.source);
        let Some(id) = named.or_else(|| self.target.as_deref().map(base).map(str::to_owned)) else {
            let hint = "name it: `--mount=type=secret,id=NAME`".to_owned();
            return Err(("a secret needs an `id` or a target".to_owned(), Some(hint)));
        };
        let default = || self.env.is_none().then(|| format!("/run/secrets/{}", base(&id)));
        Ok(Mount::Secret {
            target: self.target.clone().or_else(default),
            env: self.env,
            required: self.required,
            mode: self.mode.unwrap_or(0o400),
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
            id,
        })
    }
}

fn sharing(text: &str) -> Option<Sharing> {
    match text.to_ascii_lowercase().as_str() {
        "shared" => Some(Sharing::Shared),
        "private" => Some(Sharing::Private),
        "locked" => Some(Sharing::Locked),
        _ => None,
    }
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// A path without `.`, `..` and doubled slashes; what leads out of `/` is dropped.
fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let up = part == "..";
        if up && parts.last().is_some_and(|last| *last != "..") {
            parts.pop();
        } else if !up || !absolute {
            parts.push(part);
        }
    }
    let parts = parts.join("/");
    match (absolute, parts.is_empty()) {
        (true, _) => format!("/{parts}"),
        (false, true) => ".".to_owned(),
        (false, false) => parts,
    }
}
