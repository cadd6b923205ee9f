//! `exec`: one more command in a running container.

use rbuild::container::{self, ExecOptions, Terminal};

use super::signals::environment;
use super::status::code;
use super::{Outcome, Session};
use crate::args::ExecArgs;
use crate::failure::{Failure, exit_code};

pub(super) fn run(args: &ExecArgs, session: &Session) -> Outcome {
    let Some((name, command)) = args.container_and_command.split_first() else {
        return Err(Failure::usage("name a container and a command"));
    };
    if command.is_empty() {
        return Err(Failure::usage("name a command after the container"));
    }
    let options = ExecOptions {
        command: command.to_vec(),
        env: environment(&args.env_file, &args.env).map_err(Failure::of_exec)?,
        workdir: args.workdir.clone(),
        user: args.user.clone(),
        tty: args.tty,
        interactive: args.interactive,
        privileged: args.privileged,
        detach: args.detach,
    };
    let terminal = Terminal {
        input: args.interactive,
        detach_keys: args.detach_keys.clone(),
        sig_proxy: false,
        ..Terminal::default()
    };
    match container::exec(&session.store()?, name, &options, &terminal) {
        Ok(ended) => Ok(code(ended)),
        // 126 and 127 are the command's; what hindered rbuild itself is 1.
        Err(error) => match exit_code(error.exit_code()) {
            126 | 127 => Err(Failure::from(error).of_run()),
            _ => Err(error.into()),
        },
    }
}
