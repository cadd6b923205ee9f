//! COPY and ADD: which files of which input go where.

use std::borrow::Cow;

use rbuild_solver::Edge;
use rbuild_solver::op::{self, CopyItem, Op, Select};

use super::history;
use super::plan::Base;
use super::stage::{Counter, Lowering, State, Step, clean};
use crate::dockerfile::{
    self, Diagnostic, Heredoc, Instruction, Source, Span, Statement, Word, expand,
};

/// What COPY and ADD have in common, with variables resolved.
struct Request {
    add: bool,
    sources: Vec<CopyItem>,
    /// The sources as the history line shows them.
    shown: Vec<String>,
    base: Base,
    destination: String,
    chown: Option<String>,
    chmod: Option<String>,
    link: bool,
    parents: bool,
    exclude: Vec<String>,
    unpack: Option<bool>,
}

impl Lowering<'_> {
    /// Adds the step of a COPY or ADD and its history line.
    pub(super) fn copy(
        &mut self,
        index: usize,
        state: &mut State,
        statement: &Statement,
        text: &str,
        counter: &mut Counter,
    ) -> Result<(), Diagnostic> {
        let request = match &statement.value {
            Instruction::Copy(copy) => self.copy_request(index, state, copy, statement.span)?,
            Instruction::Add(add) => add_request(state, add)?,
            _ => return Ok(()),
        };
        history::file_step(&mut state.config, &line(&request));
        let destination = destination(state, &request.destination);
        let link = request.link && request.chown.as_deref().is_none_or(is_numeric);
        let below = if link { self.source(&Base::Scratch, statement.span)? } else { state.root };
        let mut inputs = vec![Edge::all(below)];
        if let Some(edge) = self.source_edge(&request, statement.span)? {
            inputs.push(edge);
        }
        let op = Op::Copy(op::Copy {
            items: request.sources,
            destination,
            chown: request.chown,
            chmod: request.chmod,
            parents: request.parents,
            exclude: request.exclude,
            unpack: request.unpack,
            add: request.add,
            link,
        });
        let text = if link { format!("LINK {text}") } else { text.to_owned() };
        let root = state.root;
        self.step(state, Step { op, inputs, text, span: statement.span }, counter);
        if link {
            let layers = vec![Edge::all(root), Edge::all(state.root)];
            state.root = self.join(Op::Stack, layers);
        }
        Ok(())
    }

    /// The edge to the files, if any source is a file of an input.
    fn source_edge(&mut self, request: &Request, span: Span) -> Result<Option<Edge>, Diagnostic> {
        let pattern = |item: &CopyItem| match item {
            CopyItem::Path { pattern, .. } => Some(pattern.clone()),
            _ => None,
        };
        let patterns: Vec<String> = request.sources.iter().filter_map(pattern).collect();
        if patterns.is_empty() {
            return Ok(None);
        }
        let vertex = self.source(&request.base, span)?;
        if let Base::Folder(name) = &request.base {
            self.folders.entry(name.clone()).or_default().extend(patterns.iter().cloned());
        }
        let select =
            Select::Paths { patterns, exclude: request.exclude.clone(), parents: request.parents };
        Ok(Some(Edge::part(vertex, select)))
    }

    fn copy_request(
        &self,
        index: usize,
        state: &State,
        copy: &dockerfile::Copy,
        span: Span,
    ) -> Result<Request, Diagnostic> {
        let base = match &copy.from {
            Some(word) => self.plan.from(index, &word.text, true, span, self.request)?,
            None => Self::context(),
        };
        let (sources, shown) = items(state, &copy.sources, |word, path| {
            if is_url(&path) {
                let message = format!("source can't be a URL for COPY: `{path}`");
                return Err(Diagnostic::error(word.span, message).hint("use ADD".to_owned()));
            }
            Ok(CopyItem::Path { input: 1, pattern: pattern(&path) })
        })?;
        Ok(Request {
            add: false,
            sources,
            shown,
            base,
            destination: state.scope.expand(&copy.destination)?,
            chown: expand_option(state, copy.chown.as_ref())?,
            chmod: expand_option(state, copy.chmod.as_ref())?,
            link: copy.link,
            parents: copy.parents,
            exclude: copy.exclude.iter().map(|word| word.text.clone()).collect(),
            unpack: Some(false),
        })
    }
}

fn add_request(state: &State, add: &dockerfile::Add) -> Result<Request, Diagnostic> {
    let checksum = expand_option(state, add.checksum.as_ref())?;
    let keep_git_dir = add.keep_git_dir.unwrap_or(false);
    let (sources, shown) = items(state, &add.sources, |_, path| {
        Ok(match () {
            () if is_git(&path) => {
                CopyItem::Git { url: path, keep_git_dir, checksum: checksum.clone() }
            }
            () if is_url(&path) => CopyItem::Url { url: path, checksum: checksum.clone() },
            () => CopyItem::Path { input: 1, pattern: pattern(&path) },
        })
    })?;
    Ok(Request {
        add: true,
        sources,
        shown,
        base: Lowering::context(),
        destination: state.scope.expand(&add.destination)?,
        chown: expand_option(state, add.chown.as_ref())?,
        chmod: expand_option(state, add.chmod.as_ref())?,
        link: add.link,
        parents: false,
        exclude: add.exclude.iter().map(|word| word.text.clone()).collect(),
        unpack: add.unpack,
    })
}

/// Resolves the sources of an instruction, and how its history line shows them.
fn items(
    state: &State,
    sources: &[Source],
    path: impl Fn(&Word, String) -> Result<CopyItem, Diagnostic>,
) -> Result<(Vec<CopyItem>, Vec<String>), Diagnostic> {
    let mut items = Vec::with_capacity(sources.len());
    let mut shown = Vec::with_capacity(sources.len());
    // Here-documents come last, wherever they stand.
    let is_path = |source: &&Source| matches!(source, Source::Path(_));
    let paths = sources.iter().filter(is_path);
    for source in paths.chain(sources.iter().filter(|source| !is_path(source))) {
        match source {
            Source::Path(word) => {
                let text = state.scope.expand(word)?;
                shown.push(text.clone());
                items.push(path(word, text)?);
            }
            Source::Heredoc(heredoc) => {
                shown.push(format!("<<{}", heredoc.name));
                items.push(CopyItem::Inline {
                    name: heredoc.name.clone(),
                    contents: body(state, heredoc)?,
                });
            }
        }
    }
    Ok((items, shown))
}

fn body(state: &State, heredoc: &Heredoc) -> Result<String, Diagnostic> {
    let text = heredoc.text();
    if !heredoc.expand {
        return Ok(text.into_owned());
    }
    let lookup = |name: &str| state.scope.get(name).map(Cow::Borrowed);
    expand::expand_heredoc(&text, lookup)
        .map_err(|error| Diagnostic::error(heredoc.span, error.to_string()))
}

fn expand_option(state: &State, word: Option<&Word>) -> Result<Option<String>, Diagnostic> {
    let expanded = word.map(|word| state.scope.expand(word)).transpose()?;
    Ok(expanded.filter(|text| !text.is_empty()))
}

/// A source path relative to the root of its input; `.` is all of it.
fn pattern(path: &str) -> String {
    let (prefix, rest) = match path.split_once("/./") {
        Some((prefix, rest)) => (clean(&format!("/{prefix}")), Some(rest)),
        None => (clean(&format!("/{path}")), None),
    };
    let prefix = prefix.trim_start_matches('/');
    match (prefix, rest) {
        (prefix, Some(rest)) => {
            format!("{prefix}/./{}", clean(&format!("/{rest}")).trim_start_matches('/'))
        }
        ("", None) => ".".to_owned(),
        (prefix, None) => prefix.to_owned(),
    }
}

/// The absolute destination; what ends with a slash, or is the working directory, is a folder.
fn destination(state: &State, path: &str) -> String {
    let absolute = state.absolute(path);
    let is_folder = path.ends_with('/') || matches!(path, "." | "..") || path.ends_with("/.");
    match absolute.as_str() {
        "/" => absolute,
        _ if is_folder => format!("{absolute}/"),
        _ => absolute,
    }
}

fn line(request: &Request) -> String {
    let mut words = vec![if request.add { "ADD" } else { "COPY" }.to_owned()];
    if request.parents {
        words.push("--parents".to_owned());
    }
    words.extend(request.chown.iter().map(|owner| format!("--chown={owner}")));
    words.extend(request.chmod.iter().map(|mode| format!("--chmod={mode}")));
    words.extend(request.shown.iter().cloned());
    words.push(request.destination.clone());
    words.join(" ")
}

fn is_numeric(owner: &str) -> bool {
    let numeric = |part: &str| part == "root" || part.parse::<u32>().is_ok();
    owner.split(':').all(numeric)
}

fn is_url(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

/// Whether a source of ADD is a git repository (`BuildKit`'s `dfgitutil`).
fn is_git(path: &str) -> bool {
    let before_fragment = path.split(['#', '?']).next().unwrap_or(path);
    path.starts_with("git@")
        || path.starts_with("git://")
        || path.starts_with("ssh://")
        || (is_url(path) && before_fragment.strip_suffix(".git").is_some())
}
