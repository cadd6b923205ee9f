//! What of the driver a container gets: `NVIDIA_DRIVER_CAPABILITIES`.

/// The variable.
const VARIABLE: &str = "NVIDIA_DRIVER_CAPABILITIES";
/// What is meant where it says nothing.
const USUAL: &str = "utility,compute";
/// All of them, by which a word is known.
const NAMES: [&str; 7] = ["compute", "compat32", "graphics", "utility", "video", "display", "ngx"];

/// Libraries by the beginnings of their names, and programs, with what they are for. What is not
/// here is for all.
const FILES: [(&str, &[&str]); 5] = [
    (
        "utility",
        &[
            "libnvidia-ml.",
            "libnvidia-cfg.",
            "nvidia-smi",
            "nvidia-debugdump",
            "nvidia-persistenced",
        ],
    ),
    (
        "compute",
        &[
            "libcuda.",
            "libcudadebugger.",
            "libnvidia-opencl.",
            "libnvidia-ptxjitcompiler.",
            "libnvidia-fatbinaryloader.",
            "libnvidia-compiler.",
            "libnvidia-nvvm",
            "nvidia-cuda-mps-",
        ],
    ),
    ("video", &["libnvcuvid.", "libnvidia-encode.", "libnvidia-opticalflow.", "libvdpau_nvidia."]),
    (
        "graphics",
        &[
            "libEGL_nvidia.",
            "libGLESv1_CM_nvidia.",
            "libGLESv2_nvidia.",
            "libGLX_nvidia.",
            "libnvidia-eglcore.",
            "libnvidia-glcore.",
            "libnvidia-glsi.",
            "libnvidia-glvkspirv.",
            "libnvidia-rtcore.",
            "libnvidia-tls.",
            "libnvidia-fbc.",
            "libnvoptix.",
        ],
    ),
    ("ngx", &["libnvidia-ngx."]),
];

/// What a container uses the driver for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uses(Vec<&'static str>);

impl Uses {
    /// Everything.
    #[cfg(test)]
    pub(super) fn all() -> Self {
        Self(NAMES.to_vec())
    }

    /// What the variables of a container say.
    pub(super) fn of(env: &[String]) -> Self {
        let line = env.iter().rev().find_map(|line| line.strip_prefix(VARIABLE)?.strip_prefix('='));
        let text = line.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(USUAL);
        let mut uses = Vec::new();
        for word in text.split(',').map(str::trim) {
            match NAMES.iter().find(|name| **name == word) {
                Some(name) => uses.push(*name),
                None if word == "all" => uses = NAMES.to_vec(),
                None => tracing::warn!(word, "a capability of NVIDIA's driver is not known"),
            }
        }
        Self(uses)
    }

    /// Whether a library or program of the driver is for any of them.
    pub(super) fn take(&self, file: &str) -> bool {
        let begins = |names: &[&str]| names.iter().any(|name| file.starts_with(name));
        let mut known = FILES.iter().filter(|(_, names)| begins(names)).peekable();
        known.peek().is_none() || known.any(|(what, _)| self.0.contains(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(value: &str) -> Uses {
        Uses::of(&[format!("{VARIABLE}={value}")])
    }

    #[test]
    fn a_library_is_for_what_it_is_known_for() {
        let [smi, cuda, video, ngx, new] =
            ["nvidia-smi", "libcuda.so.1", "libnvcuvid.so.1", "libnvidia-ngx.so.1", "libnew.so.1"];
        let taken = |uses: &Uses| [smi, cuda, video, ngx, new].map(|file| uses.take(file));
        assert_eq!(taken(&Uses::of(&[])), [true, true, false, false, true]);
        assert_eq!(taken(&uses("")), taken(&Uses::of(&[])));
        assert_eq!(taken(&uses("video,what")), [false, false, true, false, true]);
        assert_eq!(taken(&uses("all")), [true; 5]);
        assert_eq!(taken(&uses(" utility , ngx ")), [true, false, false, true, true]);
    }
}
