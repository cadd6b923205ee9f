//! An ordinary user becomes root in a user namespace, before there are threads.

use rbuild::rootless::{self, Entered};

use crate::args::Command;
use crate::commands::tell;
use crate::config::Config;
use crate::failure::Failure;

/// Makes this process root in a namespace of this user, unless it is root already, or what was
/// typed needs no privilege.
pub(crate) fn enter(command: &Command, config: &mut Config) -> Result<(), Failure> {
    if is_plain(command) {
        return Ok(());
    }
    if rustix::process::geteuid().is_root() {
        return Ok(rootless::refuse_users_store(&config.root()?)?);
    }
    match rootless::enter(&config.fix_root()?) {
        // It is told once: the user may well be content.
        Ok(Entered { single: Some(why), is_first: true }) => {
            tell(&format!(
                "warning: every file of an image belongs to root here, as there is only one user: \
                 {why}\n  hint: `rbuild doctor` says what helps\n"
            ));
            Ok(())
        }
        Ok(_) => Ok(()),
        // It looks at the machine, and says why.
        Err(_) if matches!(command, Command::Doctor(_)) => Ok(()),
        Err(error) => {
            let failure = Failure::from(error);
            let runs = matches!(command, Command::Run(_) | Command::Create(_) | Command::Exec(_));
            Err(if runs { failure.of_run() } else { failure })
        }
    }
}

/// Whether a verb reads or writes only what is the user's own anyway.
fn is_plain(command: &Command) -> bool {
    matches!(
        command,
        Command::Version(_)
            | Command::Completion(_)
            | Command::Man(_)
            | Command::Login(_)
            | Command::Logout(_)
            | Command::Ps(_)
            | Command::Logs(_)
            | Command::Port(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse;

    #[test]
    fn verbs_that_need_no_privilege_pay_for_none() {
        let is_plain = |line: &str| {
            let words = std::iter::once("rbuild").chain(line.split(' '));
            is_plain(&parse(words.map(Into::into).collect()).unwrap().command.plain())
        };
        for line in ["version", "ps -a", "container ls", "logs x", "login", "completion bash"] {
            assert!(is_plain(line), "{line}");
        }
        for line in ["build .", "run x", "exec x y", "rm x", "images", "doctor", "cp x:/y ."] {
            assert!(!is_plain(line), "{line}");
        }
    }
}
