//! The part of the command tree that a line needs whose verb is an ordinary one.
//!
//! To build the whole tree takes longer than most of what is typed. What is wrong with a line, and
//! what asks for help, is answered from the whole tree all the same.

use clap::{Args, Command};

use super::{
    AttachArgs, BuildArgs, CommitArgs, CpArgs, CreateArgs, ExecArgs, ImagesArgs, InspectArgs,
    KillArgs, LogsArgs, NamesArgs, PortArgs, PsArgs, PullArgs, PushArgs, RmArgs, RmiArgs, RunArgs,
    StartArgs, StopArgs, TagArgs, Top,
};

/// A verb, and what adds its arguments.
type Verb = (&'static str, fn(Command) -> Command);

pub(super) const VERBS: [Verb; 24] = [
    ("attach", AttachArgs::augment_args),
    ("build", BuildArgs::augment_args),
    ("commit", CommitArgs::augment_args),
    ("cp", CpArgs::augment_args),
    ("create", CreateArgs::augment_args),
    ("exec", ExecArgs::augment_args),
    ("images", ImagesArgs::augment_args),
    ("inspect", InspectArgs::augment_args),
    ("kill", KillArgs::augment_args),
    ("logs", LogsArgs::augment_args),
    ("pause", NamesArgs::augment_args),
    ("port", PortArgs::augment_args),
    ("ps", PsArgs::augment_args),
    ("pull", PullArgs::augment_args),
    ("push", PushArgs::augment_args),
    ("restart", StopArgs::augment_args),
    ("rm", RmArgs::augment_args),
    ("rmi", RmiArgs::augment_args),
    ("run", RunArgs::augment_args),
    ("start", StartArgs::augment_args),
    ("stop", StopArgs::augment_args),
    ("tag", TagArgs::augment_args),
    ("unpause", NamesArgs::augment_args),
    ("wait", NamesArgs::augment_args),
];

/// The program with this one verb; none if the verb needs the whole tree.
pub(super) fn of(verb: &str) -> Option<Command> {
    let (name, arguments) = VERBS.iter().find(|(name, _)| *name == verb)?;
    let program =
        Command::new("rbuild").version(env!("CARGO_PKG_VERSION")).disable_version_flag(true);
    let program = Top::augment_args(program.args_override_self(true));
    Some(program.subcommand(arguments(Command::new(*name))))
}
