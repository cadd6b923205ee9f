//! The lint rules: their names, what they are about, and where to read more.

macro_rules! rules {
    ($($rule:ident, $page:literal, $description:literal;)*) => {
        /// A lint rule, by its name in `# check=skip=`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $description] $rule,)*
        }

        impl Rule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$rule),*];

            /// Returns the name as `# check=skip=` takes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$rule => stringify!($rule),)* }
            }

            /// Returns what the rule asks for.
            pub fn description(self) -> &'static str {
                match self { $(Self::$rule => $description,)* }
            }

            /// Returns the last part of the address of the page about it, empty if there is none.
            fn page(self) -> &'static str {
                match self { $(Self::$rule => $page,)* }
            }
        }
    };
}

rules! {
    ConsistentInstructionCasing, "consistent-instruction-casing",
        "All instructions of the file should be written in the same case";
    CopyIgnoredFile, "copy-ignored-file",
        "A path that the ignore file excludes cannot be copied";
    DuplicateStageName, "duplicate-stage-name",
        "Stage names should be unique";
    ExposeInvalidFormat, "expose-invalid-format",
        "EXPOSE takes ports of the container only: no address and no host port";
    ExposeProtoCasing, "expose-proto-casing",
        "The protocol in EXPOSE should be in lower case";
    FromAsCasing, "from-as-casing",
        "AS should be in the same case as FROM";
    FromPlatformFlagConstDisallowed, "from-platform-flag-const-disallowed",
        "FROM --platform should not be a constant";
    InvalidBaseImagePlatform, "",
        "The base image should be of the platform that is built for";
    InvalidDefaultArgInFrom, "invalid-default-arg-in-from",
        "With its defaults alone an ARG should give a valid image in FROM";
    InvalidDefinitionDescription, "invalid-definition-description",
        "The comment above FROM or ARG should start with the name of the stage or argument";
    JSONArgsRecommended, "json-args-recommended",
        "CMD and ENTRYPOINT should be in JSON form, so that signals reach the program";
    LegacyKeyValueFormat, "legacy-key-value-format",
        "Keys and values should be joined by an equals sign, not by a blank";
    MaintainerDeprecated, "maintainer-deprecated",
        "A label should name the author: MAINTAINER is deprecated";
    MultipleInstructionsDisallowed, "multiple-instructions-disallowed",
        "A stage should have one CMD, one ENTRYPOINT and one HEALTHCHECK: the last one counts";
    NoEmptyContinuation, "no-empty-continuation",
        "A continued instruction should not hold empty lines: a later release may refuse them";
    RedundantTargetPlatform, "redundant-target-platform",
        "FROM --platform=$TARGETPLATFORM says what holds anyway";
    ReservedStageName, "reserved-stage-name",
        "A stage should not take a name that already means something";
    SecretsUsedInArgOrEnv, "secrets-used-in-arg-or-env",
        "Secrets should not be in ARG or ENV, from where they get into the image";
    StageNameCasing, "stage-name-casing",
        "Stage names should be in lower case";
    UndefinedArgInFrom, "undefined-arg-in-from",
        "FROM should only use arguments that are declared";
    UndefinedVar, "undefined-var",
        "A variable should be declared before it is used";
    WorkdirRelativePath, "workdir-relative-path",
        "The first WORKDIR should be absolute: the base image may set any other one";
}

impl Rule {
    /// Returns the address of the page about the rule; some have none.
    pub fn url(self) -> Option<String> {
        let page = self.page();
        let base = "https://docs.docker.com/go/dockerfile/rule/";
        (!page.is_empty()).then(|| format!("{base}{page}/"))
    }

    /// Whether the rule is only applied when `# check=experimental=` names it.
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }

    /// Finds a rule by its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }
}
