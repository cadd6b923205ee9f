//! `start`, `stop`, `restart`, `kill`, `wait`, `attach`, `rename` and `rm`: the life of containers that are there.

use rbuild::container::{self, Ended, Terminal};

use super::signals::signal;
use super::{DONE, Outcome, Session, each};
use crate::args::{AttachArgs, KillArgs, NamesArgs, RenameArgs, RmArgs, StartArgs, StopArgs};
use crate::failure::{Failure, exit_code};

pub(super) fn start(args: &StartArgs, session: &Session) -> Outcome {
    if let Some(flag) = args.foreign.refused() {
        return Err(Failure::unsupported(flag));
    }
    let store = session.store()?;
    if !args.attach && !args.interactive {
        return each(&args.containers, |name| {
            container::start(&store, name)?;
            Ok(format!("{name}\n"))
        });
    }
    let [name] = args.containers.as_slice() else {
        return Err(Failure::usage("only one container can be attached to"));
    };
    let terminal = Terminal {
        input: args.interactive,
        detach_keys: args.detach_keys.clone(),
        sig_proxy: true,
        ..Terminal::default()
    };
    Ok(code(container::start_attached(&store, name, &terminal)?))
}

pub(super) fn stop(args: &StopArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let signal = args.signal.as_deref().map(signal).transpose()?;
    each(&args.containers, |name| {
        container::stop(&store, name, signal, args.timeout)?;
        Ok(format!("{name}\n"))
    })
}

pub(super) fn restart(args: &StopArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let signal = args.signal.as_deref().map(signal).transpose()?;
    each(&args.containers, |name| {
        container::restart(&store, name, signal, args.timeout)?;
        Ok(format!("{name}\n"))
    })
}

pub(super) fn attach(args: &AttachArgs, session: &Session) -> Outcome {
    let terminal = Terminal {
        input: !args.no_stdin,
        detach_keys: args.detach_keys.clone(),
        sig_proxy: args.sig_proxy,
        ..Terminal::default()
    };
    Ok(code(container::attach(&session.store()?, &args.container, &terminal)?))
}

pub(super) fn rename(args: &RenameArgs, session: &Session) -> Outcome {
    container::rename(&session.store()?, &args.container, &args.name)?;
    Ok(DONE)
}

pub(super) fn kill(args: &KillArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let signal = signal(&args.signal)?;
    each(&args.containers, |name| {
        container::kill(&store, name, signal)?;
        Ok(format!("{name}\n"))
    })
}

pub(super) fn pause(args: &NamesArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    each(&args.containers, |name| {
        container::pause(&store, name)?;
        Ok(format!("{name}\n"))
    })
}

pub(super) fn unpause(args: &NamesArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    each(&args.containers, |name| {
        container::unpause(&store, name)?;
        Ok(format!("{name}\n"))
    })
}

pub(super) fn wait(args: &NamesArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    each(&args.containers, |name| Ok(format!("{}\n", container::wait(&store, name)?)))
}

pub(super) fn rm(args: &RmArgs, session: &Session) -> Outcome {
    if let Some(flag) = args.foreign.refused() {
        return Err(Failure::unsupported(flag));
    }
    let store = session.store()?;
    each(&args.containers, |name| {
        match container::remove(&store, name, args.force, args.volumes) {
            // As with docker, force means that it is gone afterwards, which it is.
            Err(container::Error::NotFound(_)) if args.force => Ok(String::new()),
            removed => Ok(removed.map(|()| format!("{name}\n"))?),
        }
    })
}

/// The exit code of a container that was attached to.
pub(super) fn code(ended: Ended) -> u8 {
    match ended {
        Ended::Exited(code) => exit_code(code),
        Ended::Detached => DONE,
    }
}
