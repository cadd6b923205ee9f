//! What a build reads before anything is planned: the context, the Dockerfile, the ignore file.

use std::path::{Path, PathBuf};

use rbuild_cache::Store;
use rbuild_solver::Events;

use super::steps::{begin, transferred};
use super::{Build, DockerfileSource};
use crate::context::{Folder, read_file};
use crate::dockerfile::{self, Dockerfile};
use crate::error::{Error, Result, Source};
use crate::lower::CONTEXT;
use crate::source;

impl Build {
    /// The full names that the image gets.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        self.tags.iter().map(|tag| Ok(source::parse(tag)?.to_string())).collect()
    }

    /// Opens the context, reads the Dockerfile, and parses it.
    pub(super) fn prepare(&self, store: &Store, events: &Events) -> Result<Prepared> {
        let mut folder = Folder::open(CONTEXT, &self.context, store)?;
        let (name, path, text) = self.read_dockerfile(&folder, events)?;
        let step = begin(events, "[internal] load .dockerignore".to_owned());
        let ignore = folder.load_ignore(path.as_deref())?.unwrap_or(".dockerignore").to_owned();
        transferred(events, step, &ignore, 0);
        let file = Source { name, text: String::from_utf8_lossy(&text).into() };
        let tree = dockerfile::parse(&text)
            .map_err(|errors| Error::Dockerfile { file: file.clone(), errors })?;
        Ok(Prepared { folder, file, path, tree })
    }

    fn read_dockerfile(
        &self,
        folder: &Folder,
        events: &Events,
    ) -> Result<(String, Option<PathBuf>, Vec<u8>)> {
        let named = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into();
        let (name, path, text): (String, _, _) = match &self.dockerfile {
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
                        None => return Err(Error::NoDockerfile(first)),
                    },
                }
            }
        };
        let step = begin(events, format!("[internal] load build definition from {name}"));
        transferred(events, step, "dockerfile", text.len() as u64);
        Ok((name, path, text))
    }
}

/// A parsed Dockerfile and its context.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) folder: Folder,
    pub(super) file: Source,
    pub(super) path: Option<PathBuf>,
    pub(super) tree: Dockerfile,
}
