//! The tree that a Dockerfile becomes: what is written, nothing expanded and nothing looked up.

use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::directive::{Check, Directives};
use super::mount::MountOptions;
use super::span::Span;

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// What the lines at the very top ask of the parser.
    pub directives: Directives,
    /// The `ARG` instructions before the first `FROM`.
    pub args: Vec<Statement<Vec<Arg>>>,
    /// The stages in the order of the file; there is at least one.
    pub stages: Vec<Stage>,
    /// What the lint rules that need no more than the text have found, in the order of the file; no
    /// check is asked yet, see [`warnings_under`](Self::warnings_under).
    pub warnings: Vec<Diagnostic>,
}

/// A `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The instruction that opens the stage.
    pub from: Statement<From>,
    /// The instructions after it, in order.
    pub instructions: Vec<Statement>,
}

/// An instruction in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement<T = Instruction> {
    /// What the instruction says.
    pub value: T,
    /// The instruction as written, its continuation lines joined and comments in it dropped;
    /// without the bodies of here-documents. Progress and history show it.
    pub text: String,
    /// The whole of it, with continuation lines and here-documents.
    pub span: Span,
    /// The lines of the comment directly above, without `#` and outer blanks.
    pub comments: Vec<String>,
    /// The `# check=` directly above, for this instruction alone.
    pub check: Option<Check>,
}

/// Text as written, before variables and quotes in it are resolved by
/// [`expand`](super::expand::expand).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text, quotes and escapes included.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `ADD`.
    Add(Add),
    /// `ARG`, one or more.
    Arg(Vec<Arg>),
    /// `CMD`.
    Cmd(Command),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `ENV`, as names and values.
    Env(Vec<(Word, Word)>),
    /// `EXPOSE`; each word may expand to several.
    Expose(Vec<Word>),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `LABEL`, as names and values.
    Label(Vec<(Word, Word)>),
    /// `MAINTAINER`.
    Maintainer(String),
    /// `ONBUILD`.
    Onbuild(Onbuild),
    /// `RUN`.
    Run(Run),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    Stopsignal(Word),
    /// `USER`.
    User(Word),
    /// `VOLUME`.
    Volume(Vec<Word>),
    /// `WORKDIR`.
    Workdir(Word),
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The image or the earlier stage.
    pub image: Word,
    /// `--platform`.
    pub platform: Option<Word>,
    /// The name of the stage, in lower case.
    pub name: Option<String>,
}

/// `NAME` or `NAME=DEFAULT` of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// The name.
    pub name: Word,
    /// The default; empty text for `NAME=`.
    pub default: Option<Word>,
}

/// What `CMD`, `ENTRYPOINT` and `HEALTHCHECK CMD` start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell of the stage.
    Shell(String),
    /// The JSON form: an argument vector, possibly empty.
    Exec(Vec<String>),
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What is run.
    pub command: RunCommand,
    /// `--mount`, in order.
    pub mounts: Vec<MountOptions>,
    /// `--network`.
    pub network: Option<Network>,
    /// `--security`.
    pub security: Option<Security>,
    /// `--device`, in order.
    pub devices: Vec<Device>,
    /// The here-documents as written; `command` already holds their text.
    pub heredocs: Vec<Heredoc>,
}

/// What a `RUN` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunCommand {
    /// Text for the shell of the stage; here-documents with a command are part of it, and a
    /// here-document alone is all of it.
    Shell(String),
    /// The JSON form.
    Exec(Vec<String>),
    /// A here-document alone whose text starts with `#!`: a file named `name` under `/dev/pipes`,
    /// mode 0755, whose path the shell of the stage is given.
    Script {
        /// The name of the file.
        name: String,
        /// Its text.
        text: String,
    },
}

/// `RUN --network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// What the build uses.
    Default,
    /// Only a loopback device.
    None,
    /// That of the host.
    Host,
}

/// `RUN --security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Security {
    /// The usual sandbox.
    Sandbox,
    /// No sandbox.
    Insecure,
}

/// `RUN --device=NAME[,required]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    /// The name: `vendor.example/class=device`, or a class.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What is copied; at least one.
    pub sources: Vec<Source>,
    /// Where to.
    pub destination: Word,
    /// `--from`: a stage, an index, a named context or an image. Holds no `$`.
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, in order; not expanded.
    pub exclude: Vec<Word>,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// What is added; at least one.
    pub sources: Vec<Source>,
    /// Where to.
    pub destination: Word,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, in order; not expanded.
    pub exclude: Vec<Word>,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`, where given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, where given.
    pub unpack: Option<bool>,
}

/// A source of `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path, a pattern, or for `ADD` a URL.
    Path(Word),
    /// A file written in the Dockerfile itself.
    Heredoc(Heredoc),
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes; the file name for `COPY` and `ADD`.
    pub name: String,
    /// The number before `<<`, 0 if none.
    pub descriptor: u32,
    /// Whether variables in the body are resolved: no part of the word is quoted.
    pub expand: bool,
    /// Whether leading tabs are dropped (`<<-`).
    pub chomp: bool,
    /// The body as written, line ends and tabs included.
    pub body: String,
    /// The body and the line that ends it.
    pub span: Span,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`: turns a check of the base image off.
    None,
    /// `CMD`.
    Check {
        /// What is run.
        command: Command,
        /// `--interval`.
        interval: Option<Duration>,
        /// `--timeout`.
        timeout: Option<Duration>,
        /// `--start-period`.
        start_period: Option<Duration>,
        /// `--start-interval`.
        start_interval: Option<Duration>,
        /// `--retries`.
        retries: Option<u32>,
    },
}

/// `ONBUILD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The text for the image's configuration: the trigger with its here-documents.
    pub text: String,
    /// The trigger.
    pub instruction: Box<Statement>,
}
