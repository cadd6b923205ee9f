//! Platforms as users write them: `linux/arm64`, `arm64`, `local`.

pub use rbuild_registry::Platform;

/// The platform of this machine.
pub fn host() -> Platform {
    Platform::new(std::env::consts::OS, std::env::consts::ARCH, None)
}

/// The place of the platform that counts where nobody names one: this machine's, else the first.
pub(crate) fn main_of<'a>(platforms: impl IntoIterator<Item = &'a Platform>) -> usize {
    let here = host();
    platforms.into_iter().position(|platform| *platform == here).unwrap_or(0)
}

/// Reads a platform; what is left out is this machine's.
///
/// # Errors
/// A text that names no platform.
pub fn parse(text: &str) -> Result<Platform, rbuild_registry::Error> {
    let here = host();
    match text {
        "local" => Ok(here),
        "linux" | "windows" | "darwin" | "freebsd" => {
            Ok(Platform::new(text, here.architecture(), here.variant()))
        }
        _ if text.contains('/') => text.parse(),
        _ => format!("{}/{text}", here.os()).parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_of_this_machine_counts() {
        let other = Platform::new("plan9", "mips", None);
        assert_eq!(main_of([&other, &host(), &host()]), 1);
        assert_eq!(main_of([&other, &other]), 0);
    }

    #[test]
    fn what_is_left_out_is_this_machine_s() {
        assert_eq!(parse("local").unwrap(), host());
        assert_eq!(parse("linux").unwrap().to_string(), host().to_string());
        assert_eq!(parse("arm64").unwrap().to_string(), "linux/arm64");
        assert_eq!(parse("linux/aarch64").unwrap().to_string(), "linux/arm64");
        assert!(parse("").is_err());
        assert!(parse("a b").is_err());
    }
}
