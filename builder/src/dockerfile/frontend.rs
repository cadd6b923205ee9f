//! Which frontend a file was written for: `# syntax=` at the top, `// syntax=`, or a JSON document
//! with the field `syntax`, so that files which are no Dockerfiles are told from those that are.

use super::directive::key_value;
use super::span::{Span, Spanned};

/// Finds the frontend that a file names.
pub fn frontend(text: &[u8]) -> Option<Spanned<String>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let skipped = match text.strip_prefix(b"#!") {
        Some(_) => text.iter().position(|&byte| byte == b'\n').map_or(text.len(), |end| end + 1),
        None => 0,
    };
    let mut offset = skipped;
    for (number, line) in text[skipped..].split_inclusive(|&byte| byte == b'\n').enumerate() {
        let shown = String::from_utf8_lossy(line);
        let shown = shown.trim();
        let comment = match shown.strip_prefix("//") {
            Some(rest) => format!("#{rest}"),
            None => shown.to_owned(),
        };
        let Some((key, value)) = key_value(&comment) else { break };
        let number = number + 1 + usize::from(skipped > 0);
        let span =
            Span { start: offset, end: offset + line.len(), lines: (number, number), column: 1 };
        if key.eq_ignore_ascii_case("syntax") {
            return Some(Spanned { value: value.to_owned(), span });
        }
        offset += line.len();
    }
    in_json(text)
}

fn in_json(text: &[u8]) -> Option<Spanned<String>> {
    #[derive(serde::Deserialize)]
    struct Document {
        syntax: String,
    }
    if !text.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let document: Document = serde_json::from_slice(text).ok()?;
    let span = Span { start: 0, end: text.len(), lines: (1, 1), column: 1 };
    Some(Spanned { value: document.syntax, span })
}

/// Whether a frontend is one whose language this parser speaks: `docker/dockerfile`, at whatever
/// registry, in whatever version, or what is built in.
pub fn is_dockerfile(frontend: &str) -> bool {
    let name = frontend.split(['@', ' ']).next().unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let mut parts = name.rsplit('/');
    matches!(
        (parts.next(), parts.next()),
        (Some("dockerfile.v0"), None)
            | (Some("dockerfile" | "dockerfile-upstream"), Some("docker"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(String, usize)> {
        frontend(text.as_bytes()).map(|found| (found.value, found.span.lines.0))
    }

    #[test]
    fn a_frontend_is_named_at_the_very_top() {
        let at = |name: &str, line| Some((name.to_owned(), line));
        assert_eq!(found("# syntax=docker/dockerfile:1\nFROM a"), at("docker/dockerfile:1", 1));
        assert_eq!(found("# escape=`\n#SYNTAX = A/b\nFROM a"), at("A/b", 2));
        assert_eq!(found("#!/usr/bin/env x\n# syntax=a"), at("a", 2));
        assert_eq!(found("// syntax=a\n{}"), at("a", 1));
        assert_eq!(found("{\n \"syntax\": \"a\", \"more\": [1]}"), at("a", 1));
        assert_eq!(found("\u{feff}# syntax=a"), at("a", 1));
        for text in ["", "FROM a\n# syntax=b", "# a comment\n# syntax=b", "\n# syntax=b", "{}", "{"]
        {
            assert_eq!(found(text), None, "{text:?}");
        }
    }

    #[test]
    fn dockerfiles_are_told_from_other_languages() {
        for name in [
            "docker/dockerfile",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile:1@sha256:abc",
            "docker/dockerfile-upstream:master",
            "registry.example.com:5000/mirror/docker/dockerfile:1",
            "dockerfile.v0",
        ] {
            assert!(is_dockerfile(name), "{name}");
        }
        for name in
            ["tonistiigi/copy:v1", "dockerfile", "me/dockerfile:1", "docker/dockerfilex", ""]
        {
            assert!(!is_dockerfile(name), "{name}");
        }
    }
}
