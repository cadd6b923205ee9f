//! `build`: from what was typed to an image.

mod metadata;
mod steps;

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use rbuild::{
    Build, Built, ContextReference, ContextSource, DockerfileSource, Error, Lookup, Platform,
};

use super::{DONE, Outcome, Session, attest, caches, check, outputs, platform, print, tell};
use crate::args::{BuildArgs, Pair};
use crate::config;
use crate::failure::Failure;
use crate::interrupt::block_on;
use crate::progress::{Mode, Progress};

/// The largest context or Dockerfile that is read from standard input, in bytes.
const LARGEST_INPUT: u64 = 4 << 30;

pub(super) fn run(args: &BuildArgs, session: &Session) -> Outcome {
    if let Some(flag) = args.refused() {
        return Err(Failure::unsupported(flag));
    }
    let outputs = outputs::parse(args)?;
    let store = session.store()?;
    if let Some(file) = &args.iidfile {
        // What a build that fails leaves behind must not pass for its id.
        drop(fs::remove_file(file));
    }
    let mut build = describe(args, session)?.attest(attest::parse(args)?);
    for output in &outputs {
        build = build.output(output.clone());
    }
    if args.metadata_file.is_some()
        && let Some(detail) = metadata::detail()?
    {
        build = build.tell_provenance(detail);
    }
    let mode = mode(args)?;
    build = caches::share(build, args)?;
    let progress = Progress::start(mode, session.config.look());
    if let Some(call) = args.asked() {
        return check::run(call, build, &store, progress, path(args).as_deref());
    }
    let built = block_on(async { Ok(build.on_event(progress.sink()).run(&store).await) });
    progress.finish();
    let built = built?;
    let found = match &built {
        Ok(built) => Some((&built.warnings, &built.dockerfile)),
        Err(Error::Lint { file, warnings }) => Some((warnings, file)),
        Err(_) => None,
    };
    // Which warnings there are is told by the progress; this is more of them.
    let at_length =
        session.config.debug() && !matches!(mode, Mode::Rawjson | Mode::Quiet | Mode::None);
    if let Some((warnings, file)) = found.filter(|_| at_length) {
        tell(&check::at_length(warnings, file));
    }
    finish(args, &built?, outputs::use_stdout(&outputs))
}

/// What is said and written once the image is there.
fn finish(args: &BuildArgs, built: &Built, stdout_taken: bool) -> Outcome {
    if let Some(file) = &args.iidfile {
        // Of several platforms that have left the store it is the index that has one id.
        let index = built.manifest.as_ref().filter(|_| built.platforms.len() > 1);
        let id = index.map_or(built.id, |index| index.digest).to_string();
        fs::write(file, id).map_err(Failure::io(format!("write `{}`", file.display())))?;
    }
    if let Some(file) = &args.metadata_file {
        metadata::write(file, built)?;
    }
    if !stdout_taken {
        print(&format!("{}\n", built.id))?;
    }
    Ok(DONE)
}

/// Where the Dockerfile is, as far as that follows from what was typed.
fn path(args: &BuildArgs) -> Option<String> {
    let path = match (args.file.as_deref(), args.context.as_str()) {
        (Some("-"), _) | (None, "-") => return None,
        (Some(file), _) => file.to_owned(),
        (None, context) if context.contains("://") || context.starts_with("git@") => return None,
        (None, folder) => format!("{}/Dockerfile", folder.trim_end_matches('/')),
    };
    Some(path.trim_start_matches("./").to_owned())
}

pub(super) fn mode(args: &BuildArgs) -> Result<Mode, Failure> {
    match args.progress {
        _ if args.quiet => Ok(Mode::Quiet),
        Some(mode) => Ok(mode),
        None => Ok(config::progress()?),
    }
}

/// Tells the library what to build.
pub(super) fn describe(args: &BuildArgs, session: &Session) -> Result<Build, Failure> {
    let (context, dockerfile) = sources(args)?;
    let mut build = Build::new(context)
        .dockerfile(dockerfile)
        .registries(session.registries()?.offline(args.offline));
    for tag in &args.tags {
        build = build.tag(tag);
    }
    if let Some(target) = &args.target {
        build = build.target(target);
    }
    for Pair { name, value } in &args.build_args {
        // As with docker, a variable that is not set gives no argument.
        if let Some(value) = value.clone().or_else(|| config::variable(name)) {
            build = build.build_arg(name, value);
        }
    }
    let epoch = config::variable("SOURCE_DATE_EPOCH");
    let typed = args.build_args.iter().any(|pair| pair.name == "SOURCE_DATE_EPOCH");
    if let Some(epoch) = epoch.filter(|_| !typed) {
        build = build.build_arg("SOURCE_DATE_EPOCH", epoch);
    }
    for Pair { name, value } in &args.labels {
        build = build.label(name, value.clone().unwrap_or_default());
    }
    for platform in platforms(&args.platforms)? {
        build = build.platform(platform);
    }
    if let Some(time) = session.config.tag_ttl()? {
        build = build.lookup(Lookup::After(time));
    }
    if let Some(bytes) = session.config.cache_max(args.cache_max)? {
        build = build.cache_max(bytes);
    }
    build = build.pull(args.pull).no_cache(args.no_cache);
    build = build.jobs(args.jobs);
    build = build.no_cache_filter(args.no_cache_filter.clone());
    for Pair { name, value } in &args.contexts {
        build = build.named_context(name, named_context(name, value.as_deref())?);
    }
    steps::lend(steps::sandbox(build, args)?, args)
}

/// The platforms that were typed; without any, the usual one, if there is one.
fn platforms(typed: &[String]) -> Result<Vec<Platform>, Failure> {
    let known = typed.iter().map(|text| platform(Some(text)));
    let known = if typed.is_empty() { vec![platform(None)] } else { known.collect() };
    known.into_iter().filter_map(Result::transpose).collect()
}

fn named_context(name: &str, place: Option<&str>) -> Result<ContextReference, Failure> {
    let Some(place) = place.filter(|place| !place.is_empty()) else {
        return Err(Failure::usage(format!("`--build-context {name}` names no place")));
    };
    if let Some(image) = place.strip_prefix("docker-image://") {
        return Ok(ContextReference::Image(image.to_owned()));
    }
    if let Some(layout) = place.strip_prefix("oci-layout://") {
        return Ok(ContextReference::Layout(layout.to_owned()));
    }
    Ok(ContextReference::Files(place_of(place)?))
}

/// The context and the Dockerfile, of which one may come from standard input.
fn sources(args: &BuildArgs) -> Result<(ContextSource, DockerfileSource), Failure> {
    let dockerfile = match args.file.as_deref() {
        Some("-") if args.context == "-" => {
            return Err(Failure::usage("the context and the Dockerfile can't both be `-`"));
        }
        Some("-") => DockerfileSource::Text(read_input()?),
        Some(path) => DockerfileSource::Path(PathBuf::from(path)),
        None => DockerfileSource::Default,
    };
    if args.context == "-" {
        let input = read_input()?;
        return Ok(if is_archive(&input) {
            (ContextSource::Tar(input.into()), inside(dockerfile))
        } else {
            (ContextSource::Empty, DockerfileSource::Text(input))
        });
    }
    let context = place_of(&args.context)?;
    match &context {
        ContextSource::Folder(folder) if !folder.is_dir() => {
            let message = format!("there is no folder `{}`", args.context);
            let hint = if args.context.chars().all(char::is_alphanumeric) {
                format!("nor is there a verb `{}`; `rbuild --help` lists them", args.context)
            } else {
                "the context of a build is a folder; `rbuild --help` lists the verbs".to_owned()
            };
            Err(Failure::usage(message).hint(hint))
        }
        ContextSource::Folder(_) => Ok((context, dockerfile)),
        _ => Ok((context, inside(dockerfile))),
    }
}

/// The Dockerfile of a context that is no folder here: in it, unless the path says where it is.
fn inside(dockerfile: DockerfileSource) -> DockerfileSource {
    match dockerfile {
        DockerfileSource::Path(path) if path.is_relative() => {
            DockerfileSource::Inside(path.to_string_lossy().into_owned())
        }
        other => other,
    }
}

/// A folder, or the address of what becomes one.
fn place_of(place: &str) -> Result<ContextSource, Failure> {
    if Path::new(place).is_dir() {
        return Ok(ContextSource::Folder(place.into()));
    }
    match ContextSource::from(place) {
        ContextSource::Folder(_) if place.contains("://") => {
            let message = format!("a context at `{place}` is not supported");
            let hint = "an address is that of a git repository, or begins with http:// or https://";
            Err(Failure::usage(message).hint(hint))
        }
        context => Ok(context),
    }
}

fn read_input() -> Result<Vec<u8>, Failure> {
    let input = io::stdin().lock();
    if input.is_terminal() {
        return Err(Failure::usage("standard input is a terminal: pipe something into it"));
    }
    let mut bytes = Vec::new();
    let read = input.take(LARGEST_INPUT).read_to_end(&mut bytes);
    read.map_err(Failure::io("read standard input"))?;
    Ok(bytes)
}

/// Whether bytes are a tar archive, plain or compressed, and no Dockerfile.
fn is_archive(bytes: &[u8]) -> bool {
    const MAGIC: &[u8] = b"ustar";
    const PLACE: usize = 257;
    let compressed: [&[u8]; 4] =
        [&[0x1f, 0x8b], b"BZh", &[0xfd, b'7', b'z'], &[0x28, 0xb5, 0x2f, 0xfd]];
    bytes.get(PLACE..).is_some_and(|rest| rest.starts_with(MAGIC))
        || compressed.iter().any(|magic| bytes.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_told_from_a_dockerfile() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(is_archive(&tar));
        assert!(is_archive(&[0x1f, 0x8b, 8]));
        assert!(!is_archive(b"FROM alpine\n"));
        assert!(!is_archive(b""));
    }

    #[test]
    fn addresses_are_told_from_folders() {
        for place in
            ["https://h/x.git", "https://h/x.tar", "git@h:x", "git://h/x", "github.com/a/b"]
        {
            assert!(matches!(place_of(place), Ok(ContextSource::Address(_))), "{place}");
        }
        for place in ["./https", "..", "a@b", "no/such"] {
            assert!(matches!(place_of(place), Ok(ContextSource::Folder(_))), "{place}");
        }
        assert!(place_of("ftp://h/x").is_err());
        assert!(named_context("a", Some("docker-image://alpine")).is_ok());
        assert!(named_context("a", None).is_err());
    }

    #[test]
    fn the_dockerfile_is_in_a_context_that_is_elsewhere() {
        let relative = inside(DockerfileSource::Path("a/b".into()));
        assert!(matches!(relative, DockerfileSource::Inside(path) if path == "a/b"));
        let absolute = inside(DockerfileSource::Path("/a/b".into()));
        assert!(matches!(absolute, DockerfileSource::Path(_)));
    }
}
