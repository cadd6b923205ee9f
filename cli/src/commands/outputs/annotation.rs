//! Annotations, as buildx spells them.

use rbuild::{Annotated, Annotation, Platform};

/// Reads `[TYPE[PLATFORM][,TYPE[PLATFORM]…]:]KEY=VALUE`; without a type it is of manifests.
pub(in crate::commands) fn flag(text: &str) -> Result<Vec<Annotation>, String> {
    let (left, value) = text.split_once('=').ok_or("it is TYPE:KEY=VALUE or KEY=VALUE")?;
    // A key may have colons of its own.
    let (types, key) = match left.split_once(':') {
        Some((types, key)) if types.split(',').all(|one| place(one).is_ok()) => (types, key),
        _ => ("manifest", left),
    };
    types.split(',').map(|one| annotation(place(one)?, key, value)).collect()
}

/// Reads the attribute `annotation[-TYPE][PLATFORM].KEY` and its value.
pub(super) fn attribute(attribute: &str, value: &str) -> Result<Annotation, String> {
    let rest = attribute.strip_prefix("annotation").unwrap_or(attribute);
    let shape = || format!("`{attribute}` is not annotation-TYPE.KEY");
    let (on, key) = rest.split_once('.').ok_or_else(shape)?;
    let on = match on.strip_prefix('-') {
        Some(on) => on.to_owned(),
        None if on.is_empty() || on.starts_with('[') => format!("manifest{on}"),
        None => return Err(shape()),
    };
    annotation(place(&on)?, key, value)
}

fn annotation(
    (on, platform): (Annotated, Option<Platform>),
    key: &str,
    value: &str,
) -> Result<Annotation, String> {
    if key.is_empty() {
        return Err("it has no key".to_owned());
    }
    Ok(Annotation { on, platform, key: key.to_owned(), value: value.to_owned() })
}

/// Reads `TYPE` or `TYPE[PLATFORM]`.
fn place(text: &str) -> Result<(Annotated, Option<Platform>), String> {
    let (on, platform) = match text.split_once('[') {
        Some((on, rest)) => (on, Some(rest.strip_suffix(']').ok_or("a `]` is missing")?)),
        None => (text, None),
    };
    let on = match on {
        "manifest" => Annotated::Manifest,
        "manifest-descriptor" => Annotated::ManifestDescriptor,
        "index" => Annotated::Index,
        "index-descriptor" => Annotated::IndexDescriptor,
        other => return Err(format!("nothing is annotated that is called `{other}`")),
    };
    let platform = platform.map(str::parse::<Platform>).transpose();
    let platform = platform.map_err(|error| error.to_string())?;
    if platform.is_some() && matches!(on, Annotated::Index | Annotated::IndexDescriptor) {
        return Err("an index is for all platforms".to_owned());
    }
    Ok((on, platform))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(annotation: &Annotation) -> String {
        let Annotation { on, platform, key, value } = annotation;
        let platform = platform.as_ref().map(Platform::to_string).unwrap_or_default();
        format!("{on:?} {platform} {key} {value}")
    }

    #[test]
    fn flags_are_read_as_buildx_reads_them() {
        let table: [(&str, &[&str]); 6] = [
            ("a.b=c:d=e", &["Manifest  a.b c:d=e"]),
            ("index:a=b", &["Index  a b"]),
            ("index,manifest:a=b", &["Index  a b", "Manifest  a b"]),
            ("manifest[linux/arm64]:a=b", &["Manifest linux/arm64 a b"]),
            ("manifest-descriptor:a=", &["ManifestDescriptor  a "]),
            ("urn:x=b", &["Manifest  urn:x b"]),
        ];
        for (text, expected) in table {
            let all: Vec<_> = flag(text).unwrap().iter().map(said).collect();
            assert_eq!(all, expected, "{text}");
        }
        for wrong in ["a", "index:=b", "=b"] {
            assert!(flag(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn attributes_are_read_as_buildkit_reads_them() {
        let table = [
            ("annotation.a.b", "Manifest  a.b v"),
            ("annotation-index.a", "Index  a v"),
            ("annotation-manifest-descriptor.a", "ManifestDescriptor  a v"),
            ("annotation[linux/arm/v7].a", "Manifest linux/arm/v7 a v"),
            ("annotation-manifest[linux/amd64].a", "Manifest linux/amd64 a v"),
        ];
        for (text, expected) in table {
            assert_eq!(said(&attribute(text, "v").unwrap()), expected, "{text}");
        }
        for wrong in
            ["annotation", "annotations.a", "annotation-x.a", "annotation.", "annotation[x.a"]
        {
            assert!(attribute(wrong, "v").is_err(), "{wrong}");
        }
        assert!(attribute("annotation-index[linux/amd64].a", "v").is_err());
    }
}
