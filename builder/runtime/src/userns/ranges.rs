//! `/etc/subuid` and its like: the users and groups that a user may have in its namespaces.

/// Numbers of the host, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// The ranges of a user, who is named or numbered there.
pub(super) fn ranges_of(text: &str, name: Option<&str>, uid: u32) -> Vec<Range> {
    let range = |line: &str| {
        let (who, range) = line.trim().split_once(':')?;
        let (first, count) = range.split_once(':')?;
        let is_own = name == Some(who) || who.parse() == Ok(uid);
        let range = Range { first: first.parse().ok()?, count: count.parse().ok()? };
        (is_own && range.count > 0).then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// The name of a user in the text of `/etc/passwd`.
pub(super) fn user_name(accounts: &str, uid: u32) -> Option<String> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "# none\nann:100000:65536\nbob:200000:65536\n1001:300000:10\nann:5:0\nann:x:1\n";
        let range = |first, count| Range { first, count };
        assert_eq!(ranges_of(text, Some("ann"), 7), [range(100_000, 65_536)]);
        let both = [range(200_000, 65_536), range(300_000, 10)];
        assert_eq!(ranges_of(text, Some("bob"), 1001), both);
        assert_eq!(ranges_of(text, None, 1001), [range(300_000, 10)]);
        assert_eq!(ranges_of(text, Some("eve"), 8), []);
    }

    #[test]
    fn a_user_is_known_by_its_number() {
        let text = "root:x:0:0::/root:/bin/sh\nann:x:1001:1001::/home/ann:/bin/sh\nodd\n";
        assert_eq!(user_name(text, 1001).as_deref(), Some("ann"));
        assert_eq!(user_name(text, 7), None);
    }
}
