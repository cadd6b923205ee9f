//! What a token is to allow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A set of scopes: for each resource (`repository:library/alpine`) the actions on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// Reading one repository.
    pub(crate) fn pull(repository: &str) -> Self {
        Self::default().with(&format!("repository:{repository}:pull"))
    }

    /// Reading and writing one repository.
    pub(crate) fn push(repository: &str) -> Self {
        Self::default().with(&format!("repository:{repository}:pull,push"))
    }

    /// These and what the text names: scopes as servers write them, blanks in between.
    pub(crate) fn with(mut self, text: &str) -> Self {
        for scope in text.split_whitespace() {
            if let Some((resource, actions)) = scope.rsplit_once(':') {
                let known = self.0.entry(resource.to_owned()).or_default();
                known.extend(actions.split(',').map(str::to_owned));
            }
        }
        self
    }

    /// Whether a token for these does for `other` too.
    pub(crate) fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|(resource, actions)| {
            self.0.get(resource).is_some_and(|known| actions.is_subset(known))
        })
    }

    /// The scopes one by one, as a token server takes them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{resource}:{}", actions.join(","))
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_join_and_cover() {
        let push = Scopes::push("a").with("repository:b:pull repository:a:pull nonsense");
        assert_eq!(push.to_string(), "repository:a:pull,push repository:b:pull");
        assert!(push.cover(&Scopes::pull("a")) && push.cover(&Scopes::default()));
        assert!(!Scopes::pull("a").cover(&push) && !push.cover(&Scopes::push("b")));
    }
}
