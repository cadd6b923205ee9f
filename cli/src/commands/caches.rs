//! `--cache-from` and `--cache-to`: caches that travel, spelled as buildx spells them.

use std::path::PathBuf;

use rbuild::dockerfile::value;
use rbuild::{
    Access, Actions, ActionsCache, Bucket, Build, CacheFrom, CacheMode, CacheMounts, CachePlace,
    CacheTo, Compression, S3Cache,
};

use crate::args::{BuildArgs, csv};
use crate::config;
use crate::failure::Failure;

/// Tells the build about all of them.
pub(super) fn share(mut build: Build, args: &BuildArgs) -> Result<Build, Failure> {
    for text in &args.cache_from {
        build = build.cache_from(from(text)?);
    }
    for text in &args.cache_to {
        build = build.cache_to(to(text)?);
    }
    Ok(build)
}

/// The fields whose values nobody is shown.
const SECRET: [&str; 4] = ["token", "ghtoken", "secret_access_key", "session_token"];

/// The text of a flag as it is shown.
fn shown(text: &str) -> String {
    let field = |field: &str| {
        let key = field.split_once('=').map(|(key, _)| key.trim_matches('"').to_ascii_lowercase());
        match key.filter(|key| SECRET.contains(&key.as_str())) {
            Some(key) => format!("{key}=xxxxx"),
            None => field.to_owned(),
        }
    };
    text.split(',').map(field).collect::<Vec<_>>().join(",")
}

/// The fields of one flag; what is asked for is taken out, and what is left is not known.
struct Asked<'a> {
    flag: &'static str,
    text: &'a str,
    fields: Vec<(String, String)>,
}

impl<'a> Asked<'a> {
    fn parse(flag: &'static str, text: &'a str) -> Result<Self, Failure> {
        // A lone reference is that of a registry.
        if !text.contains('=') {
            let fields = [("type", "registry"), ("ref", text)];
            let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            return Ok(Self { flag, text, fields });
        }
        let mut this = Self { flag, text, fields: Vec::new() };
        for (key, value) in csv(text).map_err(|error| this.wrong(&error.to_string()))? {
            let value = value.ok_or_else(|| this.wrong(&format!("`{key}` has no value")))?;
            this.fields.push((key.to_ascii_lowercase(), value));
        }
        Ok(this)
    }

    fn wrong(&self, reason: &str) -> Failure {
        let hint = "the types are registry, local, inline, s3 and gha";
        let text = shown(self.text);
        Failure::usage(format!("cannot use `--{} {text}`: {reason}", self.flag)).hint(hint)
    }

    /// Takes a field; of several the last one counts.
    fn take(&mut self, key: &str) -> Option<String> {
        let mut found = None;
        self.fields.retain_mut(|(name, value)| {
            let is_it = name == key;
            if is_it {
                found = Some(std::mem::take(value));
            }
            !is_it
        });
        found.filter(|value| !value.is_empty())
    }

    fn need(&mut self, key: &str) -> Result<String, Failure> {
        self.take(key).ok_or_else(|| self.wrong(&format!("`{key}` is missing")))
    }

    fn truth(&mut self, key: &str, otherwise: bool) -> Result<bool, Failure> {
        match self.take(key).as_deref() {
            None => Ok(otherwise),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(self.wrong(&format!("`{key}={other}` is neither true nor false"))),
        }
    }

    /// Takes a field that rbuild lets be what it is anyway, and nothing else.
    fn only(&mut self, key: &str, values: &[&str]) -> Result<(), Failure> {
        match self.take(key) {
            Some(value) if !values.contains(&value.as_str()) => {
                Err(self.wrong(&format!("`{key}={value}` is not supported yet")))
            }
            _ => Ok(()),
        }
    }

    /// Takes how layers are compressed.
    fn compression(&mut self) -> Result<Compression, Failure> {
        let (kind, level) = (self.take("compression"), self.take("compression-level"));
        let level: Option<u8> = match level.as_deref().map(str::parse) {
            None => None,
            Some(Ok(level)) => Some(level),
            Some(Err(_)) => return Err(self.wrong("`compression-level` is no level")),
        };
        match (kind.as_deref(), level) {
            (None | Some("gzip"), None) => Ok(Compression::default()),
            (None | Some("gzip"), Some(level @ 0..=9)) => Ok(Compression::Gzip(level.into())),
            (Some("zstd"), level @ (None | Some(0..=22))) => {
                Ok(Compression::Zstd(level.unwrap_or_default().into()))
            }
            (Some("uncompressed"), _) => Ok(Compression::None),
            (None | Some("gzip" | "zstd"), Some(level)) => {
                Err(self.wrong(&format!("there is no level {level}")))
            }
            (Some(kind), _) => Err(self.wrong(&format!("`compression={kind}` is not supported"))),
        }
    }

    /// Takes the ids of cache mounts, apart by semicolons or in several fields.
    fn mounts(&mut self) -> CacheMounts {
        let mut ids: Vec<String> = Vec::new();
        for (_, value) in self.fields.extract_if(.., |(name, _)| name == "mounts") {
            ids.extend(value.split(';').filter(|id| !id.is_empty()).map(str::to_owned));
        }
        match () {
            () if ids.is_empty() => CacheMounts::None,
            () if ids.iter().any(|id| id == "all") => CacheMounts::All,
            () => CacheMounts::Only(ids),
        }
    }

    /// Takes what describes a cache in a bucket; the keys of the user may be in the environment.
    fn bucket(&mut self) -> Result<S3Cache, Failure> {
        let region = self.take("region").or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        let access = match (self.take("access_key_id"), self.take("secret_access_key")) {
            (Some(id), Some(secret)) => {
                Some(Access { id, secret, session: self.take("session_token") })
            }
            (None, None) => config::bucket_access(),
            _ => return Err(self.wrong("a key has an id and a secret")),
        };
        let name = self.take("bucket").or_else(|| first(&["AWS_BUCKET"]));
        let name = name.ok_or_else(|| self.wrong("`bucket` is missing"))?;
        let region = region.ok_or_else(|| self.wrong("`region` is missing"))?;
        let (endpoint, in_path) = (self.take("endpoint_url"), self.truth("use_path_style", false)?);
        let bucket = Bucket::new(&name, &region, endpoint.as_deref(), in_path);
        let bucket = Bucket { access, ..bucket };
        // How hard a client works changes no cache.
        for key in ["upload_parallelism", "touch_refresh", "retry_mode", "retry_max_attempts"] {
            self.take(key);
        }
        let names = self.take("name").unwrap_or("rbuild".to_owned());
        Ok(S3Cache {
            bucket,
            prefix: self.take("prefix").unwrap_or_default(),
            blobs_prefix: self.take("blobs_prefix").unwrap_or("blobs/".to_owned()),
            manifests_prefix: self.take("manifests_prefix").unwrap_or("manifests/".to_owned()),
            names: names.split(';').map(str::to_owned).collect(),
        })
    }

    /// Takes what describes a cache in the cache service of GitHub Actions; address and token may
    /// be in the environment.
    fn actions(&mut self) -> Result<ActionsCache, Failure> {
        if let Some(version) = self.take("version").filter(|version| version != "2") {
            return Err(self.wrong(&format!(
                "`version={version}` of the service is not spoken, only `version=2`"
            )));
        }
        let (old, new) = (self.take("url"), self.take("url_v2"));
        let url = new.or_else(|| config::variable("ACTIONS_RESULTS_URL")).ok_or_else(|| {
            self.wrong(match old {
                Some(_) => "`url` is for version 1 of the service, which is not spoken: `url_v2`, or the variable ACTIONS_RESULTS_URL, is missing",
                None => "`url_v2`, or the variable ACTIONS_RESULTS_URL, is missing",
            })
        })?;
        let token = self.take("token").or_else(|| config::variable("ACTIONS_RUNTIME_TOKEN"));
        let token = token.ok_or_else(|| {
            self.wrong(
                "`token`, or the variable ACTIONS_RUNTIME_TOKEN, is missing: a workflow must hand \
                 it on to its commands",
            )
        })?;
        let timeout = match self.take("timeout") {
            None => ActionsCache::TIMEOUT,
            Some(text) => value::duration(&text)
                .map_err(|_| self.wrong(&format!("`timeout={text}` is no duration")))?,
        };
        // By these BuildKit finds out faster what is there; they change no cache.
        for key in ["repository", "ghtoken"] {
            self.take(key);
        }
        let scope = self.take("scope").unwrap_or("rbuild".to_owned());
        Ok(ActionsCache { service: Actions { url, token }, scope, timeout })
    }

    fn kind(&mut self) -> Result<String, Failure> {
        self.need("type")
    }

    fn end(self) -> Result<(), Failure> {
        match self.fields.first() {
            None => Ok(()),
            Some((key, _)) => Err(self.wrong(&format!("`{key}` is not supported yet"))),
        }
    }
}

/// The first of these variables that is set.
fn first(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| config::variable(name)).filter(|value| !value.is_empty())
}

fn from(text: &str) -> Result<CacheFrom, Failure> {
    let mut fields = Asked::parse("cache-from", text)?;
    let cache = match fields.kind()?.as_str() {
        "registry" => CacheFrom::Registry(fields.need("ref")?),
        "local" => {
            let digest = fields.take("digest").map(|digest| digest.parse());
            let digest = digest.transpose().map_err(|error| {
                let reason: &dyn std::error::Error = &error;
                fields.wrong(&reason.to_string())
            })?;
            let folder = PathBuf::from(fields.need("src")?);
            CacheFrom::Local { folder, tag: fields.take("tag"), digest }
        }
        "s3" => CacheFrom::S3(Box::new(fields.bucket()?)),
        "gha" => CacheFrom::Actions(Box::new(fields.actions()?)),
        other => return Err(fields.wrong(&format!("there is no type `{other}`"))),
    };
    fields.end()?;
    Ok(cache)
}

fn to(text: &str) -> Result<CacheTo, Failure> {
    let mut fields = Asked::parse("cache-to", text)?;
    let kind = fields.kind()?;
    let mode = match fields.take("mode").as_deref() {
        None | Some("min") => CacheMode::Min,
        Some("max") if kind == "inline" => {
            return Err(fields.wrong("an image has only the layers of its own steps: `mode=min`"));
        }
        Some("max") => CacheMode::Max,
        Some(other) => return Err(fields.wrong(&format!("there is no mode `{other}`"))),
    };
    let mounts = fields.mounts();
    if kind == "inline" && mounts != CacheMounts::None {
        return Err(fields.wrong("an image carries no cache mounts"));
    }
    let ignore_error = fields.truth("ignore-error", false)?;
    let place = match kind.as_str() {
        "inline" => CachePlace::Inline,
        "registry" => CachePlace::Registry(fields.need("ref")?),
        "local" => {
            let folder = PathBuf::from(fields.need("dest")?);
            let tag = fields.take("tag").unwrap_or("latest".to_owned());
            CachePlace::Local { folder, tag, reset: fields.truth("reset", false)? }
        }
        "s3" => CachePlace::S3(Box::new(fields.bucket()?)),
        "gha" => CachePlace::Actions(Box::new(fields.actions()?)),
        other => return Err(fields.wrong(&format!("there is no type `{other}`"))),
    };
    // It is always an image manifest with OCI's media types.
    fields.only("image-manifest", &["true", "1"])?;
    fields.only("oci-mediatypes", &["true", "1"])?;
    let compression = fields.compression()?;
    let force_compression = fields.truth("force-compression", false)?;
    fields.end()?;
    Ok(CacheTo {
        mode,
        mounts,
        compression,
        force_compression,
        ignore_error,
        ..CacheTo::new(place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(name: &str) -> CachePlace {
        CachePlace::Registry(name.to_owned())
    }

    fn local(folder: &str, tag: &str) -> CachePlace {
        CachePlace::Local { folder: folder.into(), tag: tag.to_owned(), reset: false }
    }

    #[test]
    fn caches_to_write_are_read_as_buildx_reads_them() {
        use CacheMode::{Max, Min};
        let table = [
            ("host/app:cache", registry("host/app:cache"), Min, false),
            ("type=registry,ref=a/b", registry("a/b"), Min, false),
            ("type=registry,ref=a,mode=max,ignore-error=true", registry("a"), Max, true),
            (
                "type=registry,ref=a,image-manifest=true,oci-mediatypes=true,compression=gzip",
                registry("a"),
                Min,
                false,
            ),
            ("type=local,dest=out", local("out", "latest"), Min, false),
            ("type=local,dest=out,tag=x,mode=max", local("out", "x"), Max, false),
            ("\"type=local\",\"dest=a,b\"", local("a,b", "latest"), Min, false),
            ("type=inline", CachePlace::Inline, Min, false),
            ("type=inline,mode=min", CachePlace::Inline, Min, false),
        ];
        for (text, place, mode, ignore_error) in table {
            let expected = CacheTo { mode, ignore_error, ..CacheTo::new(place) };
            assert_eq!(to(text).ok(), Some(expected), "{text}");
        }
        let reset = to("type=local,dest=out,reset=true").ok().unwrap().place;
        assert!(matches!(reset, CachePlace::Local { reset: true, .. }));
        let mounts = |text: &str| to(&format!("type=local,dest=x,{text}")).ok().unwrap().mounts;
        let how = |text: &str| to(&format!("type=local,dest=x,{text}")).ok().unwrap().compression;
        assert_eq!(how("compression=gzip,compression-level=9"), Compression::Gzip(9));
        assert_eq!(how("compression=zstd"), Compression::Zstd(0));
        assert_eq!(how("compression=zstd,compression-level=19"), Compression::Zstd(19));
        assert_eq!(how("compression=uncompressed,force-compression=true"), Compression::None);
        let only = |ids: [&str; 2]| CacheMounts::Only(ids.map(str::to_owned).into());
        assert_eq!(mounts("mounts=all"), CacheMounts::All);
        assert_eq!(mounts("mounts=/a;b"), only(["/a", "b"]));
        assert_eq!(mounts("mounts=/a,mounts=b"), only(["/a", "b"]));
        let wrong = [
            "type=registry",
            "type=local",
            "type=local,src=a",
            "type=azblob,name=a",
            "type=inline,mode=max",
            "type=inline,mounts=all",
            "mode=max",
            "type=registry,ref=a,mode=all",
            "type=registry,ref=a,image-manifest=false",
            "type=registry,ref=a,compression=estargz",
            "type=registry,ref=a,compression-level=10",
            "type=registry,ref=a,compression=zstd,compression-level=23",
            "type=registry,ref=a,ignore-error=maybe",
            "type=registry,ref=a,x=y",
            "type=registry,ref",
        ];
        for text in wrong {
            assert!(to(text).is_err(), "{text}");
        }
    }

    #[test]
    fn caches_in_buckets_are_read_as_buildx_reads_them() {
        let text = "type=s3,bucket=b,region=r,name=one;two,prefix=p/,endpoint_url=http://h:9,\
                    use_path_style=true,access_key_id=me,secret_access_key=hush,touch_refresh=1h";
        let Ok(CacheFrom::S3(cache)) = from(text) else { panic!("{text}") };
        let access = Access { id: "me".into(), secret: "hush".into(), session: None };
        let address = "http://h:9/b/".to_owned();
        let bucket = Bucket { address, region: "r".into(), access: Some(access) };
        assert_eq!((cache.bucket, cache.names), (bucket, vec!["one".into(), "two".into()]));
        assert_eq!((&*cache.prefix, &*cache.blobs_prefix), ("p/", "blobs/"));
        let with = "type=s3,bucket=b,region=r,access_key_id=a,secret_access_key=b";
        assert!(matches!(to(with).ok().unwrap().place, CachePlace::S3(_)));
        assert!(to("type=s3,bucket=b,region=r,access_key_id=a").is_err());
        assert!(to(&format!("{with},what=x")).is_err());
    }

    #[test]
    fn caches_of_github_actions_are_read_as_buildx_reads_them() {
        let with = "type=gha,url_v2=http://h:9/,token=hush";
        let cache = |text: &str| match from(&format!("{with}{text}")) {
            Ok(CacheFrom::Actions(cache)) => *cache,
            other => panic!("{text}: {:?}", other.ok()),
        };
        let service = Actions { url: "http://h:9/".to_owned(), token: "hush".to_owned() };
        let timeout = ActionsCache::TIMEOUT;
        let usual = ActionsCache { service, scope: "rbuild".to_owned(), timeout };
        assert_eq!(cache(""), usual);
        let other = ActionsCache {
            scope: "main".to_owned(),
            timeout: std::time::Duration::from_secs(90),
            ..usual
        };
        let text = ",scope=main,timeout=1m30s,version=2,url=http://old,repository=a/b,ghtoken=x";
        assert_eq!(cache(text), other);
        let both = format!("{with},mode=max,ignore-error=true");
        assert!(matches!(to(&both).ok().unwrap().place, CachePlace::Actions(_)));
        for wrong in [",version=1", ",timeout=soon", ",what=x"] {
            let Err(error) = from(&format!("{with}{wrong}")) else { panic!("{wrong}") };
            let told = format!("{error:?}");
            assert!(!told.contains("hush"), "{told}");
            assert!(told.contains("token=xxxxx"), "{told}");
        }
    }

    #[test]
    fn caches_to_read_are_read_as_buildx_reads_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let local = |tag: Option<&str>, digest: Option<&str>| CacheFrom::Local {
            folder: "in".into(),
            tag: tag.map(str::to_owned),
            digest: digest.map(|digest| digest.parse().unwrap()),
        };
        let by_digest = format!("type=local,src=in,digest={digest}");
        let table = [
            ("app", CacheFrom::Registry("app".to_owned())),
            (
                "type=registry,ref=host:5000/app:x",
                CacheFrom::Registry("host:5000/app:x".to_owned()),
            ),
            ("type=local,src=in", local(None, None)),
            ("type=local,src=in,tag=x", local(Some("x"), None)),
            (&by_digest, local(None, Some(&digest))),
        ];
        for (text, expected) in table {
            assert_eq!(from(text).ok(), Some(expected), "{text}");
        }
        for text in [
            "type=local",
            "type=inline",
            "type=local,src=in,digest=x",
            "type=registry,ref=a,mode=max",
        ] {
            assert!(from(text).is_err(), "{text}");
        }
    }
}
