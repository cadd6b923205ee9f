//! The images that a build stands on: what their names stand for, before anything is planned.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_solver::What;

use super::ContextReference;
use super::run::Run;
use super::steps::begin;
use crate::dockerfile::{self, Diagnostic, Spanned};
use crate::error::{Error, Result, StepError};
use crate::layout;
use crate::lower::{self, Request, Wanted};
use crate::source::{self, ResolvedImage};
use crate::worker::fetch::blocking;

impl Run {
    /// Resolves the images that are wanted, until their triggers want no more.
    pub(super) async fn resolve(
        &self,
        requests: &[Request],
    ) -> Result<BTreeMap<Wanted, ResolvedImage>> {
        let mut resolved: BTreeMap<Wanted, ResolvedImage> = BTreeMap::new();
        loop {
            let missing = self.missing(requests, &resolved)?;
            if missing.is_empty() {
                return Ok(resolved);
            }
            let images = missing.iter().map(async |wanted| {
                let image = self.resolve_one(&wanted.value).await;
                image.map_err(|error| self.unresolved(wanted, error))
            });
            let images = futures::future::try_join_all(images).await?;
            for image in &images {
                self.store.uses_layers(&image.entry.layers);
            }
            resolved.extend(missing.into_iter().map(|wanted| wanted.value).zip(images));
        }
    }

    /// The images that some platform wants and that are not known yet, each once.
    fn missing(
        &self,
        requests: &[Request],
        resolved: &BTreeMap<Wanted, ResolvedImage>,
    ) -> Result<Vec<Spanned<Wanted>>> {
        let known = resolved.iter().map(|(key, image)| (key.clone(), image.config.clone()));
        let known = known.collect();
        let mut missing: Vec<Spanned<Wanted>> = Vec::new();
        for request in requests {
            let wanted = lower::wanted_images(&self.prepared.tree, request, &known);
            for image in wanted.map_err(|error| self.wrong(error))? {
                let is_it = |other: &Spanned<Wanted>| other.value == image.value;
                if !resolved.contains_key(&image.value) && !missing.iter().any(is_it) {
                    missing.push(image);
                }
            }
        }
        Ok(missing)
    }

    async fn resolve_one(&self, wanted: &Wanted) -> Result<ResolvedImage> {
        let layout = self.layout(&wanted.reference);
        let reference = match layout {
            Some(_) => wanted.reference.clone(),
            None => source::parse(&wanted.reference)?.to_string(),
        };
        let several = !self.build.other_platforms.is_empty();
        let of = if several { format!("{} ", wanted.platform) } else { String::new() };
        let name = format!("[{of}internal] load metadata for {reference}");
        let step = begin(&self.events, name);
        let platform = crate::platform::parse(&wanted.platform)
            .map_err(Error::registry("read the platform"))?;
        let (store, registries) = (&self.store, &self.build.registries);
        let image = if let Some(place) = layout.map(str::to_owned) {
            let store = store.clone();
            let found = blocking(move || layout::resolve(&store, &place, &platform)).await;
            found.map(|image| (image, None))
        } else {
            let name = &wanted.reference;
            source::resolve(store, registries, name, &platform, self.build.lookup).await
        };
        match image {
            Ok((image, told)) => {
                if let Some(text) = told {
                    self.events.emit(step, What::Warning { text });
                }
                self.events.emit(step, What::Finished);
                Ok(image)
            }
            Err(error) => {
                self.events.emit(step, What::Failed { error: error.to_string() });
                Err(error)
            }
        }
    }

    /// Says where the file asks for an image that cannot be had, and which stage may be meant.
    fn unresolved(&self, wanted: &Spanned<Wanted>, error: Error) -> Error {
        if let Error::Reference { .. } = error {
            return self.wrong(Diagnostic::error(wanted.span, error.to_string()));
        }
        let stages = self.prepared.tree.stages.iter();
        let names = stages.filter_map(|stage| stage.from.value.name.as_deref());
        let near = dockerfile::suggest(&wanted.value.reference.to_lowercase(), names);
        let hint = near.or_else(|| error.hint());
        let source = Box::new(StepError::Image { error: Arc::new(error), hint });
        Error::Step { file: self.prepared.file.clone(), span: Some(wanted.span), source }
    }

    /// The place of an image in a layout, if the caller has named that place: a Dockerfile alone
    /// leads to no file of the machine.
    fn layout<'a>(&self, reference: &'a str) -> Option<&'a str> {
        let place = reference.strip_prefix(layout::SCHEME)?;
        let is_it = |context: &ContextReference| matches!(context, ContextReference::Layout(known) if known == place);
        self.build.contexts.values().any(is_it).then_some(place)
    }
}

/// The images as the lowering knows them.
pub(super) fn known(
    resolved: &BTreeMap<Wanted, ResolvedImage>,
) -> BTreeMap<Wanted, lower::ResolvedImage> {
    let image = |image: &ResolvedImage| lower::ResolvedImage {
        reference: image.reference.clone(),
        config: image.config.clone(),
    };
    resolved.iter().map(|(wanted, resolved)| (wanted.clone(), image(resolved))).collect()
}
