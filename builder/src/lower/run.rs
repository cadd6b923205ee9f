//! RUN: the process, what it sees mounted, and which parts of other inputs it uses.

use std::borrow::Cow;

use rbuild_solver::Edge;
use rbuild_solver::op::{self, Exec, MountKind, Op, Select};

use super::history;
use super::plan::Base;
use super::scope::{Scope, is_proxy};
use super::stage::{Lowering, State, Step};
use crate::dockerfile::{
    Device, Diagnostic, Mount, MountOptions, Network, Run, RunCommand, Security, Sharing, Span,
    Statement,
};

/// The variable that names the socket of an SSH agent.
const AGENT: &str = "SSH_AUTH_SOCK";
/// What stands for the value of a secret where a step is shown.
const MASK: &str = "****";

/// The inputs and mounts of one RUN while they are collected.
struct Mounts {
    inputs: Vec<Edge>,
    mounts: Vec<op::Mount>,
}

impl Lowering<'_> {
    /// The step of a RUN instruction; its history line is added.
    pub(super) fn run(
        &mut self,
        index: usize,
        state: &mut State,
        run: &Run,
        statement: &Statement,
        text: String,
    ) -> Result<Step, Diagnostic> {
        let mut mounts = Mounts { inputs: vec![Edge::all(state.root)], mounts: Vec::new() };
        let args = arguments(state, run, &mut mounts);
        for options in &run.mounts {
            self.mount(index, state, options, &mut mounts)?;
        }
        let text = match run.heredocs.first() {
            Some(heredoc) => format!("{text} ({})", summary(&heredoc.body)),
            None => text,
        };
        let line = history::run(&args, &listed_arguments(state));
        history::file_step(&mut state.config, &line);
        let exec = self.exec(state, run, args, mounts.mounts, statement.span)?;
        Ok(Step { op: Op::Exec(Box::new(exec)), inputs: mounts.inputs, text, span: statement.span })
    }

    fn exec(
        &self,
        state: &State,
        run: &Run,
        args: Vec<String>,
        mounts: Vec<op::Mount>,
        span: Span,
    ) -> Result<Exec, Diagnostic> {
        let request = self.request;
        let insecure = run.security == Some(Security::Insecure);
        if insecure && !request.insecure {
            let message = "RUN --security=insecure is not allowed";
            let hint = "allow it with `--allow security.insecure`".to_owned();
            return Err(Diagnostic::error(span, message).hint(hint));
        }
        // The step has a copy of all variables, and its line of the history one of the arguments.
        let spent = state.scope.spend_copy().and_then(|()| state.arguments.spend_copy());
        spent.map_err(|error| Diagnostic::error(span, error.to_string()))?;
        Ok(Exec {
            args,
            env: environment(state, &mounts),
            unkeyed_env: self.proxies(state),
            cwd: state.absolute("."),
            user: state.config.config.user.clone(),
            mounts,
            devices: run.devices.iter().map(device).collect(),
            network: match run.network {
                Some(Network::None) => op::Network::None,
                Some(Network::Host) => op::Network::Host,
                Some(Network::Default) | None => request.network,
            },
            insecure,
            hostname: match request.argument("BUILDKIT_SANDBOX_HOSTNAME") {
                Some(name) if !name.is_empty() => name.to_owned(),
                _ => request.hostname.clone(),
            },
            extra_hosts: request.extra_hosts.clone(),
            shm_size: request.shm_size,
            ulimits: request.ulimits.clone(),
            platform: state.platform.to_string(),
        })
    }

    /// The proxy arguments of the build that no ARG declares, in both spellings.
    fn proxies(&self, state: &State) -> Vec<(String, String)> {
        let undeclared = |name: &str| state.scope.get(name).is_none();
        let mut env = Vec::new();
        for (name, value) in self.request.arguments.iter().filter(|(name, _)| is_proxy(name)) {
            for name in [name.to_uppercase(), name.to_lowercase()] {
                if undeclared(&name) && !env.iter().any(|(known, _)| *known == name) {
                    env.push((name, value.clone()));
                }
            }
        }
        env
    }

    fn mount(
        &mut self,
        index: usize,
        state: &State,
        options: &MountOptions,
        all: &mut Mounts,
    ) -> Result<(), Diagnostic> {
        let mount = options.resolve(|word| state.scope.expand(word))?;
        let span = options.span;
        let (target, kind) = match mount {
            Mount::Bind { target, source, from, read_write } => {
                let base = self.mount_base(index, from.as_deref(), span)?;
                let input = self.bound(&base, &source, all, span)?;
                let source = clean_source(&source);
                (target, MountKind::Bind { input, source, writable: read_write })
            }
            Mount::Cache { id, target, source, from, sharing, read_only, mode, uid, gid } => {
                let seed = match from {
                    Some(from) => {
                        let base = self.mount_base(index, Some(&from), span)?;
                        Some(self.seed(&base, &source, all, span)?)
                    }
                    None => None,
                };
                let sharing = match sharing {
                    Sharing::Shared => op::Sharing::Shared,
                    Sharing::Private => op::Sharing::Private,
                    Sharing::Locked => op::Sharing::Locked,
                };
                let id = match self.request.argument("BUILDKIT_CACHE_MOUNT_NS") {
                    Some(namespace) => format!("{namespace}/{id}"),
                    None => id,
                };
                let source = clean_source(&source);
                (target, MountKind::Cache { id, sharing, read_only, seed, source, mode, uid, gid })
            }
            Mount::Tmpfs { target, size } => {
                (target, MountKind::Tmpfs { size: size.unwrap_or_default() })
            }
            Mount::Secret { id, target, env, required, mode, uid, gid } => {
                let file = target.is_some();
                let target = target.unwrap_or_default();
                (target, MountKind::Secret { id, env, file, required, mode, uid, gid })
            }
            Mount::Ssh { id, target, required, mode, uid, gid } => {
                let number = all.mounts.iter().filter(|mount| is_ssh(mount)).count();
                let target = target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{number}"));
                (target, MountKind::Ssh { id, required, mode, uid, gid })
            }
        };
        let has_target = !matches!(kind, MountKind::Secret { file: false, .. });
        let target = if has_target { state.absolute(&target) } else { target };
        if target == "/" {
            let hint = "say where it appears: `target=/path`".to_owned();
            return Err(Diagnostic::error(span, "a mount cannot be on `/`").hint(hint));
        }
        all.mounts.push(op::Mount { target, kind });
        Ok(())
    }

    fn mount_base(&self, index: usize, from: Option<&str>, span: Span) -> Result<Base, Diagnostic> {
        match from {
            None => Ok(Self::context()),
            Some(name) => self.plan.from(index, name, false, span, self.request),
        }
    }

    /// Adds an input of which a mount shows one path.
    fn bound(
        &mut self,
        base: &Base,
        source: &str,
        all: &mut Mounts,
        span: Span,
    ) -> Result<usize, Diagnostic> {
        let vertex = self.source(base, span)?;
        let pattern = match clean_source(source).trim_start_matches('/') {
            "" => ".".to_owned(),
            path => literal(path),
        };
        if let Base::Folder(name) = base {
            self.folders.entry(name.clone()).or_default().insert(pattern.clone());
        }
        let select = Select::Paths { patterns: vec![pattern], exclude: Vec::new(), parents: false };
        all.inputs.push(Edge::part(vertex, select));
        Ok(all.inputs.len() - 1)
    }

    /// Adds an input of which one path fills a new cache.
    fn seed(
        &mut self,
        base: &Base,
        source: &str,
        all: &mut Mounts,
        span: Span,
    ) -> Result<usize, Diagnostic> {
        if clean_source(source) != "/" || matches!(base, Base::Folder(_)) {
            return self.bound(base, source, all, span);
        }
        // A whole image is known without reading its files.
        all.inputs.push(Edge::all(self.source(base, span)?));
        Ok(all.inputs.len() - 1)
    }
}

/// What ENV and ARG have set, and where the agent is.
fn environment(state: &State, mounts: &[op::Mount]) -> Vec<(String, String)> {
    let mut env = state.scope.variables().to_vec();
    if let Some(agent) = mounts.iter().find(|mount| is_ssh(mount))
        && state.scope.get(AGENT).is_none()
    {
        env.push((AGENT.to_owned(), agent.target.clone()));
    }
    env
}

/// The path of a source from the root of what it is in.
fn clean_source(source: &str) -> String {
    super::stage::clean(&format!("/{source}"))
}

/// A pattern that only this path matches.
fn literal(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

fn is_ssh(mount: &op::Mount) -> bool {
    matches!(mount.kind, MountKind::Ssh { .. })
}

fn device(device: &Device) -> op::Device {
    op::Device { name: device.name.clone(), required: device.required }
}

/// A step as progress shows it: variables resolved, but for those that hold secrets.
pub(super) fn shown(op: &Op, scope: &Scope, text: &str) -> String {
    let mut scope = Cow::Borrowed(scope);
    if let Op::Exec(exec) = op {
        for mount in &exec.mounts {
            if let MountKind::Secret { env: Some(name), .. } = &mount.kind {
                scope.to_mut().set(name, MASK);
            }
        }
    }
    scope.expand_for_display(text)
}

/// The arguments of the history line, with the values that the step sees.
fn listed_arguments(state: &State) -> Vec<(String, String)> {
    let current = |(name, declared): &(String, String)| {
        let value = state.scope.get(name).unwrap_or(declared);
        (name.clone(), value.to_owned())
    };
    state.arguments.variables().iter().map(current).collect()
}

/// The argument vector; a here-document that is a script becomes a file below /dev/pipes.
fn arguments(state: &State, run: &Run, all: &mut Mounts) -> Vec<String> {
    let line = match &run.command {
        RunCommand::Exec(args) => return args.clone(),
        RunCommand::Shell(text) => text.clone(),
        RunCommand::Script { name, text } => {
            let target = format!("/dev/pipes/{name}");
            let kind = MountKind::Inline { contents: text.clone(), mode: 0o755 };
            all.mounts.push(op::Mount { target: target.clone(), kind });
            target
        }
    };
    let mut args = state.shell();
    args.push(line);
    args
}

/// The first line of a here-document, as progress shows it.
fn summary(body: &str) -> String {
    let line = body.trim_start_matches(['\t', '\n']).lines().next().unwrap_or_default();
    let more = body.trim_end().lines().count() > 1;
    format!("{line}{}", if more { "..." } else { "" })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rbuild_solver::Work;

    use super::super::{Lowered, Request, lower};
    use super::*;
    use crate::dockerfile;

    fn lowered(steps: &str, change: impl FnOnce(&mut Request)) -> Result<Lowered, String> {
        let file = dockerfile::parse(format!("FROM scratch\n{steps}\n").as_bytes()).unwrap();
        let mut request = Request::new();
        change(&mut request);
        lower(&file, &request, &BTreeMap::new()).map_err(|error| error.message)
    }

    /// The process of the last step.
    fn exec(lowered: &Lowered) -> (&Exec, &str) {
        let vertex = lowered.graph.get(lowered.targets[0].root).unwrap();
        match &vertex.work {
            Work::Op { op: Op::Exec(exec), .. } => (exec, &vertex.name),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn agents_are_numbered_and_the_first_is_in_the_environment() {
        let agents = "--mount=type=tmpfs,target=/t --mount=type=ssh --mount=type=ssh,id=b";
        let graph = lowered(&format!("RUN {agents} x"), |_| ()).unwrap();
        let (run, _) = exec(&graph);
        let targets: Vec<_> = run.mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/t", "/run/buildkit/ssh_agent.0", "/run/buildkit/ssh_agent.1"]);
        let socket = ("SSH_AUTH_SOCK".to_owned(), "/run/buildkit/ssh_agent.0".to_owned());
        assert!(run.env.contains(&socket));
        let graph = lowered("ENV SSH_AUTH_SOCK=/own\nRUN --mount=type=ssh x", |_| ()).unwrap();
        let own = ("SSH_AUTH_SOCK".to_owned(), "/own".to_owned());
        assert!(exec(&graph).0.env.contains(&own) && !exec(&graph).0.env.contains(&socket));
    }

    #[test]
    fn secrets_are_masked_in_the_name_of_a_step() {
        let steps = "ENV A=1 B=2\nRUN --mount=type=secret,id=s,env=A echo $A ${A} $B";
        let graph = lowered(steps, |_| ()).unwrap();
        let (_, name) = exec(&graph);
        assert!(name.ends_with("echo **** **** 2"), "{name}");
    }

    #[test]
    fn a_mount_without_a_target_is_on_the_working_directory() {
        let target =
            |steps| lowered(steps, |_| ()).map(|graph| exec(&graph).0.mounts[0].target.clone());
        assert_eq!(target("WORKDIR /w\nRUN --mount=type=bind x"), Ok("/w".to_owned()));
        assert_eq!(target("WORKDIR /w\nRUN --mount=type=cache,target=../c x"), Ok("/c".to_owned()));
        assert!(target("RUN --mount=type=bind x").is_err());
        assert!(target("WORKDIR /w\nRUN --mount=type=tmpfs,target=.. x").is_err());
        assert!(target("ENV T=/\nRUN --mount=type=ssh,target=$T x").is_err());
    }

    #[test]
    fn the_source_of_a_bind_is_no_pattern() {
        let graph = lowered("RUN --mount=source=a*[b]/../c?/[d,target=/t x", |_| ()).unwrap();
        let used = graph.folders.get("context").unwrap();
        assert_eq!(used.iter().collect::<Vec<_>>(), [r"c\?/\[d"]);
    }

    #[test]
    fn what_speaks_to_the_builder_is_not_in_the_environment() {
        let sandbox = |request: &mut Request| {
            let argument = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            request.arguments.extend([
                argument("BUILDKIT_SANDBOX_HOSTNAME", "sand"),
                argument("BUILDKIT_CACHE_MOUNT_NS", "ns"),
            ]);
        };
        let steps = "ARG BUILDKIT_SBOM_SCAN_STAGE=1\nRUN --mount=type=cache,id=i,target=/c x";
        let graph = lowered(steps, sandbox).unwrap();
        let (run, _) = exec(&graph);
        assert_eq!(run.hostname, "sand");
        assert!(run.env.iter().all(|(name, _)| !name.starts_with("BUILDKIT")), "{:?}", run.env);
        assert!(matches!(&run.mounts[0].kind, MountKind::Cache { id, .. } if id == "ns/i"));
        let line = &graph.targets[0].config.history.last().unwrap().created_by;
        assert_eq!(line, "RUN |1 BUILDKIT_SBOM_SCAN_STAGE=1 /bin/sh -c x # buildkit");
    }

    #[test]
    fn devices_are_part_of_a_step() {
        let graph = lowered("RUN --device=v/c --device=v/c=1,required x", |_| ()).unwrap();
        let devices = exec(&graph).0.devices.iter();
        let devices: Vec<_> = devices.map(|one| (one.name.as_str(), one.required)).collect();
        assert_eq!(devices, [("v/c", false), ("v/c=1", true)]);
    }
}
