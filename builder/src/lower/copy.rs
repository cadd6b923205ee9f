//! COPY and ADD: which files of which input go where.

use rbuild_cache::copy::ModeChange;
use rbuild_registry::redacted;
use rbuild_solver::Edge;
use rbuild_solver::op::{self, CopyItem, Op, Select};

use super::history;
use super::plan::Base;
use super::remote;
use super::stage::{Counter, Lowering, State, Step, clean};
use crate::context::ignore::Ignore;
use crate::dockerfile::{self, Diagnostic, Heredoc, Instruction, Source, Span, Statement, Word};
use crate::worker::select;

/// A source of an instruction, with variables resolved.
enum Item {
    /// A path or pattern of the context, a stage or an image.
    Path { pattern: String, unpack: bool },
    /// Something elsewhere, and what of it is copied.
    Remote { source: op::Source, pattern: String, unpack: bool },
    /// A file that stands in the Dockerfile.
    Inline { name: String, contents: String },
}

/// What COPY and ADD have in common, with variables resolved.
struct Request {
    add: bool,
    sources: Vec<Item>,
    /// The sources as the history line shows them.
    shown: Vec<String>,
    base: Base,
    destination: String,
    chown: Option<String>,
    chmod: Option<String>,
    link: bool,
    parents: bool,
    exclude: Vec<String>,
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
            Instruction::Add(add) => self.add_request(state, add, statement.span)?,
            _ => return Ok(()),
        };
        history::file_step(&mut state.config, &line(&request));
        let destination = destination(state, &request.destination);
        check_mode(&request, statement.span)?;
        // The owner of a name is looked up in the files below.
        let link = request.link && request.chown.as_deref().is_none_or(is_numeric);
        let below = if link { self.source(&Base::Scratch, statement.span)? } else { state.root };
        let mut inputs = vec![Edge::all(below)];
        let items = self.inputs(&request, statement.span, &mut inputs)?;
        let op = Op::Copy(op::Copy {
            items,
            destination,
            chown: request.chown,
            chmod: request.chmod,
            parents: request.parents,
            exclude: request.exclude,
            link,
            time: self.request.epoch,
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

    /// Adds the edges to the files of other inputs, and says of each source which one it is in.
    fn inputs(
        &mut self,
        request: &Request,
        span: Span,
        inputs: &mut Vec<Edge>,
    ) -> Result<Vec<CopyItem>, Diagnostic> {
        let local = inputs.len();
        if let Some(edge) = self.source_edge(request, span)? {
            inputs.push(edge);
        }
        let mut items = Vec::with_capacity(request.sources.len());
        for source in &request.sources {
            items.push(match source {
                Item::Path { pattern, unpack } => {
                    CopyItem::Path { input: local, pattern: pattern.clone(), unpack: *unpack }
                }
                Item::Remote { source, pattern, unpack } => {
                    let vertex = self.remote(source.clone(), span);
                    let patterns = vec![pattern.clone()];
                    let select = Select::Paths {
                        patterns,
                        exclude: request.exclude.clone(),
                        parents: false,
                    };
                    inputs.push(Edge::part(vertex, select));
                    let input = inputs.len() - 1;
                    CopyItem::Path { input, pattern: pattern.clone(), unpack: *unpack }
                }
                Item::Inline { name, contents } => {
                    CopyItem::Inline { name: name.clone(), contents: contents.clone() }
                }
            });
        }
        Ok(items)
    }

    /// The edge to the files, if any source is a file of an input.
    fn source_edge(&mut self, request: &Request, span: Span) -> Result<Option<Edge>, Diagnostic> {
        let pattern = |item: &Item| match item {
            Item::Path { pattern, .. } => Some(pattern.clone()),
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
            if let Some(what) = remote::kind(&path) {
                let message = format!("source can't be a {what} for COPY: `{}`", redacted(&path));
                return Err(Diagnostic::error(word.span, message).hint("use ADD".to_owned()));
            }
            Ok(Item::Path { pattern: pattern(word, &path, copy.parents)?, unpack: false })
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
            exclude: exclude(&copy.exclude)?,
        })
    }

    fn add_request(
        &self,
        state: &State,
        add: &dockerfile::Add,
        span: Span,
    ) -> Result<Request, Diagnostic> {
        let options = remote::Options {
            checksum: expand_option(state, add.checksum.as_ref())?,
            keep_git_dir: add.keep_git_dir,
            commit_times: self.request.epoch.is_some(),
        };
        if options.checksum.is_some() && add.sources.len() != 1 {
            let message = "checksum can't be specified for multiple sources";
            return Err(Diagnostic::error(span, message.to_owned()));
        }
        let (sources, shown) = items(state, &add.sources, |word, path| {
            let found = remote::source(&path, &options);
            match found.map_err(|message| Diagnostic::error(word.span, message))? {
                Some((source, pattern)) => {
                    // What comes from elsewhere is unpacked only where that is asked for.
                    let file = matches!(source, op::Source::Http(_));
                    let unpack = file && add.unpack == Some(true);
                    Ok(Item::Remote { source, pattern, unpack })
                }
                None if options.checksum.is_some() => {
                    let message = "checksum requires HTTP(S) or Git sources";
                    Err(Diagnostic::error(word.span, message.to_owned()))
                }
                None => Ok(Item::Path {
                    pattern: pattern(word, &path, false)?,
                    unpack: add.unpack.unwrap_or(true),
                }),
            }
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
            exclude: exclude(&add.exclude)?,
        })
    }
}

/// Resolves the sources of an instruction, and how its history line shows them.
fn items(
    state: &State,
    sources: &[Source],
    path: impl Fn(&Word, String) -> Result<Item, Diagnostic>,
) -> Result<(Vec<Item>, Vec<String>), Diagnostic> {
    let mut items = Vec::with_capacity(sources.len());
    let mut shown = Vec::with_capacity(sources.len());
    // Here-documents come last, wherever they stand.
    let is_path = |source: &&Source| matches!(source, Source::Path(_));
    let paths = sources.iter().filter(is_path);
    for source in paths.chain(sources.iter().filter(|source| !is_path(source))) {
        match source {
            Source::Path(word) => {
                let text = state.scope.expand(word)?;
                shown.push(redacted(&text));
                items.push(path(word, text)?);
            }
            Source::Heredoc(heredoc) => {
                shown.push(format!("<<{}", heredoc.name));
                items.push(Item::Inline {
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
    let expanded = state.scope.expand_heredoc(&text);
    expanded.map_err(|error| Diagnostic::error(heredoc.span, error.to_string()))
}

fn expand_option(state: &State, word: Option<&Word>) -> Result<Option<String>, Diagnostic> {
    let expanded = word.map(|word| state.scope.expand(word)).transpose()?;
    Ok(expanded.filter(|text| !text.is_empty()))
}

/// The patterns of `--exclude`.
fn exclude(words: &[Word]) -> Result<Vec<String>, Diagnostic> {
    for word in words {
        Ignore::from_patterns([word.text.as_str()]).map_err(|error| {
            let message = format!("`--exclude={}`: {}", word.text, error.problem);
            Diagnostic::error(word.span, message)
        })?;
    }
    Ok(words.iter().map(|word| word.text.clone()).collect())
}

/// A source as a pattern: a path relative to the root of its input. With `--parents` an element `**`
/// stands for any number of folders, else for one.
fn pattern(word: &Word, path: &str, parents: bool) -> Result<String, Diagnostic> {
    if select::is_malformed(path) {
        let error = Diagnostic::error(word.span, format!("invalid pattern `{path}`"));
        return Err(error.hint("a `[` that stands for itself is written `[[]`".to_owned()));
    }
    let pattern = relative(path);
    if parents || !pattern.contains("**") {
        return Ok(pattern);
    }
    let one = |element| if element == "**" { "*" } else { element };
    Ok(pattern.split('/').map(one).collect::<Vec<_>>().join("/"))
}

/// A source path relative to the root of its input; `.` is all of it.
fn relative(path: &str) -> String {
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
    let is_folder = path.ends_with('/') || matches!(path, "" | "." | "..") || path.ends_with("/.");
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

fn check_mode(request: &Request, span: Span) -> Result<(), Diagnostic> {
    let parsed = request.chmod.as_deref().map(str::parse::<ModeChange>).transpose();
    parsed.map(drop).map_err(|error| Diagnostic::error(span, error.to_string()))
}

fn is_numeric(owner: &str) -> bool {
    let numeric = |part: &str| part == "root" || part.parse::<u32>().is_ok();
    owner.split(':').all(numeric)
}
