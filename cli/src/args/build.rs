//! The flags of a build.

use std::path::PathBuf;

use super::foreign::{Flag, Flags, Foreign, ignored, refused};
use super::{Allow, Call, Method, Pair, SecretFlag, Size, SshFlag, Ulimit};
use crate::progress::Mode;

const EXAMPLES: &str = "\
Examples:
  rbuild -t hello .                          the Dockerfile of this folder
  rbuild -t hello -f docker/Dockerfile .     another Dockerfile, the same context
  rbuild --target test --build-arg V=1 .     one stage, with an argument
  rbuild --secret id=npm,src=.npmrc .        a file that no layer keeps
  rbuild --ssh default .                     your SSH agent, for `RUN --mount=type=ssh`
  rbuild -t host:5000/hello --push .         straight to a registry
  rbuild -o type=oci,dest=hello.tar .        an archive in place of the store
  tar c . | rbuild -t hello -                a context from a pipe
  rbuild --check .                           what the lint rules find; nothing is built

The image id is printed on standard output, all else on standard error.
Exit codes: 0 built, 1 the build failed, 2 wrong usage, 3 the machine or the network.";

/// Flags of a build that rbuild lacks.
#[derive(Debug)]
pub(crate) struct BuildFlags;

impl Flags for BuildFlags {
    const FLAGS: &'static [Flag] = &[
        ignored("builder"),
        refused("cgroup-parent"),
        refused("policy"),
        refused("resource"),
        // Only what these raise above the default would be missed, and they never change an image.
        ignored("memory").short('m'),
        ignored("memory-swap"),
        ignored("cpu-shares").short('c'),
        ignored("cpu-period"),
        ignored("cpu-quota"),
        ignored("cpuset-cpus"),
        ignored("cpuset-mems"),
        ignored("compress").switch(),
        ignored("isolation"),
        ignored("security-opt"),
        ignored("squash").switch(),
        ignored("rm").switch(),
        ignored("force-rm").switch(),
        ignored("disable-content-trust").switch(),
    ];
}

/// What `rbuild build` understands.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BuildArgs {
    /// The context: a folder, a git repository, the URL of a tar archive or of a lone Dockerfile, or
    /// `-` for one of these two on standard input
    #[arg(value_name = "PATH | URL | -")]
    pub(crate) context: String,
    /// Name the image (may be repeated)
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    pub(crate) tags: Vec<String>,
    /// Read the Dockerfile from here; `-` is standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<String>,
    /// Build this stage in place of the last one
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Set an ARG; without a value it is taken from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<Pair>,
    /// Lend a secret to `RUN --mount=type=secret`
    #[arg(long = "secret", value_name = "id=ID[,src=FILE|,env=NAME]")]
    pub(crate) secrets: Vec<SecretFlag>,
    /// Lend an SSH agent, or keys, to `RUN --mount=type=ssh`
    #[arg(long = "ssh", value_name = "default|ID[=SOCKET|KEYFILE,…]")]
    pub(crate) ssh: Vec<SshFlag>,
    /// Give a name that `FROM` and `--from` know to a folder, `docker-image://NAME`,
    /// `oci-layout://PATH[:TAG]`, or the address of a git repository or an archive
    #[arg(long = "build-context", value_name = "NAME=PLACE")]
    pub(crate) contexts: Vec<Pair>,
    /// Add a label to the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<Pair>,
    /// Build for this platform, such as `linux/arm64`, or for several at once, with commas between
    /// them [env: DOCKER_DEFAULT_PLATFORM]
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
    /// Ask the registry for newer base images
    #[arg(long)]
    pub(crate) pull: bool,
    /// Ask nobody: what is not in the store is an error
    #[arg(long, conflicts_with = "pull")]
    pub(crate) offline: bool,
    /// Let so many RUN steps run at once; 0 is no limit
    #[arg(long, value_name = "NUMBER", default_value_t = 16)]
    pub(crate) jobs: usize,
    /// Run every step, even where its result is known
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Run every step of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',', conflicts_with = "no_cache")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Take results from this cache too: an image or cache in a registry, `type=local,src=FOLDER`,
    /// `type=s3,bucket=NAME,region=REGION` or `type=gha`
    #[arg(long, value_name = "REF | type=TYPE,…", help_heading = "Shared cache")]
    pub(crate) cache_from: Vec<String>,
    /// Put results into a cache for other machines: `type=registry,ref=REF`,
    /// `type=local,dest=FOLDER`, `type=inline`, `type=s3,bucket=NAME,region=REGION` or `type=gha`, and
    /// `mode=max` for those of all steps
    #[arg(long, value_name = "REF | type=TYPE,…", help_heading = "Shared cache")]
    pub(crate) cache_to: Vec<String>,
    /// Let the store take no more than this: what is worth least goes, while the build runs
    /// [env: RBUILD_CACHE_MAX]
    #[arg(long, value_name = "SIZE")]
    pub(crate) cache_max: Option<Size>,
    /// Check the Dockerfile with the lint rules, and build nothing; the same as `--call=check`
    #[arg(long)]
    pub(crate) check: bool,
    /// Ask something in place of a build: `check`, `outline`, `targets` or `subrequests.describe`
    #[arg(long, value_name = "METHOD[,format=text|json|sarif][,ignorestatus=BOOL]")]
    pub(crate) call: Option<Call>,

    /// Write the result elsewhere: `type=oci,dest=FILE`, a folder, `-` for a tar on standard output
    #[arg(short, long = "output", value_name = "DEST", help_heading = "Results")]
    pub(crate) outputs: Vec<String>,
    /// Push the image to the registry of its name
    #[arg(long, help_heading = "Results")]
    pub(crate) push: bool,
    /// Put the image into rbuild's store, as is done anyway; `-o type=docker,context=default` loads
    /// it into a Docker daemon
    #[arg(long, help_heading = "Results")]
    pub(crate) load: bool,
    /// Write something on the manifest, or on `index:`, `manifest-descriptor:`,
    /// `index-descriptor:`, where the image leaves the store
    #[arg(long = "annotation", value_name = "[TYPE:]KEY=VALUE", help_heading = "Results")]
    pub(crate) annotations: Vec<String>,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write the digests of the result to a JSON file
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Print nothing but the image id
    #[arg(short, long, help_heading = "Results")]
    pub(crate) quiet: bool,
    /// How to show what goes on [env: BUILDKIT_PROGRESS]
    #[arg(long, value_enum, value_name = "MODE", help_heading = "Results")]
    pub(crate) progress: Option<Mode>,
    /// Attest how the image was made, beside the image where it goes: `true`, `false`, or
    /// `mode=min|max`, `builder-id=URI`, `reproducible=true`
    #[arg(long, value_name = "BOOL | KEY=VALUE,…", help_heading = "Attestations")]
    pub(crate) provenance: Option<String>,
    /// Attest which packages are in the image, as SPDX
    #[arg(long, value_name = "BOOL", help_heading = "Attestations")]
    pub(crate) sbom: Option<String>,
    /// The same in one flag: `type=provenance,…`, `type=sbom`
    #[arg(long, value_name = "type=TYPE,…", help_heading = "Attestations")]
    pub(crate) attest: Vec<String>,

    /// The network of every RUN: `default`, `none` or `host`
    #[arg(long, value_name = "MODE", help_heading = "Sandbox of RUN")]
    pub(crate) network: Option<String>,
    /// Add a line to `/etc/hosts` of every RUN
    #[arg(long = "add-host", value_name = "HOST:IP", help_heading = "Sandbox of RUN")]
    pub(crate) add_hosts: Vec<String>,
    /// The size of `/dev/shm` of every RUN
    #[arg(long, value_name = "BYTES", help_heading = "Sandbox of RUN")]
    pub(crate) shm_size: Option<Size>,
    /// A resource limit of every RUN
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", help_heading = "Sandbox of RUN")]
    pub(crate) ulimits: Vec<Ulimit>,
    /// Allow what takes walls away: `security.insecure`, `device[=NAME]`, `network.host`,
    /// `buildx.local.delete`
    #[arg(long = "allow", value_name = "WHAT", help_heading = "Sandbox of RUN")]
    pub(crate) allow: Vec<Allow>,

    #[command(flatten)]
    pub(crate) foreign: Foreign<BuildFlags>,
}

impl BuildArgs {
    /// What is asked in place of a build.
    pub(crate) fn asked(&self) -> Option<Call> {
        match self.call {
            Some(call) if !self.check || call.method == Method::Check => {
                Some(call).filter(|call| call.method != Method::Build)
            }
            _ => self.check.then_some(Call::CHECK),
        }
    }

    /// The first flag typed that rbuild can't honour.
    pub(crate) fn refused(&self) -> Option<&'static str> {
        self.foreign.refused()
    }
}

const VERIFY: &str = "\
Examples:
  rbuild verify .                                  the Dockerfile of this folder
  SOURCE_DATE_EPOCH=0 rbuild verify .              no time later than this one counts
  rbuild verify --ignore-times --target test .     flags as those of a build

No image gets a name, and nothing leaves the store.
Exit codes: 0 both builds gave the same, 1 they differ or one failed, 2 wrong usage.";

/// What `rbuild verify` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyBuildArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// Let builds pass for the same that differ in times alone
    #[arg(long, help_heading = "Comparison")]
    pub(crate) ignore_times: bool,
    /// Write what differs as JSON
    #[arg(long, value_name = "json", value_parser = ["json"], help_heading = "Comparison")]
    pub(crate) format: Option<String>,
}

impl VerifyBuildArgs {
    /// The help below that of the flags.
    pub(crate) const AFTER: &'static str = VERIFY;
}
