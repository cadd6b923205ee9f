//! `--change`: instructions of a Dockerfile that change the config of an image.

use std::collections::BTreeMap;

use crate::dockerfile::{self, Diagnostic, Instruction};
use crate::error::{Error, Result, Source};
use crate::image::{ContainerConfig, ImageConfig};
use crate::lower::{self, Request, ResolvedImage, Wanted};
use crate::platform::Platform;

/// What stands for the image that is changed.
const BASE: &str = "image";

/// What instructions that make no layer make of a config.
///
/// # Errors
/// An instruction that is wrong, or that changes more than the config.
pub(super) fn changed(
    base: ContainerConfig,
    changes: &[String],
    platform: &Platform,
) -> Result<ContainerConfig> {
    if changes.is_empty() {
        return Ok(base);
    }
    let text = format!("FROM {BASE}\n{}\n", changes.join("\n"));
    let file = Source { name: "--change".to_owned(), text: text.as_str().into() };
    let wrong = |errors| Error::Dockerfile { file: file.clone(), errors };
    let tree = dockerfile::parse(text.as_bytes()).map_err(wrong)?;
    let of = |span, text: &str| {
        let message = format!("`{text}` is no change of an image's config");
        wrong(vec![Diagnostic::error(span, message)])
    };
    if let Some(stage) = tree.stages.get(1) {
        return Err(of(stage.from.span, &stage.from.text));
    }
    let all = tree.stages.iter().flat_map(|stage| &stage.instructions);
    if let Some(instruction) = all.into_iter().find(|it| is_more(&it.value)) {
        return Err(of(instruction.span, &instruction.text));
    }
    // Its triggers are for those that build on it.
    let (base, on_build) = without_triggers(base);
    let known = BTreeMap::from([(
        Wanted { reference: BASE.to_owned(), platform: platform.to_string() },
        ResolvedImage {
            reference: BASE.to_owned(),
            config: ImageConfig { config: base, ..ImageConfig::scratch(platform) },
        },
    )]);
    let request = Request { platform: platform.clone(), ..Request::new() };
    let lowered = lower::lower(&tree, &request, &known).map_err(|error| wrong(vec![error]))?;
    let target = lowered.targets.into_iter().next();
    let mut config = target.map(|target| target.config.config).unwrap_or_default();
    config.on_build.splice(0..0, on_build);
    Ok(config)
}

/// Whether an instruction makes a layer, or says something of the build alone.
fn is_more(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Add(_)
            | Instruction::Arg(_)
            | Instruction::Copy(_)
            | Instruction::Maintainer(_)
            | Instruction::Run(_)
            | Instruction::Shell(_)
    )
}

fn without_triggers(mut config: ContainerConfig) -> (ContainerConfig, Vec<String>) {
    let on_build = std::mem::take(&mut config.on_build);
    (config, on_build)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform;

    fn of(base: ContainerConfig, changes: &[&str]) -> Result<ContainerConfig> {
        let changes: Vec<String> = changes.iter().map(|&text| text.to_owned()).collect();
        changed(base, &changes, &platform::host())
    }

    #[test]
    fn instructions_change_what_is_there() {
        let base = ContainerConfig {
            env: ["PATH=/x", "A=1", "B=2"].map(str::to_owned).into(),
            cmd: vec!["old".to_owned()],
            on_build: vec!["RUN x".to_owned()],
            working_dir: "/top".to_owned(),
            ..ContainerConfig::default()
        };
        let config = of(base.clone(), &["ENV B=3", "CMD [\"new\"]", "WORKDIR sub"]).unwrap();
        assert_eq!(config.env, ["PATH=/x", "A=1", "B=3"]);
        assert_eq!((config.cmd, &*config.working_dir), (vec!["new".to_owned()], "/top/sub"));
        assert_eq!(config.on_build, ["RUN x"]);
        assert_eq!(of(base.clone(), &[]).unwrap().cmd, ["old"]);
        assert_eq!(of(base, &["ONBUILD RUN y"]).unwrap().on_build, ["RUN x", "RUN y"]);
    }

    #[test]
    fn what_makes_a_layer_is_no_change() {
        for change in ["RUN true", "COPY a b", "FROM x", "ARG a", "NONSENSE x"] {
            assert!(of(ContainerConfig::default(), &[change]).is_err(), "{change}");
        }
    }
}
