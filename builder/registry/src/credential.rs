//! Who one is to a registry, never shown in full.

use std::fmt;

/// A user's credential for one registry, and where it comes from.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user; empty where a token stands for the user.
    pub username: String,
    /// What proves it.
    pub secret: Secret,
    /// Where it was found, for hints: a file's path, a helper's name.
    pub origin: String,
}

/// What proves who one is.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Secret {
    /// A password or an API key.
    Password(String),
    /// A token that is exchanged for access tokens (`identitytoken` in Docker's configuration).
    Identity(String),
    /// A bearer token that is sent as it is (`registrytoken` in Docker's configuration).
    Bearer(String),
}

impl Credential {
    /// A user with a password.
    pub fn password(
        username: impl Into<String>,
        password: impl Into<String>,
        origin: impl Into<String>,
    ) -> Self {
        let secret = Secret::Password(password.into());
        Self { username: username.into(), secret, origin: origin.into() }
    }

    /// Names the credential without what it proves itself by.
    pub(crate) fn described(&self) -> String {
        let what = match self.secret {
            Secret::Password(_) => "the password",
            Secret::Identity(_) => "the identity token",
            Secret::Bearer(_) => "the token",
        };
        let user = if self.username.is_empty() {
            String::new()
        } else {
            format!(" of `{}`", self.username)
        };
        let origin =
            if self.origin.is_empty() { String::new() } else { format!(" from {}", self.origin) };
        format!("{what}{user}{origin}")
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.described())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_tells_no_secret() {
        let credential = Credential::password("kit", "hunter2", "config.json");
        let printed = format!("{credential:?} {:?}", credential.secret);
        assert_eq!(printed, "the password of `kit` from config.json (a secret)");
    }
}
