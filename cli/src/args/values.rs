//! The small languages inside flags: `NAME=VALUE`, `id=x,src=y`, `512m`, `nofile=1024:2048`.

use std::str::FromStr;

use thiserror::Error;

/// Why the value of a flag can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ValueError {
    #[error("a name is missing before `=`")]
    NameMissing,
    #[error("expected `{expected}`")]
    Shape { expected: &'static str },
    #[error("unknown key `{key}`, expected one of {expected}")]
    UnknownKey { key: String, expected: &'static str },
    #[error("a quote is not closed")]
    OpenQuote,
}

/// `NAME=VALUE`, or `NAME` alone: the value is then taken from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

impl FromStr for Pair {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err(ValueError::NameMissing);
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

/// Splits `a=b,"c=d,e",f` as docker does: commas part fields, quotes shield commas, and the
/// first `=` parts a key from its value. A field without `=` has no value.
pub(crate) fn csv(text: &str) -> Result<Vec<(String, Option<String>)>, ValueError> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().expect("there is always a field");
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    if quoted {
        return Err(ValueError::OpenQuote);
    }
    let pairs = fields.into_iter().map(|field| match field.split_once('=') {
        Some((key, value)) => (key.trim().to_owned(), Some(value.to_owned())),
        None => (field.trim().to_owned(), None),
    });
    Ok(pairs.collect())
}

/// `--secret id=X[,type=file|env][,src=FILE][,env=NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretFlag {
    pub(crate) id: String,
    pub(crate) source: SecretSource,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// A file.
    File(String),
    /// An environment variable.
    Env(String),
    /// The variable named as the id where there is one, else the file of that name.
    Either(String),
}

impl FromStr for SecretFlag {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const KEYS: &str = "`id`, `type`, `src`, `env`";
        let (mut id, mut kind, mut file, mut variable) = (None, None, None, None);
        for (key, value) in csv(text)? {
            let value = value.ok_or(ValueError::Shape { expected: "id=NAME,src=FILE" })?;
            match key.as_str() {
                "id" => id = Some(value),
                "type" => kind = Some(value),
                "src" | "source" => file = Some(value),
                "env" => variable = Some(value),
                _ => {
                    return Err(ValueError::UnknownKey { key, expected: KEYS });
                }
            }
        }
        let id = id
            .or_else(|| variable.clone())
            .filter(|id| !id.is_empty())
            .ok_or(ValueError::Shape { expected: "id=NAME,src=FILE" })?;
        let source = match (kind.as_deref(), file, variable) {
            (None | Some("env"), None, Some(name)) | (Some("env"), Some(name), None) => {
                SecretSource::Env(name)
            }
            (Some("env"), None, None) => SecretSource::Env(id.clone()),
            (None | Some("file"), Some(path), None) => SecretSource::File(path),
            (Some("file"), None, None) => SecretSource::File(id.clone()),
            (None, None, None) => SecretSource::Either(id.clone()),
            _ => {
                return Err(ValueError::Shape { expected: "id=NAME,src=FILE or id=NAME,env=NAME" });
            }
        };
        Ok(Self { id, source })
    }
}

/// `--ssh ID[=SOCKET|KEYFILE[,KEYFILE...]]`; without a path it is the agent of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SshFlag {
    pub(crate) id: String,
    pub(crate) paths: Vec<String>,
}

impl FromStr for SshFlag {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let id = if id.is_empty() { "default" } else { id };
        let paths = paths.split(',').filter(|path| !path.is_empty()).map(str::to_owned);
        Ok(Self { id: id.to_owned(), paths: paths.collect() })
    }
}

/// `--allow network.host|security.insecure|device[=NAME[,alias=ALIAS]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allow {
    HostNetwork,
    Insecure,
    Devices,
    Device { name: String, alias: Option<String> },
    LocalDelete,
}

impl FromStr for Allow {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const SHAPE: ValueError =
            ValueError::Shape { expected: "network.host, security.insecure or device[=NAME]" };
        match text.split_once('=').unwrap_or((text, "")) {
            ("network.host", "") => Ok(Self::HostNetwork),
            ("security.insecure", "") => Ok(Self::Insecure),
            ("buildx.local.delete", "") => Ok(Self::LocalDelete),
            ("device", "") => Ok(Self::Devices),
            ("device", device) => {
                let (name, options) = device.split_once(',').unwrap_or((device, ""));
                let alias = match options {
                    "" => None,
                    options => {
                        let alias = options.strip_prefix("alias=").filter(|name| !name.is_empty());
                        Some(alias.ok_or(SHAPE)?.to_owned())
                    }
                };
                Ok(Self::Device { name: name.to_owned(), alias })
            }
            _ => Err(SHAPE),
        }
    }
}

/// A number of bytes: `1024`, `512m`, `1.5g`, `64MiB`; units are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = ValueError::Shape { expected: "a number with one of the units b, k, m, g, t" };
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let power = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 1,
            "m" | "mb" | "mib" => 2,
            "g" | "gb" | "gib" => 3,
            "t" | "tb" | "tib" => 4,
            _ => return Err(wrong),
        };
        let scale = 1024_u64.pow(power);
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(scale).map(Self).ok_or(wrong);
        }
        fraction(number, scale).map(Self).ok_or(wrong)
    }
}

/// The value of `--memory-swap`: bytes, or -1 for any number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Swap(pub(crate) i64);

impl FromStr for Swap {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "-1" => Ok(Self(-1)),
            size => Ok(Self(i64::try_from(size.parse::<Size>()?.0).unwrap_or(i64::MAX))),
        }
    }
}

/// `1.5` times the scale, in whole bytes.
fn fraction(number: &str, scale: u64) -> Option<u64> {
    let (whole, digits) = number.split_once('.')?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = digits.get(..digits.len().min(6))?;
    let parts: u64 = digits.parse().ok()?;
    let base = 10_u64.pow(u32::try_from(digits.len()).ok()?);
    whole.checked_mul(scale)?.checked_add(parts.checked_mul(scale)? / base)
}

/// `--ulimit NAME=SOFT[:HARD]`; -1 is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ulimit {
    pub(crate) name: String,
    pub(crate) soft: i64,
    pub(crate) hard: i64,
}

impl FromStr for Ulimit {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::Shape { expected: "NAME=SOFT[:HARD]" };
        let number = |text: &str| text.parse::<i64>().ok().filter(|limit| *limit >= -1);
        let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = number(soft).zip(number(hard)).ok_or_else(wrong)?;
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

/// When `run` fetches its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Pull {
    /// Always
    Always,
    /// Where the store lacks it
    #[default]
    Missing,
    /// Never
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, Option<String>)> {
        csv(text).unwrap()
    }

    fn pair(key: &str, value: Option<&str>) -> (String, Option<String>) {
        (key.to_owned(), value.map(str::to_owned))
    }

    #[test]
    fn quotes_shield_commas() {
        assert_eq!(pairs("type=oci,dest=x"), [pair("type", Some("oci")), pair("dest", Some("x"))]);
        assert_eq!(pairs("\"dest=a,b\",rw"), [pair("dest", Some("a,b")), pair("rw", None)]);
        assert_eq!(pairs("\"a=\"\"b\"\"\""), [pair("a", Some("\"b\""))]);
        assert_eq!(csv("\"a"), Err(ValueError::OpenQuote));
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        let source = |text: &str| text.parse::<SecretFlag>().map(|secret| secret.source);
        assert_eq!(source("id=a,src=f"), Ok(SecretSource::File("f".into())));
        assert_eq!(source("id=a,type=env"), Ok(SecretSource::Env("a".into())));
        assert_eq!(source("id=a,env=B"), Ok(SecretSource::Env("B".into())));
        assert_eq!(source("id=a"), Ok(SecretSource::Either("a".into())));
        assert_eq!(source("type=env,id=a,src=B"), Ok(SecretSource::Env("B".into())));
        assert!(source("src=f").is_err());
        assert!(source("id=a,typ=env").is_err());
    }

    #[test]
    fn agents_have_sockets_or_keys() {
        let flag = |text: &str| text.parse::<SshFlag>().map(|flag| (flag.id, flag.paths)).unwrap();
        let owned = |id: &str, paths: &[&str]| {
            (id.to_owned(), paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(flag("default"), owned("default", &[]));
        assert_eq!(flag("default="), owned("default", &[]));
        assert_eq!(flag("git=/a,/b=c"), owned("git", &["/a", "/b=c"]));
    }

    #[test]
    fn leave_is_given_by_name() {
        let device = |name: &str, alias: Option<&str>| {
            Ok(Allow::Device { name: name.to_owned(), alias: alias.map(str::to_owned) })
        };
        assert_eq!("network.host".parse(), Ok(Allow::HostNetwork));
        assert_eq!("security.insecure".parse(), Ok(Allow::Insecure));
        assert_eq!("buildx.local.delete".parse(), Ok(Allow::LocalDelete));
        assert_eq!("device".parse(), Ok(Allow::Devices));
        assert_eq!("device=v/c=1".parse(), device("v/c=1", None));
        assert_eq!("device=v/c=*,alias=any/gpu".parse(), device("v/c=*", Some("any/gpu")));
        for wrong in
            ["", "network", "security.insecure=1", "device=v/c,name=x", "device=v/c,alias="]
        {
            assert!(wrong.parse::<Allow>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let size = |text: &str| text.parse::<Size>().map(|size| size.0).ok();
        assert_eq!(size("64m"), Some(64 << 20));
        assert_eq!(size("1.5G"), Some(3 << 29));
        assert_eq!(size("17"), Some(17));
        assert_eq!(size(".5k"), Some(512));
        assert_eq!(size("64MiB"), Some(64 << 20));
        for wrong in ["", "m", "1x", "-1", "1..5m", "99999999999t"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn limits_have_two_sides() {
        let limit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
        assert_eq!("nofile=1024:2048".parse(), Ok(limit("nofile", 1024, 2048)));
        assert_eq!("core=-1".parse(), Ok(limit("core", -1, -1)));
        assert!("nofile".parse::<Ulimit>().is_err());
        assert!("nofile=-2".parse::<Ulimit>().is_err());
    }
}
