//! Records of `Name: value` lines with blank lines between them, as Debian, Alpine and Python have
//! them.

/// The most lines of one record that are looked at.
const MOST_FIELDS: usize = 1_000;

/// The fields of one record; lines that go on with a value are left out.
#[derive(Debug)]
pub(super) struct Record<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Record<'a> {
    /// The value of the first field of a name, in whatever case it is written.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let named = |(known, _): &&(&str, &str)| known.eq_ignore_ascii_case(name);
        self.0.iter().find(named).map(|(_, value)| *value)
    }

    /// The same, where names differ in case alone.
    pub(super) fn exact(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// The records of a text, one at a time.
pub(super) fn records(text: &str) -> impl Iterator<Item = Record<'_>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut fields = Vec::new();
        let mut is_empty = true;
        for line in lines.by_ref() {
            if line.trim().is_empty() {
                if is_empty {
                    continue;
                }
                return Some(Record(fields));
            }
            is_empty = false;
            if line.starts_with([' ', '\t']) || fields.len() >= MOST_FIELDS {
                continue;
            }
            fields.extend(line.split_once(':').map(|(name, value)| (name, value.trim())));
        }
        (!is_empty).then_some(Record(fields))
    })
}
