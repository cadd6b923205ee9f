//! What a user's configuration says of names that begin alike, as containers' `registries.conf` has
//! it: where their images are, who has copies of them, or that nobody may have them.

use crate::reference::Reference;

/// What is said of the names that begin with a prefix. Of several rules that fit, the one with the
/// longest prefix counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `host[:port][/path]`, or `*.domain` for the hosts of a domain.
    pub prefix: String,
    /// Where the images are in place of the prefix.
    pub location: Option<Location>,
    /// Who has copies, in the order in which they are asked.
    pub mirrors: Vec<Location>,
    /// Whether these images may not be had at all.
    pub blocked: bool,
    /// The file that says so.
    pub origin: String,
}

/// A place that stands for a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// `host[:port][/path]`, put in the place of the prefix.
    pub place: String,
    /// Whether it may be asked without TLS, or with a certificate that nobody vouches for.
    pub insecure: bool,
    /// Which names are asked for here.
    pub serves: Serves,
}

/// The names for which a mirror is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Serves {
    /// All.
    #[default]
    All,
    /// Those with a digest.
    Digests,
    /// Those without a digest.
    Tags,
}

/// The rule for an image, with the part of the repository's name that its prefix covers.
pub(crate) fn find<'a>(rules: &'a [Rule], reference: &Reference) -> Option<(&'a Rule, String)> {
    let fits = |rule: &'a Rule| Some((rule, covered(&rule.prefix, reference)?));
    rules.iter().filter_map(fits).max_by_key(|(rule, _)| rule.prefix.len())
}

/// The part of the repository's name that a prefix covers, where it fits: empty or ending in a
/// slash, or the whole name.
fn covered(prefix: &str, reference: &Reference) -> Option<String> {
    let (registry, repository) = (reference.registry(), reference.repository());
    if let Some(domain) = prefix.strip_prefix('*') {
        let is_below = domain.starts_with('.') && registry.ends_with(domain);
        return is_below.then(String::new);
    }
    let path = match prefix.strip_prefix(registry)? {
        "" => return Some(String::new()),
        path => path.strip_prefix('/')?.trim_end_matches('/'),
    };
    match repository.strip_prefix(path)? {
        "" => Some(path.to_owned()),
        rest if rest.starts_with('/') => Some(format!("{path}/")),
        _ => None,
    }
}

impl Location {
    /// Whether it is asked for this name.
    pub(crate) fn is_for(&self, reference: &Reference) -> bool {
        match self.serves {
            Serves::All => true,
            Serves::Digests => reference.digest().is_some(),
            Serves::Tags => reference.digest().is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str) -> Rule {
        let (prefix, origin) = (prefix.to_owned(), String::new());
        Rule { prefix, location: None, mirrors: Vec::new(), blocked: false, origin }
    }

    #[test]
    fn the_longest_prefix_counts() {
        let rules = ["docker.io", "docker.io/library", "docker.io/library/alpine", "*.corp.test"];
        let rules = rules.map(rule);
        let found = |name: &str| {
            let found = find(&rules, &name.parse().unwrap());
            found.map(|(rule, covered)| (rule.prefix.as_str(), covered))
        };
        let is = |prefix, covered: &str| Some((prefix, covered.to_owned()));
        assert_eq!(found("alpine"), is("docker.io/library/alpine", "library/alpine"));
        assert_eq!(found("alpine-more"), is("docker.io/library", "library/"));
        assert_eq!(found("team/app"), is("docker.io", ""));
        assert_eq!(found("a.corp.test/app"), is("*.corp.test", ""));
        assert_eq!(found("corp.test/app"), None);
        assert_eq!(found("docker.iox/app"), None);
    }

    #[test]
    fn a_mirror_may_serve_digests_or_tags_alone() {
        let tag: Reference = "alpine".parse().unwrap();
        let digest: Reference = format!("alpine@sha256:{}", "a".repeat(64)).parse().unwrap();
        let serves = |serves| {
            let place = Location { place: "m".to_owned(), insecure: false, serves };
            (place.is_for(&tag), place.is_for(&digest))
        };
        assert_eq!(serves(Serves::All), (true, true));
        assert_eq!(serves(Serves::Digests), (false, true));
        assert_eq!(serves(Serves::Tags), (true, false));
    }
}
