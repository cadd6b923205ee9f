//! What can be asked about a Dockerfile in place of a build: the same road, up to where something
//! would run.

use rbuild_cache::Store;

use super::Build;
use super::resolve::known;
use super::run::Run;
use crate::dockerfile::{self, Check, Span};
use crate::error::{Error, Result};
use crate::lower;
use crate::report::Recorder;
use crate::subrequest::{CheckReport, Outline, Targets};

/// The argument whose value takes the place of the file's `# check=`.
const CHECK: &str = "BUILDKIT_DOCKERFILE_CHECK";

impl Build {
    /// Checks the Dockerfile with all lint rules, without running anything. Without a target every
    /// stage is looked at. The images that stages stand on are asked for their variables.
    ///
    /// What is wrong with the Dockerfile, and an image that can't be found, are part of the report.
    ///
    /// # Errors
    /// A context or Dockerfile that cannot be read.
    pub async fn check(mut self, store: &Store) -> Result<CheckReport> {
        self.request.all_stages = self.request.target.is_none();
        // Nothing runs, so nothing needs to be allowed.
        self.request.insecure = true;
        let check = self.check_argument()?;
        match self.start(store, &Recorder::default()).await {
            Ok(run) => run.check().await,
            Err(error) => by_text(error, check.as_ref()),
        }
    }

    /// Tells what the target takes: arguments, secrets, agents and caches. Nothing is run.
    ///
    /// # Errors
    /// Those of a build, as far as it goes.
    pub async fn outline(mut self, store: &Store) -> Result<Outline> {
        self.request.insecure = true;
        self.start(store, &Recorder::default()).await?.outline().await
    }

    /// Lists the stages that can be built. No image is asked for.
    ///
    /// # Errors
    /// A context or Dockerfile that cannot be read, or is wrong.
    pub async fn targets(self, store: &Store) -> Result<Targets> {
        let prepared = self.start(store, &Recorder::default()).await?.prepared;
        Ok(Targets::new(&prepared.file, &prepared.tree))
    }

    /// The check that was given as an argument.
    pub(super) fn check_argument(&self) -> Result<Option<Check>> {
        let value = self.request.arguments.get(CHECK);
        let check = value.map(|value| Check::parse(value, Span::default())).transpose();
        check.map_err(|reason| Error::Usage(format!("{CHECK}: {reason}")))
    }
}

/// The report about a file that is wrong; any other error is the caller's to tell.
fn by_text(error: Error, check: Option<&Check>) -> Result<CheckReport> {
    let Error::Dockerfile { file, .. } = &error else {
        return Err(error);
    };
    let file = file.clone();
    let (tree, _) = dockerfile::parse_all(file.text.as_bytes());
    let warnings = tree.warnings_under(check.or(tree.directives.check.as_ref()));
    Ok(CheckReport::new(&file, &warnings, Some(error)))
}

impl Run {
    async fn check(self) -> Result<CheckReport> {
        let request = match self.request().await {
            Ok(request) => request,
            Err(error) => return by_text(error, self.build.check_argument()?.as_ref()),
        };
        let (tree, file) = (&self.prepared.tree, &self.prepared.file);
        let (resolved, mut error) = match self.resolve(std::slice::from_ref(&request)).await {
            Ok(resolved) => (known(&resolved), None),
            Err(error) => (std::collections::BTreeMap::new(), Some(error)),
        };
        let warnings = lower::lint(tree, &request, &resolved);
        if error.is_none() {
            error = match lower::lower(tree, &request, &resolved) {
                Ok(lowered) => self.lint(&lowered).err(),
                Err(wrong) => Some(self.wrong(wrong)),
            };
        }
        Ok(CheckReport::new(file, &warnings, error))
    }

    async fn outline(self) -> Result<Outline> {
        let request = self.request().await?;
        let resolved = known(&self.resolve(std::slice::from_ref(&request)).await?);
        let (tree, file) = (&self.prepared.tree, &self.prepared.file);
        let lowered = lower::lower(tree, &request, &resolved).map_err(|error| self.wrong(error))?;
        let arguments =
            lower::outline(tree, &request, &resolved).map_err(|error| self.wrong(error))?;
        Ok(Outline::new(file, tree, &lowered, arguments))
    }
}
