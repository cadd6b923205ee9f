//! Changes of permissions as `chmod` writes them: `0755`, or `u=rwX,go=rX`.

use std::str::FromStr;

/// A change of permissions, parsed.
///
/// Symbolic changes follow POSIX with a umask of 0: a clause without `ugoa` is for all. `X` is the
/// right to execute for directories, and for files that somebody could execute before the change.
///
/// ```
/// use rbuild_cache::copy::ModeChange;
/// let change: ModeChange = "u=rwX,go=rX".parse()?;
/// assert_eq!(change.apply(0o600, false), 0o644);
/// assert_eq!(change.apply(0o600, true), 0o755);
/// # Ok::<(), rbuild_cache::copy::InvalidMode>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange(Change);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Set(u32),
    Clauses(Vec<Clause>),
}

/// One operator with what it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clause {
    who: u32,
    operator: Operator,
    rights: Rights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Assign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// Bits of all classes, and whether `X` was among them.
    Bits { bits: u32, execute_if: bool },
    /// The rights of another class, as the shift of its bits.
    Like(u32),
}

/// A text that is neither an octal nor a symbolic change of permissions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid mode: write it like 0755 or u=rwX,go=rX")]
pub struct InvalidMode(String);

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;
const ALL: u32 = 0o7777;
const EXECUTE: u32 = 0o111;

impl ModeChange {
    /// The permissions after the change of a file, or directory, that had `mode`.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match &self.0 {
            Change::Set(mode) => *mode,
            Change::Clauses(clauses) => {
                let executable = is_directory || mode & EXECUTE != 0;
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, executable))
            }
        }
    }

    /// The mode that an octal change sets whatever was before; nothing for symbolic changes.
    pub fn absolute(&self) -> Option<u32> {
        match self.0 {
            Change::Set(mode) => Some(mode),
            Change::Clauses(_) => None,
        }
    }
}

impl Clause {
    fn apply(self, mode: u32, executable: bool) -> u32 {
        let bits = match self.rights {
            Rights::Bits { bits, execute_if: true } if executable => bits | EXECUTE,
            Rights::Bits { bits, .. } => bits,
            Rights::Like(shift) => (mode >> shift & 7) * 0o111,
        };
        let bits = bits & self.who;
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Assign => mode & !self.who | bits,
        }
    }
}

impl FromStr for ModeChange {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        let change = match text.as_bytes().first() {
            Some(b'0'..=b'9') => octal(text).map(Change::Set),
            _ => symbolic(text).map(Change::Clauses),
        };
        change.map(Self).ok_or_else(|| InvalidMode(text.to_owned()))
    }
}

fn octal(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= ALL)
}

fn symbolic(text: &str) -> Option<Vec<Clause>> {
    let mut clauses = Vec::new();
    for part in text.split(',') {
        let operators = part.find(['+', '-', '='])?;
        let (who, mut rest) = part.split_at(operators);
        let who = match who {
            "" => ALL,
            _ => who.chars().try_fold(0, |who, class| Some(who | mask(class)?))?,
        };
        while let Some(operator) = rest.chars().next() {
            let operator = match operator {
                '+' => Operator::Add,
                '-' => Operator::Remove,
                _ => Operator::Assign,
            };
            let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
            clauses.push(Clause { who, operator, rights: rights(&rest[1..end])? });
            rest = &rest[end..];
        }
    }
    Some(clauses)
}

fn mask(class: char) -> Option<u32> {
    match class {
        'u' => Some(USER),
        'g' => Some(GROUP),
        'o' => Some(OTHER),
        'a' => Some(ALL),
        _ => None,
    }
}

fn rights(text: &str) -> Option<Rights> {
    match text {
        "u" => return Some(Rights::Like(6)),
        "g" => return Some(Rights::Like(3)),
        "o" => return Some(Rights::Like(0)),
        _ => {}
    }
    let (mut bits, mut execute_if) = (0, false);
    for right in text.chars() {
        match right {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= EXECUTE,
            'X' => execute_if = true,
            's' => bits |= 0o6000,
            't' => bits |= 0o1000,
            _ => return None,
        }
    }
    Some(Rights::Bits { bits, execute_if })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: &str, mode: u32, is_directory: bool) -> String {
        let change: ModeChange = change.parse().expect("valid");
        format!("{:o}", change.apply(mode, is_directory))
    }

    #[test]
    fn octal_modes_set_everything() {
        assert_eq!(changed("0755", 0o6600, false), "755");
        assert_eq!(changed("4711", 0, true), "4711");
        assert_eq!(changed("0", 0o777, false), "0");
        assert_eq!("7".parse::<ModeChange>().expect("valid").absolute(), Some(7));
    }

    #[test]
    fn symbolic_modes_change_what_they_name() {
        for (change, mode, is_directory, expected) in [
            ("+x", 0o644, false, "755"),
            ("a-w", 0o666, false, "444"),
            ("u=rwX,go=rX", 0o600, false, "644"),
            ("u=rwX,go=rX", 0o600, true, "755"),
            ("u=rwX,go=rX", 0o711, false, "755"),
            ("a-x,a+X", 0o100, false, "111"),
            ("g=u", 0o750, false, "770"),
            ("o=g-w", 0o770, false, "775"),
            ("u+s,g+s", 0o755, false, "6755"),
            ("+t", 0o777, true, "1777"),
            ("u=rw", 0o4777, false, "677"),
            ("g=", 0o2775, true, "705"),
            ("=r", 0o4777, false, "444"),
            ("u+r-w=x", 0o200, false, "100"),
            ("go-rwx", 0o777, true, "700"),
            ("o+s", 0o644, false, "644"),
        ] {
            assert_eq!(changed(change, mode, is_directory), expected, "{change} on {mode:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in [
            "", "8", "10000", "0o755", "-1", "u", "u=q", "x+r", "u=rw,", ",", "rwx", "u=ug", "é=r",
            "u+é",
        ] {
            let parsed = text.parse::<ModeChange>();
            // `-1` is symbolic: it would remove the right `1`, which does not exist.
            assert_eq!(parsed, Err(InvalidMode(text.to_owned())), "{text}");
        }
    }
}
