//! One case for and one against each rule that depends on what is built, and what is said.

use std::collections::BTreeMap;

use super::super::{NamedContext, Request, ResolvedImage, lint, lower, wanted_images};
use crate::context::ignore::Ignore;
use crate::dockerfile::{self, Diagnostic};
use crate::image::ImageConfig;
use crate::platform;

/// An image that sets a variable and a shell where its name says so; `missing` is none.
fn image(reference: &str) -> ImageConfig {
    let architecture = if reference == "foreign" { "linux/arm64" } else { "linux/amd64" };
    let mut config = ImageConfig::scratch(&platform::parse(architecture).unwrap());
    config.rootfs.diff_ids =
        vec![format!("sha256:{}", "a".repeat(64)).parse().expect("a digest of a layer")];
    match reference {
        "python" => config.config.env.push("PYTHON_VERSION=3".to_owned()),
        "shell" => config.config.shell = vec!["/bin/zsh".to_owned(), "-c".to_owned()],
        "triggers" => {
            config.config.on_build =
                ["WORKDIR here", "CMD [\"a\"]", "USER $WHO", "LABEL a b"].map(Into::into).into();
        }
        _ => {}
    }
    config
}

/// The warnings about a file whose images are those above.
fn warnings(text: &str, change: impl FnOnce(&mut Request)) -> Vec<Diagnostic> {
    let file = dockerfile::parse(text.as_bytes()).expect("a Dockerfile");
    let mut request =
        Request { platform: platform::parse("linux/amd64").unwrap(), ..Request::new() };
    change(&mut request);
    let mut resolved = BTreeMap::new();
    let wanted = wanted_images(&file, &request, &BTreeMap::new()).unwrap_or_default();
    let wanted = wanted.into_iter().map(|wanted| wanted.value);
    for wanted in wanted.filter(|wanted| wanted.reference != "missing") {
        let config = image(&wanted.reference);
        let reference = format!("docker.io/library/{}", wanted.reference);
        resolved.insert(wanted, ResolvedImage { reference, config });
    }
    let found = lint(&file, &request, &resolved);
    if let Ok(lowered) = lower(&file, &request, &resolved) {
        assert_eq!(lowered.warnings, found, "a build tells what a check tells");
    }
    found
}

fn told(text: &str, change: impl FnOnce(&mut Request)) -> Vec<String> {
    warnings(text, change).iter().map(ToString::to_string).collect()
}

macro_rules! rules {
    ($($name:ident: $bad:literal tells [$($told:literal),+]; not $($good:literal),+;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(told($bad, |_| {}), [$($told),+]);
            $(assert!(told($good, |_| {}).is_empty(), "{:?}", told($good, |_| {}));)+
        })*
    };
}

rules! {
    arguments_of_from_are_declared:
        "ARG tag=1\nFROM a:${tag}${version}\nFROM --platform=$BULIDPLATFORM b\n" tells [
            "UndefinedArgInFrom: no ARG above the first FROM declares `version` (line 2)",
            "UndefinedArgInFrom: no ARG above the first FROM declares `BULIDPLATFORM` \
             (did you mean `BUILDPLATFORM`?) (line 3)"];
        not "ARG DEBUG\nFROM scra${DEBUG:-tch}\n", "FROM --platform=$BUILDPLATFORM scratch\n";
    defaults_give_an_image:
        "ARG VERSION\nFROM busybox:$VERSION\n" tells [
            "InvalidDefaultArgInFrom: with the defaults alone `busybox:$VERSION` is `busybox:`, \
             no image (line 2)"];
        not "ARG VERSION=1\nFROM busybox:$VERSION\n", "ARG V\nFROM busybox:stable${V}\n",
            "ARG B=base\nFROM a AS base\nFROM $B\n";
    the_target_platform_holds_anyway:
        "FROM --platform=${TARGETPLATFORM} a\n" tells [
            "RedundantTargetPlatform: `--platform=${TARGETPLATFORM}` is what holds anyway (line 1)"];
        not "FROM --platform=$BUILDPLATFORM a\n", "FROM --platform=$TARGETOS/$TARGETARCH a\n",
            "# check=skip=RedundantTargetPlatform\n\nFROM --platform=$TARGETPLATFORM a\n";
    a_constant_platform_is_announced:
        "FROM --platform=linux/amd64 scratch\n" tells [
            "FromPlatformFlagConstDisallowed: `--platform=linux/amd64` builds for one platform only \
             (line 1)"];
        not "FROM --platform=linux/amd64 scratch AS my_amd64_stage\n",
            "FROM --platform=linux/amd64 scratch AS linux\n",
            "ARG P=linux/amd64\nFROM --platform=$P scratch\n";
    base_images_are_of_the_platform:
        "FROM foreign AS one\nFROM a\nCOPY --from=foreign /a /b\n" tells [
            "InvalidBaseImagePlatform: `foreign` is an image for linux/arm64, where linux/amd64 is \
             wanted (line 3)"];
        not "FROM a\nCOPY --from=b /a /b\n";
    workdir_starts_absolute:
        "FROM a\nWORKDIR app/\nWORKDIR deeper\n" tells [
            "WorkdirRelativePath: `app/` is below whatever directory the base image has set (line 2)"];
        not "FROM a AS b\nWORKDIR /app\nFROM b\nWORKDIR deeper\n",
            "FROM a\nARG D=/d\nWORKDIR \"$D/x\"\n", "FROM a\n# check=skip=all\nWORKDIR app\n";
    variables_are_defined:
        "FROM a\nENV PATH=$PAHT:/bin\nCOPY $foo .\nARG foo=${bar}\nRUN echo $baz\n" tells [
            "UndefinedVar: nothing defines `$PAHT` before this (did you mean `$PATH`?) (line 2)",
            "UndefinedVar: nothing defines `$foo` before this (line 3)",
            "UndefinedVar: nothing defines `$bar` before this (line 4)"];
        not "FROM a AS b\nARG foo\nENV bar=1\nFROM b\nCOPY $foo $bar $PATH /\n",
            "FROM python\nARG V=$PYTHON_VERSION\n", "FROM missing\nUSER $WHO\nCMD a\n",
            "FROM a\nEXPOSE $PORT\nONBUILD USER $WHO\nCMD [\"$a\"]\n";
    global_arguments_are_taken_over:
        "ARG VERSION=1\nFROM a\nLABEL version=$VERSION\n" tells [
            "UndefinedVar: nothing defines `$VERSION` before this (`ARG VERSION` in this stage takes \
             the global value) (line 3)"];
        not "ARG VERSION=1\nFROM a\nARG VERSION\nLABEL version=$VERSION\n";
    every_word_that_expands_is_looked_at:
        "FROM a\nLABEL $a=1\nCOPY --chown=$b <<E $c\n$d\nE\nADD --checksum=$e x /\nVOLUME $f\n\
         STOPSIGNAL $g\nRUN --mount=type=cache,target=$h i\n" tells [
            "UndefinedVar: nothing defines `$a` before this (line 2)",
            "UndefinedVar: nothing defines `$b` before this (line 3)",
            "UndefinedVar: nothing defines `$d` before this (line 3)",
            "UndefinedVar: nothing defines `$c` before this (line 3)",
            "UndefinedVar: nothing defines `$e` before this (line 6)",
            "UndefinedVar: nothing defines `$f` before this (line 7)",
            "UndefinedVar: nothing defines `$g` before this (line 8)",
            "UndefinedVar: nothing defines `$h` before this (line 9)"];
        not "FROM a\nCOPY <<\"E\" /x\n$d\nE\n";
    instructions_stand_once:
        "FROM a\nCMD [\"1\"]\nENTRYPOINT [\"2\"]\nHEALTHCHECK NONE\nCMD [\"3\"]\nENTRYPOINT []\n\
         HEALTHCHECK CMD 4\n" tells [
            "MultipleInstructionsDisallowed: CMD is lost: line 5 has another one (line 2)",
            "MultipleInstructionsDisallowed: ENTRYPOINT is lost: line 6 has another one (line 3)",
            "MultipleInstructionsDisallowed: HEALTHCHECK is lost: line 7 has another one (line 4)"];
        not "FROM a AS b\nCMD [\"1\"]\nFROM b\nCMD [\"2\"]\n";
    commands_are_json:
        "FROM a\nCMD a\nENTRYPOINT ['b']\n" tells [
            "JSONArgsRecommended: CMD in shell form keeps signals from the program (line 2)",
            "JSONArgsRecommended: ENTRYPOINT starts with `[` but is no JSON, which has double quotes \
             only (line 3)"];
        not "FROM a AS b\nSHELL [\"x\"]\nFROM b\nCMD a\n", "FROM shell\nENTRYPOINT a\n",
            "FROM a\nCMD [\"a\"]\nHEALTHCHECK CMD b\nRUN c\n";
    secrets_are_no_variables:
        "FROM a\nARG API_KEY=x KEYS PUBLIC_KEY monkey\nENV DB_PASSWORD=x TOKEN_FILE=/a \\\n  auth=b\n" tells [
            "SecretsUsedInArgOrEnv: ARG `API_KEY` looks like a secret (line 2)",
            "SecretsUsedInArgOrEnv: ENV `DB_PASSWORD` looks like a secret (line 3)",
            "SecretsUsedInArgOrEnv: ENV `auth` looks like a secret (line 3)"];
        not "ARG TOKEN\nFROM a\nENV AUTH_MODULE_VERSION=1\n",
            "FROM a\n# check=skip=SecretsUsedInArgOrEnv // public\nENV token=1\n";
    protocols_are_lower:
        "FROM a\nENV P=80/TCP\nEXPOSE $P 81/Udp 82/tcp\n" tells [
            "ExposeProtoCasing: the protocol of `80/TCP` should be in lower case (line 3)",
            "ExposeProtoCasing: the protocol of `81/Udp` should be in lower case (line 3)"];
        not "FROM a\nEXPOSE 80/tcp 81\n";
    ports_are_the_container_s:
        "FROM a\nEXPOSE 127.0.0.1:80:80 [::1]:81:81 82:82 83\n" tells [
            "ExposeInvalidFormat: `127.0.0.1:80:80` names an address or a port of the host (line 2)",
            "ExposeInvalidFormat: `[::1]:81:81` names an address or a port of the host (line 2)",
            "ExposeInvalidFormat: `82:82` names an address or a port of the host (line 2)"];
        not "FROM a\nEXPOSE 80 1000-1010/udp\n";
    triggers_are_told_at_from:
        "FROM triggers\nCMD [\"b\"]\n" tells [
            "WorkdirRelativePath: `here` is below whatever directory the base image has set (line 1)",
            "UndefinedVar: nothing defines `$WHO` before this (line 1)",
            "LegacyKeyValueFormat: write `=` in place of the blank in `LABEL a b` (line 1)",
            "MultipleInstructionsDisallowed: CMD is lost: line 2 has another one (line 1)"];
        not "FROM a\nONBUILD WORKDIR here\n";
}

#[test]
fn ignored_files_cannot_be_copied() {
    let ignoring = |request: &mut Request| {
        let ignore = Ignore::parse("node_modules\n*.log\n").expect("patterns");
        request.ignore = Some((".dockerignore".to_owned(), ignore));
    };
    let text = "FROM a AS b\nCOPY node_modules/x a.log /\nADD ./b.log https://example.com/c.log /\n\
                FROM b\nCOPY --from=b /a.log .\nCOPY <<a.log .\na.log\nCOPY . src /\n";
    assert_eq!(
        told(text, ignoring),
        [
            "CopyIgnoredFile: COPY of `node_modules/x`, which line 1 of .dockerignore \
             (`node_modules`) excludes (line 2)",
            "CopyIgnoredFile: COPY of `a.log`, which line 2 of .dockerignore (`*.log`) excludes \
             (line 2)",
            "CopyIgnoredFile: ADD of `./b.log`, which line 2 of .dockerignore (`*.log`) excludes \
             (line 3)",
        ]
    );
    assert!(told(text, |_| {}).is_empty());
}

#[test]
fn only_stages_that_are_built_count() {
    let text =
        "FROM a AS one\nENV testkey value\nWORKDIR x\nFROM a AS two\nMAINTAINER me\nFROM a\n";
    let rules = |all_stages| {
        let found = told(text, |request| request.all_stages = all_stages);
        found.iter().map(|line| line.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rules(false), ["MaintainerDeprecated"]);
    assert_eq!(
        rules(true),
        ["LegacyKeyValueFormat", "WorkdirRelativePath", "MaintainerDeprecated"]
    );
}

#[test]
fn arguments_of_the_command_line_count() {
    let text = "ARG IMAGE\nFROM $IMAGE\nARG A=$NOTHING\nUSER $A\n";
    let found = told(text, |request| {
        request.arguments.insert("IMAGE".to_owned(), "busybox:latest".to_owned());
        request.arguments.insert("A".to_owned(), "x".to_owned());
    });
    assert_eq!(
        found,
        ["InvalidDefaultArgInFrom: with the defaults alone `$IMAGE` is ``, no image (line 2)"]
    );
    let platform = "FROM --platform=$TARGETPLATFORM a\n";
    let named = |request: &mut Request| {
        let image = NamedContext::Image("foreign".to_owned());
        request.contexts.insert("a".to_owned(), image);
    };
    assert_eq!(told("FROM a\n", named), [""; 0], "the caller chose the image");
    assert_eq!(told(platform, |_| {}).len(), 1);
}

#[test]
fn a_check_of_the_request_is_in_place_of_the_file_s() {
    let text = "# check=skip=all;error=true\nFROM a\nCMD b\n";
    assert!(told(text, |_| {}).is_empty());
    let span = dockerfile::Span::default();
    let check = dockerfile::Check::parse("skip=WorkdirRelativePath", span).expect("a check");
    assert_eq!(told(text, |request| request.check = Some(check)).len(), 1);
}

#[test]
fn a_file_that_cannot_be_built_is_looked_at_as_far_as_it_goes() {
    let text = "FROM a AS Base\nCOPY --from=later /a /\nFROM --platform=linux/amd64 b AS later\n";
    let rules = told(text, |_| {});
    assert_eq!(rules.len(), 2, "{rules:?}");
}
