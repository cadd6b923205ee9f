//! Signals, terminals and variables: what verbs on containers have in common.

use std::fs;
use std::path::Path;

use rbuild::container::Signal;

use crate::args::Pair;
use crate::config;
use crate::failure::Failure;

/// A signal by its name or number.
pub(super) fn signal(text: &str) -> Result<Signal, Failure> {
    text.parse().map_err(|_| Failure::usage(format!("there is no signal `{text}`")))
}

/// The variables of `--env-file` and `-e`, the later ones after the earlier ones.
pub(super) fn environment(
    files: &[impl AsRef<Path>],
    typed: &[Pair],
) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for file in files {
        for line in lines(file.as_ref())? {
            all.extend(variable(&line, &config::variable)?);
        }
    }
    all.extend(typed.iter().map(|pair| {
        match &pair.value {
            Some(value) => format!("{}={value}", pair.name),
            None => config::variable(&pair.name)
                .map_or_else(|| pair.name.clone(), |value| format!("{}={value}", pair.name)),
        }
    }));
    Ok(all)
}

/// The lines of a file that say something.
pub(super) fn lines(file: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(file);
    let text = text.map_err(Failure::io(format!("read `{}`", file.display())))?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
    let speaks = |line: &&str| !line.is_empty() && !line.starts_with('#');
    Ok(lines.filter(speaks).map(str::to_owned).collect())
}

/// `NAME=value`, or `NAME` alone: our own variable, if there is one.
fn variable(
    line: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, Failure> {
    let (name, has_value) = line.split_once('=').map_or((line, false), |(name, _)| (name, true));
    if name.is_empty() || name.contains(char::is_whitespace) {
        let message = format!("the line `{line}` of a file of variables names none");
        return Err(Failure::usage(message).hint("there is no space around the `=`"));
    }
    if has_value {
        return Ok(Some(line.to_owned()));
    }
    Ok(lookup(name).map(|value| format!("{name}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_has_comments() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        fs::write(&file, "\u{feff}# comment\n\nA=1 # 2\n  B=\nHERE\nNOT_HERE\n").unwrap();
        let lookup = |name: &str| (name == "HERE").then(|| "3".to_owned());
        let lines = lines(&file).unwrap();
        let all: Vec<_> =
            lines.iter().filter_map(|line| variable(line, &lookup).unwrap()).collect();
        assert_eq!(all, ["A=1 # 2", "B=", "HERE=3"]);
        for wrong in ["Y = 2", "=1", "HERE "] {
            assert!(variable(wrong, &lookup).is_err(), "{wrong}");
        }
    }
}
