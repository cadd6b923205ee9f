//! What a build reads before anything is planned: the context, the Dockerfile, the ignore file.

use std::path::{Path, PathBuf};

use rbuild_solver::StepId;

use super::steps::{begin, transferred};
use super::{Build, DockerfileSource};
use crate::context::{Folder, read_file};
use crate::dockerfile::value::boolean;
use crate::dockerfile::{self, Diagnostic, Dockerfile, Span, Spanned};
use crate::error::{Error, Result, Source};
use crate::lower::CONTEXT;
use crate::remote::Remotes;
use crate::source;

impl Build {
    /// Whether an argument of the builder's own is switched on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        let value = self.request.arguments.get(name);
        value.is_some_and(|value| boolean(value) == Some(true))
    }

    /// The full names that the image gets.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        self.tags.iter().map(|tag| Ok(source::parse(tag)?.to_string())).collect()
    }

    /// Opens the context, reads the Dockerfile, and parses it.
    pub(super) async fn prepare(&self, remotes: &Remotes) -> Result<Prepared> {
        let events = &remotes.events;
        let keep_git_dir = self.is_on(KEEP_GIT_DIR);
        let context = remotes.locate(&self.context, keep_git_dir).await?;
        let mut folder = Folder::open(CONTEXT, &context.path, &remotes.store)?;
        let (name, path, text) = self.read_dockerfile(&folder, context.dockerfile)?;
        let definition = begin(events, format!("[internal] load build definition from {name}"));
        transferred(events, definition, "dockerfile", text.len() as u64);
        // What comes whole from elsewhere has nothing in it that is to be left out.
        if self.context.is_local() {
            let step = begin(events, "[internal] load .dockerignore".to_owned());
            let ignore = folder.load_ignore(path.as_deref())?.unwrap_or(".dockerignore").to_owned();
            transferred(events, step, &ignore, 0);
        }
        let file = Source { name, text: String::from_utf8_lossy(&text).into() };
        self.refuse_frontend(&text).map_err(|error| {
            let errors = vec![error];
            Error::Dockerfile { file: file.clone(), errors }
        })?;
        let tree = dockerfile::parse(&text)
            .map_err(|errors| Error::Dockerfile { file: file.clone(), errors })?;
        Ok(Prepared { definition, folder, file, path, tree, time: context.time })
    }

    /// Refuses a file that another frontend is to read.
    fn refuse_frontend(&self, text: &[u8]) -> Result<(), Diagnostic> {
        let named = dockerfile::frontend(text).unwrap_or_else(|| Spanned {
            value: String::new(),
            span: Span { lines: (1, 1), column: 1, ..Span::default() },
        });
        let frontend = self.request.arguments.get(SYNTAX).unwrap_or(&named.value);
        let replaced = self.contexts.contains_key(frontend);
        if frontend.is_empty() || replaced || dockerfile::is_dockerfile(frontend) {
            return Ok(());
        }
        let message = format!("the file is written for the frontend `{frontend}`");
        let hint = "only the language of `docker/dockerfile` is built in, and no frontend is \
                    fetched; `--build-arg BUILDKIT_SYNTAX=dockerfile.v0` reads the file as one";
        Err(Diagnostic::error(named.span, message).hint(hint.to_owned()))
    }

    fn read_dockerfile(
        &self,
        folder: &Folder,
        only: Option<String>,
    ) -> Result<(String, Option<PathBuf>, Vec<u8>)> {
        let named = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into();
        let source = match (&self.dockerfile, only) {
            (DockerfileSource::Default, Some(only)) => DockerfileSource::Inside(only),
            (given, _) => given.clone(),
        };
        let (name, path, text): (String, _, _) = match &source {
            DockerfileSource::Text(text) => ("Dockerfile".to_owned(), None, text.clone()),
            DockerfileSource::Path(path) => {
                let text = read_file(path)?.ok_or_else(|| Error::NoDockerfile(path.clone()))?;
                (named(path), Some(path.clone()), text)
            }
            DockerfileSource::Inside(name) => {
                let path = folder.path().join(name);
                let text = folder.read(name)?.ok_or_else(|| Error::NoDockerfile(name.into()))?;
                (named(&path), Some(path), text)
            }
            DockerfileSource::Default => {
                let first = folder.path().join("Dockerfile");
                match folder.read("Dockerfile")? {
                    Some(text) => ("Dockerfile".to_owned(), Some(first), text),
                    None => match folder.read("dockerfile")? {
                        Some(text) => (
                            "dockerfile".to_owned(),
                            Some(first.with_file_name("dockerfile")),
                            text,
                        ),
                        // What came from elsewhere has a place here that nobody knows.
                        None if self.context.is_local() => return Err(Error::NoDockerfile(first)),
                        None => return Err(Error::NoDockerfile("Dockerfile".into())),
                    },
                }
            }
        };
        Ok((name, path, text))
    }
}

/// A parsed Dockerfile and its context.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The step that has read the Dockerfile.
    pub(super) definition: StepId,
    pub(super) folder: Folder,
    pub(super) file: Source,
    pub(super) path: Option<PathBuf>,
    pub(super) tree: Dockerfile,
    /// When the context was changed last, in seconds since 1970, where that is known of the whole.
    pub(super) time: Option<i64>,
}

/// The argument that names another frontend than the file does.
const SYNTAX: &str = "BUILDKIT_SYNTAX";

/// The argument that keeps `.git` in a context that comes from a repository.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
