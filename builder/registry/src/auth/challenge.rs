//! Reads `WWW-Authenticate`: which schemes a server takes, and where it sends for a token.

/// The longest header that is read; real ones stay under 1 KiB.
const LIMIT: usize = 8 * 1024;

/// How a server wants to be shown who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from another server.
    Bearer {
        /// Where tokens are had.
        realm: String,
        /// The name by which the token server knows the registry.
        service: Option<String>,
        /// What the request would have needed.
        scope: Option<String>,
    },
}

/// Reads the challenges of one header; schemes that are not known are passed over, and reading
/// ends where the text is no challenge.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    if header.len() > LIMIT {
        return challenges;
    }
    let mut rest = header;
    while let Some((scheme, after)) = token(rest) {
        let mut parameters = Vec::new();
        rest = after;
        while let Some((name, value, after)) = parameter(rest) {
            parameters.push((name.to_ascii_lowercase(), value));
            rest = after;
        }
        challenges.extend(challenge(scheme, parameters));
    }
    challenges
}

fn challenge(scheme: &str, parameters: Vec<(String, String)>) -> Option<Challenge> {
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    for (name, value) in parameters {
        match name.as_str() {
            "realm" => realm = realm.or(Some(value)),
            "service" => service = service.or(Some(value)).filter(|text| !text.is_empty()),
            "scope" => scope = scope.or(Some(value)).filter(|text| !text.is_empty()),
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// A token, with commas and blanks before it passed over.
fn token(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// `name=value` or `name="value"`; what follows decides where the next challenge starts.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = token(text)?;
    let rest = rest.trim_start_matches([' ', '\t']).strip_prefix('=')?;
    let rest = rest.trim_start_matches([' ', '\t']);
    if let Some(quoted) = rest.strip_prefix('"') {
        let (value, rest) = unquote(quoted)?;
        return Some((name, value, rest));
    }
    // Values without quotes are tokens by the standard, but some servers send whole URLs.
    let end = rest.find([',', ' ', '\t', '"']).unwrap_or(rest.len());
    Some((name, rest[..end].to_owned(), &rest[end..]))
}

fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) }
    }

    #[test]
    fn the_challenges_of_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull""#;
        assert_eq!(
            parse(hub),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/alpine:pull")
            )]
        );
        let nvcr =
            r#"Bearer realm="https://nvcr.io/proxy_auth",scope="repository:nvidia/cuda:pull""#;
        assert_eq!(
            parse(nvcr),
            [bearer("https://nvcr.io/proxy_auth", None, Some("repository:nvidia/cuda:pull"))]
        );
        let comma =
            r#"bearer Realm = "r" , scope="repository:a:pull,push repository:b:pull",error="x""#;
        assert_eq!(
            parse(comma),
            [bearer("r", None, Some("repository:a:pull,push repository:b:pull"))]
        );
        assert_eq!(parse(r#"Basic realm="kit""#), [Challenge::Basic]);
        assert_eq!(parse("BASIC"), [Challenge::Basic]);
        assert_eq!(
            parse("Bearer realm=https://x/token,service=y"),
            [bearer("https://x/token", Some("y"), None)]
        );
    }

    #[test]
    fn several_challenges_share_a_header() {
        let both = r#"Negotiate, Basic realm="a, b=\"c\"", Bearer realm="r",service="""#;
        assert_eq!(parse(both), [Challenge::Basic, bearer("r", None, None)]);
    }

    #[test]
    fn hostile_headers_give_what_can_be_had() {
        for nothing in [
            "",
            ",,,",
            "=",
            "\"",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"open",
            "Bearer realm=\"x\\",
            "é é",
            "Digest a=b",
        ] {
            assert_eq!(parse(nothing), [], "{nothing}");
        }
        assert_eq!(parse(r#"Bearer realm="a",realm="b""#), [bearer("a", None, None)]);
        assert_eq!(parse(&format!("Basic {}", " ".repeat(LIMIT))), []);
        let deep = "Basic,".repeat(1000);
        assert_eq!(parse(&deep).len(), 1000);
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::from("Bearer ");
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let letters = ["realm", "=", "\"", ",", " ", "\\", "é", "Basic", "scope", "\t"];
                text.push_str(letters[usize::try_from(state >> 33).unwrap() % letters.len()]);
            }
            parse(&text);
        }
    }
}
