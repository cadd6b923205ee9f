//! Which verb a command line names; a line that names none is a build.

use std::ffi::OsString;

use clap::error::ErrorKind;

/// Global flags that take the next word as their value.
const TAKES_VALUE: [&str; 14] = [
    "--root",
    "--registry-mirror",
    "--insecure-registry",
    "--config",
    "--host",
    "-H",
    "--context",
    "-c",
    "--log-level",
    "-l",
    "--tlscacert",
    "--retry",
    "--retry-delay",
    "--idle-timeout",
];
/// Global flags that stand alone.
const STANDS_ALONE: [&str; 2] = ["-D", "--debug"];
/// What asks about the program itself.
const ASKS: [&str; 5] = ["-h", "--help", "-v", "-V", "--version"];
/// All verbs, so that the tree of commands need not be built to know them.
pub(super) const VERBS: [&str; 56] = [
    "build",
    "why",
    "verify",
    "run",
    "create",
    "ps",
    "logs",
    "exec",
    "attach",
    "cp",
    "commit",
    "export",
    "top",
    "stats",
    "rename",
    "start",
    "stop",
    "restart",
    "kill",
    "pause",
    "unpause",
    "update",
    "events",
    "wait",
    "rm",
    "port",
    "images",
    "pull",
    "push",
    "tag",
    "rmi",
    "history",
    "save",
    "load",
    "import",
    "diff",
    "inspect",
    "login",
    "logout",
    "image",
    "container",
    "volume",
    "network",
    "cache",
    "builder",
    "buildx",
    "imagetools",
    "manifest",
    "system",
    "doctor",
    "version",
    "info",
    "completion",
    "man",
    "runtime",
    "help",
];
/// Verbs of docker that rbuild lacks: a wrong verb must not be taken for a folder to build.
const ABSENT: &[&str] = &[
    "bake",
    "checkpoint",
    "compose",
    "config",
    "context",
    "model",
    "node",
    "plugin",
    "scout",
    "search",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
    "sbom",
    "init",
    "mcp",
    "buildkit",
];

/// Puts `build` where the verb is missing; returns the verb too, none where nothing was typed.
pub(super) fn route(mut argv: Vec<OsString>) -> (Vec<OsString>, Option<String>) {
    let Some(place) = verb_place(&argv) else {
        return (argv, None);
    };
    let word = argv[place].to_string_lossy().into_owned();
    if VERBS.contains(&&*word) || ASKS.contains(&&*word) || is_absent(&word) {
        return (argv, Some(word));
    }
    let verb = "build".to_owned();
    argv.insert(place, verb.clone().into());
    (argv, Some(verb))
}

/// Whether a word is a verb of docker that rbuild lacks.
pub(super) fn is_absent(word: &str) -> bool {
    ABSENT.contains(&word)
}

/// The place of the first word that is no global flag.
fn verb_place(argv: &[OsString]) -> Option<usize> {
    let mut place = 1;
    while let Some(word) = argv.get(place) {
        let word = word.to_string_lossy();
        let (flag, joined) = word.split_once('=').map_or((&*word, false), |(flag, _)| (flag, true));
        if TAKES_VALUE.contains(&flag) {
            place += if joined { 1 } else { 2 };
        } else if STANDS_ALONE.contains(&flag) {
            place += 1;
        } else {
            return Some(place);
        }
    }
    None
}

/// The help that answers a line without any word.
pub(super) fn no_verb(command: &mut clap::Command) -> clap::Error {
    let help = command.render_help();
    command.clone().error(ErrorKind::DisplayHelp, help)
}
