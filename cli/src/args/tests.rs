//! What users type, and what it means.

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let words = line.split_whitespace().map(OsString::from).collect();
    super::parse(words).map_err(|wrong| wrong.error)
}

fn command(line: &str) -> Command {
    parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).command.plain()
}

fn build(line: &str) -> Box<BuildArgs> {
    match command(line) {
        Command::Build(args) => args,
        other => panic!("{line}: {other:?}"),
    }
}

fn run(line: &str) -> Box<RunArgs> {
    match command(line) {
        Command::Run(args) => args,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn clap_finds_no_fault() {
    Cli::command().debug_assert();
    with_switch_values(Cli::command()).debug_assert();
}

#[test]
fn the_verbs_are_those_of_the_tree() {
    let tree = Cli::command();
    let names = tree.get_subcommands().flat_map(|verb| {
        std::iter::once(verb.get_name()).chain(verb.get_all_aliases()).map(str::to_owned)
    });
    let names: Vec<_> = names.chain(["help".to_owned()]).collect();
    assert_eq!(names, route::VERBS);
}

#[test]
fn a_branch_is_as_in_the_tree() {
    let mut tree = Cli::command();
    tree.build();
    for (verb, _) in branch::VERBS {
        let mut branch = branch::of(verb).unwrap();
        branch.clone().debug_assert();
        branch.build();
        let arguments = |program: &clap::Command| {
            let verb = program.find_subcommand(verb).unwrap_or_else(|| panic!("no {verb}"));
            verb.get_arguments().map(|argument| format!("{argument:?}")).collect::<Vec<_>>()
        };
        assert_eq!(arguments(&branch), arguments(&tree), "{verb}");
    }
}

#[test]
fn a_line_without_a_verb_is_a_build() {
    for line in [
        "rbuild -t x .",
        "rbuild . -t x",
        "rbuild build -t x .",
        "docker buildx build -t x .",
        "docker buildx b -t x .",
        "docker image build -t x .",
        "docker builder build -t x .",
        "docker -D build --tag=x .",
        "rbuild --root /r -t x .",
        "rbuild --root=/r --debug -t x .",
        "docker --context default buildx --builder b build -t x .",
    ] {
        let args = build(line);
        assert_eq!((args.context.as_str(), args.tags.as_slice()), (".", &["x".to_owned()][..]));
    }
}

#[test]
fn a_folder_may_be_named_like_a_verb() {
    assert_eq!(build("rbuild -t x run").context, "run");
    assert_eq!(build("rbuild ./images").context, "./images");
}

#[test]
fn verbs_that_are_missing_are_named() {
    let error = parse("docker compose up").unwrap_err();
    assert!(error.to_string().contains("`rbuild compose` is not supported yet"), "{error}");
}

#[test]
fn nothing_typed_is_help() {
    assert_eq!(parse("rbuild").unwrap_err().kind(), ErrorKind::DisplayHelp);
    assert_eq!(parse("rbuild --version").unwrap_err().kind(), ErrorKind::DisplayVersion);
    assert_eq!(parse("docker -v").unwrap_err().kind(), ErrorKind::DisplayVersion);
}

#[test]
fn flags_of_a_build_are_refused_by_name_or_let_pass() {
    assert_eq!(build("rbuild --policy a=b .").refused(), Some("policy"));
    assert_eq!(build("rbuild --provenance=mode=max --attest type=sbom .").refused(), None);
    let harmless = "rbuild --provenance=false --sbom=false -m 1g -c 5 --rm --force-rm --squash \
                    --compress --security-opt x --builder b .";
    assert_eq!(build(harmless).refused(), None);
}

#[test]
fn something_may_be_asked_in_place_of_a_build() {
    let asked = |line| build(line).asked();
    assert_eq!(asked("rbuild ."), None);
    assert_eq!(asked("rbuild --call=build ."), None);
    assert_eq!(asked("rbuild --check ."), Some(Call::CHECK));
    assert_eq!(asked("rbuild --call check --check ."), Some(Call::CHECK));
    assert_eq!(asked("rbuild --call=outline --check ."), Some(Call::CHECK));
    let json = Call { format: Format::Json, ..Call::CHECK };
    assert_eq!(asked("rbuild --check --call=check,format=json ."), Some(json));
    assert!(parse("rbuild --call=nonsense .").is_err());
}

#[test]
fn switches_take_values_as_docker_has_it() {
    let args = build("docker build --pull=true --no-cache=false --rm=true -t x .");
    assert!(args.pull && !args.no_cache);
    assert_eq!(args.refused(), None);
    assert_eq!(build("rbuild --check=false .").asked(), None);
    let args = run("docker run -itd --rm=true alpine sh");
    assert!(args.rm && args.detach && args.create.interactive && args.create.tty);
}

#[test]
fn all_after_the_image_is_the_containers() {
    let args = run("docker run -itd --rm -e A=1 alpine --rm -t sh -c ls -- --help");
    assert!(args.detach && args.rm && args.create.tty && args.create.interactive);
    let words = ["alpine", "--rm", "-t", "sh", "-c", "ls", "--", "--help"];
    assert_eq!(args.create.image_and_command, words);
    assert_eq!(run("docker container run alpine").create.image_and_command, ["alpine"]);
    assert_eq!(run("docker run alpine -D --root x").create.image_and_command.len(), 4);
}

#[test]
fn a_flag_before_the_image_must_be_known() {
    assert_eq!(parse("docker run --foo alpine").unwrap_err().kind(), ErrorKind::UnknownArgument);
    assert_eq!(
        run("docker run --cpu-rt-period 1 alpine").create.foreign.refused(),
        Some("cpu-rt-period")
    );
}

#[test]
fn run_takes_h_for_the_host_name() {
    assert_eq!(run("docker run -h box alpine").create.hostname.as_deref(), Some("box"));
    assert_eq!(parse("docker run --help").unwrap_err().kind(), ErrorKind::DisplayHelp);
}

#[test]
fn exec_passes_its_command_on() {
    let Command::Exec(args) = command("docker exec -it web sh -c ls") else { panic!() };
    assert_eq!(args.container_and_command, ["web", "sh", "-c", "ls"]);
    assert!(args.interactive && args.tty);
}

#[test]
fn groups_mirror_the_verbs() {
    assert!(matches!(command("docker container ls -a"), Command::Ps(PsArgs { all: true, .. })));
    assert!(matches!(command("docker container ps -aq"), Command::Ps(PsArgs { quiet: true, .. })));
    assert!(matches!(command("docker image push x"), Command::Push(_)));
    assert!(matches!(command("docker image ls"), Command::Images(_)));
    assert!(matches!(command("docker image list"), Command::Images(_)));
    assert!(matches!(command("docker image rm x"), Command::Rmi(_)));
    assert!(matches!(command("docker image import -c CMD - x:1"), Command::Import(_)));
    assert!(matches!(command("docker system df -v"), Command::DiskUsage(_)));
    assert!(matches!(command("docker system prune -af --volumes"), Command::SystemPrune(_)));
    let prune = "docker builder prune -af --filter until=24h --keep-storage 10GB";
    let Command::Cache(Cache::Prune(args)) = command(prune) else { panic!() };
    assert_eq!(args.reserved_space, Some(Size(10 << 30)));
    let prune = "docker buildx prune --all --force --max-used-space 1g --min-free-space 5g";
    assert!(matches!(command(prune), Command::BuildxPrune(CachePruneArgs { all: true, .. })));
    assert!(matches!(command("docker buildx du --verbose"), Command::Cache(Cache::Du(_))));
    for line in ["rbuild imagetools", "docker buildx imagetools"] {
        let create = format!("{line} create -t a --append --prefer-index=false b c");
        let Command::Imagetools(Imagetools::Create(args)) = command(&create) else { panic!() };
        assert!(args.append && !args.prefer_index && args.sources == ["b", "c"]);
    }
    assert!(matches!(command("docker manifest inspect -v x"), Command::Manifest(_)));
    assert!(matches!(command("docker stop -t -1 x"), Command::Stop(_)));
    assert!(matches!(command("docker logs -ft --tail 5 x"), Command::Logs(_)));
    let Command::Inspect(args) = command("docker image inspect -f {{.Id}} x") else { panic!() };
    assert_eq!(args.kind.as_deref(), Some("image"));
}

#[test]
fn global_flags_stand_before_and_after_the_verb() {
    for line in ["rbuild --root /r ps", "rbuild ps --root /r", "rbuild --root /r -t x ."] {
        assert_eq!(parse(line).unwrap().top.global.root, Some(PathBuf::from("/r")), "{line}");
    }
    let mirrors = parse("rbuild --registry-mirror a --registry-mirror b pull x").unwrap();
    assert_eq!(mirrors.top.global.registry_mirror, ["a", "b"]);
}

#[test]
fn the_last_of_a_single_flag_counts() {
    assert_eq!(build("rbuild -f a -f b .").file.as_deref(), Some("b"));
    assert!(run("docker run -i -i alpine").create.interactive);
}
