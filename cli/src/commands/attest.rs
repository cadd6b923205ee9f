//! `--provenance`, `--sbom` and `--attest`: what a build attests.

use rbuild::{Attest, Detail, Provenance};

use crate::args::{BuildArgs, csv};
use crate::failure::Failure;

/// Reads them; the shorthands count over `--attest`. Without any nothing is attested.
pub(super) fn parse(args: &BuildArgs) -> Result<Attest, Failure> {
    let mut attest = Attest::default();
    for text in &args.attest {
        let wrong = |reason: &str| wrong("attest", text, reason);
        let mut fields = csv(text).map_err(|error| wrong(&error.to_string()))?;
        let kind = fields.iter().position(|(key, _)| key == "type");
        let kind = kind.and_then(|place| fields.remove(place).1);
        match kind.as_deref() {
            Some("provenance") => {
                attest.provenance = provenance(fields).map_err(|it| wrong(&it))?;
            }
            Some("sbom") => attest.sbom = sbom(fields).map_err(|it| wrong(&it))?,
            Some(other) => return Err(wrong(&format!("there is no type `{other}`"))),
            None => return Err(wrong("`type` is missing")),
        }
    }
    if let Some(text) = &args.provenance {
        let wrong = |reason: String| wrong("provenance", text, &reason);
        attest.provenance = provenance(short(text).map_err(wrong)?).map_err(wrong)?;
    }
    if let Some(text) = &args.sbom {
        let wrong = |reason: String| wrong("sbom", text, &reason);
        attest.sbom = sbom(short(text).map_err(wrong)?).map_err(wrong)?;
    }
    Ok(attest)
}

fn wrong(flag: &str, text: &str, reason: &str) -> Failure {
    Failure::usage(format!("cannot use `--{flag} {text}`: {reason}"))
}

type Fields = Vec<(String, Option<String>)>;

/// The fields of a shorthand: a truth, or keys and values.
fn short(text: &str) -> Result<Fields, String> {
    match truth(text) {
        Some(wanted) => Ok(vec![("disabled".to_owned(), Some((!wanted).to_string()))]),
        None => csv(text).map_err(|error| error.to_string()),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" | "disabled" => Some(false),
        _ => None,
    }
}

fn field_truth(key: &str, value: Option<&str>) -> Result<bool, String> {
    truth(value.unwrap_or("true")).ok_or_else(|| format!("`{key}` is `true` or `false`"))
}

fn provenance(fields: Fields) -> Result<Option<Provenance>, String> {
    let mut provenance = Provenance::default();
    let mut is_wanted = true;
    for (key, value) in fields {
        let value = value.as_deref();
        match (key.as_str(), value) {
            ("mode", Some("min")) => provenance.detail = Detail::Min,
            ("mode", Some("max")) => provenance.detail = Detail::Max,
            ("mode", _) => return Err("`mode` is `min` or `max`".to_owned()),
            ("builder-id", Some(uri)) => uri.clone_into(&mut provenance.builder),
            ("reproducible", _) => provenance.reproducible = field_truth(&key, value)?,
            ("version", Some("v1")) => {}
            ("version", _) => return Err("`version` is `v1`, the one that is written".to_owned()),
            ("inline-only", _) => provenance.inline_only = field_truth(&key, value)?,
            ("disabled", _) => is_wanted = !field_truth(&key, value)?,
            _ => return Err(format!("there is no `{key}`")),
        }
    }
    Ok(is_wanted.then_some(provenance))
}

fn sbom(fields: Fields) -> Result<bool, String> {
    let mut is_wanted = true;
    for (key, value) in fields {
        match key.as_str() {
            "disabled" => is_wanted = !field_truth(&key, value.as_deref())?,
            "generator" => {
                let reason = "no image of a generator is run: the one that is built in finds the \
                              packages of apk, dpkg, rpm, pip, npm and cargo; leave `generator` out";
                return Err(reason.to_owned());
            }
            _ => return Err(format!("there is no `{key}`")),
        }
    }
    Ok(is_wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance_of(text: &str) -> Result<Option<Provenance>, String> {
        short(text).and_then(provenance)
    }

    #[test]
    fn attestations_are_asked_for_as_docker_has_it() {
        assert_eq!(provenance_of("false"), Ok(None));
        assert_eq!(provenance_of("disabled=true"), Ok(None));
        assert_eq!(provenance_of("true"), Ok(Some(Provenance::default())));
        let asked = provenance_of("mode=min,builder-id=https://b/1,reproducible=true,version=v1");
        let asked = asked.unwrap().unwrap();
        assert_eq!((asked.detail, asked.builder.as_str()), (Detail::Min, "https://b/1"));
        assert!(asked.reproducible);
        for wrong in ["mode=all", "version=v0.2", "x=1", "mode"] {
            assert!(provenance_of(wrong).is_err(), "{wrong}");
        }
        assert_eq!(short("true").and_then(sbom), Ok(true));
        assert_eq!(short("false").and_then(sbom), Ok(false));
        let refused = short("generator=x/y").and_then(sbom).unwrap_err();
        assert!(refused.contains("built in"), "{refused}");
    }
}
