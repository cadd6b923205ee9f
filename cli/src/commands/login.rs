//! `login` and `logout`: credentials kept where docker keeps them.

use std::io::{self, BufRead, IsTerminal, Read};

use rbuild::Credential;

use super::{DONE, Outcome, Session, print, tell};
use crate::args::{LoginArgs, LogoutArgs};
use crate::config::{forget, keep};
use crate::failure::Failure;
use crate::interrupt::block_on;

const DOCKER_HUB: &str = "docker.io";
/// The longest password, in bytes.
const LONGEST: u64 = 64 * 1024;

pub(super) fn login(args: &LoginArgs, session: &Session) -> Outcome {
    let registry = host(args.registry.as_deref());
    let (user, password) = ask(args)?;
    let registries = session.registries()?;
    let credential = Credential::password(&user, &password, "the command line");
    let token = block_on(async { Ok(registries.login(registry, credential).await?) })?;
    let folder = folder(session)?;
    keep(&folder, registry, (&user, &password), token.as_deref())?;
    print("Login Succeeded\n")?;
    Ok(DONE)
}

pub(super) fn logout(args: &LogoutArgs, session: &Session) -> Outcome {
    let registry = host(args.registry.as_deref());
    let known = forget(&folder(session)?, registry)?;
    print(&format!("Removing login credentials for {registry}\n"))?;
    if !known {
        tell(&format!("note: there were none for {registry}\n"));
    }
    Ok(DONE)
}

fn folder(session: &Session) -> Result<std::path::PathBuf, Failure> {
    let folder = session.config.docker_folder();
    folder.ok_or_else(|| Failure::usage("HOME is not set: name a folder with `--config`"))
}

/// The registry as references name it.
fn host(typed: Option<&str>) -> &str {
    let typed = typed.unwrap_or(DOCKER_HUB);
    let bare = typed.trim_start_matches("https://").trim_start_matches("http://");
    match bare.split('/').next().unwrap_or(bare) {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        host => host,
    }
}

fn ask(args: &LoginArgs) -> Result<(String, String), Failure> {
    let failed = |what: &str| Failure::io(format!("read the {what}"));
    if args.password_stdin {
        let user = args.username.clone();
        let user = user.ok_or_else(|| Failure::usage("`--password-stdin` needs `--username`"))?;
        let mut password = String::new();
        let read = io::stdin().lock().take(LONGEST).read_to_string(&mut password);
        read.map_err(failed("password"))?;
        return Ok((user, password.trim_end_matches(['\r', '\n']).to_owned()));
    }
    if args.password.is_some() {
        tell("warning: a password on the command line is seen by others; use --password-stdin\n");
    }
    let complete = args.username.is_some() && args.password.is_some();
    if !complete && !io::stdin().is_terminal() {
        let message = "there is no terminal to ask for the user and the password";
        return Err(Failure::usage(message).hint("use `--username` and `--password-stdin`"));
    }
    let user = if let Some(user) = &args.username {
        user.clone()
    } else {
        tell("Username: ");
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(failed("user"))?;
        line.trim().to_owned()
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None => rpassword::prompt_password("Password: ").map_err(failed("password"))?,
    };
    if user.is_empty() || password.is_empty() {
        return Err(Failure::usage("the user and the password can't be empty"));
    }
    Ok((user, password))
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_registry_has_one_name() {
        assert_eq!(host(None), "docker.io");
        assert_eq!(host(Some("https://index.docker.io/v1/")), "docker.io");
        assert_eq!(host(Some("http://localhost:5000")), "localhost:5000");
        assert_eq!(host(Some("nvcr.io")), "nvcr.io");
    }
}
