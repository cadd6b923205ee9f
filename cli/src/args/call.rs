//! `--call` and `--check`: what is asked in place of a build.

use std::str::FromStr;

use super::csv;

/// What is asked, and how the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) format: Format,
    /// Whether what was found leaves the exit code alone.
    pub(crate) ignore_status: bool,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Build,
    Check,
    Outline,
    Targets,
    Describe,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
    Sarif,
}

impl Call {
    /// The check that `--check` asks for.
    pub(crate) const CHECK: Self =
        Self { method: Method::Check, format: Format::Text, ignore_status: false };
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut method = None;
        let (mut format, mut ignore_status) = (Format::default(), false);
        for (key, value) in csv(text).map_err(|error| error.to_string())? {
            match (key.as_str(), value.as_deref()) {
                ("format", Some(name)) => format = format_of(name)?,
                ("ignorestatus", Some(value)) => ignore_status = truth(value)?,
                (name, None) if method.is_none() => method = Some(method_of(name)?),
                (name, None) => return Err(format!("`{name}` is a second method")),
                (key, Some(_)) => return Err(format!("unknown option `{key}`")),
            }
        }
        let method = method.ok_or("a method is missing, such as `check`")?;
        if format == Format::Sarif && method != Method::Check {
            return Err("only a check is written as SARIF".to_owned());
        }
        Ok(Self { method, format, ignore_status })
    }
}

fn method_of(name: &str) -> Result<Method, String> {
    Ok(match name.strip_prefix("frontend.").unwrap_or(name) {
        "build" => Method::Build,
        "check" | "lint" => Method::Check,
        "outline" => Method::Outline,
        "targets" => Method::Targets,
        "subrequests.describe" => Method::Describe,
        _ => {
            let known = "build, check, outline, targets, subrequests.describe";
            return Err(format!("unknown method `{name}`, expected one of {known}"));
        }
    })
}

fn format_of(name: &str) -> Result<Format, String> {
    Ok(match name {
        "" | "text" => Format::Text,
        "json" => Format::Json,
        "sarif" => Format::Sarif,
        _ => return Err(format!("unknown format `{name}`, expected one of text, json, sarif")),
    })
}

fn truth(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(format!("`{value}` is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_a_method_and_options() {
        let call = |text: &str| text.parse::<Call>();
        assert_eq!(call("check"), Ok(Call::CHECK));
        assert_eq!(call("frontend.lint"), Ok(Call::CHECK));
        let all = Call { method: Method::Check, format: Format::Sarif, ignore_status: true };
        assert_eq!(call("check,format=sarif,ignorestatus=true"), Ok(all));
        assert_eq!(call("format=json,targets").map(|call| call.format), Ok(Format::Json));
        for wrong in [
            "",
            "format=json",
            "frobnicate",
            "check,outline",
            "check,a=b",
            "outline,format=sarif",
            "check,format=xml",
            "check,ignorestatus=perhaps",
        ] {
            assert!(call(wrong).is_err(), "{wrong}");
        }
    }
}
