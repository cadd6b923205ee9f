//! Which licences are written as SPDX has them.

/// Licences that packages commonly have. What is not among them is passed on as a comment.
const KNOWN: &[&str] = &[
    "0BSD",
    "AFL-2.1",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-1.0",
    "Artistic-1.0-Perl",
    "Artistic-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-2-Clause-Patent",
    "BSD-2-Clause-Views",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSD-4-Clause-UC",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "CPL-1.0",
    "EPL-1.0",
    "EPL-2.0",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "FTL",
    "GFDL-1.1-or-later",
    "GFDL-1.2-or-later",
    "GFDL-1.3-only",
    "GFDL-1.3-or-later",
    "GPL-1.0-only",
    "GPL-1.0-or-later",
    "GPL-2.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ICU",
    "IJG",
    "ISC",
    "JSON",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-1.1",
    "MPL-2.0",
    "NCSA",
    "OFL-1.1",
    "OLDAP-2.8",
    "OpenSSL",
    "PHP-3.01",
    "PSF-2.0",
    "PostgreSQL",
    "Python-2.0",
    "Python-2.0.1",
    "Ruby",
    "SSH-OpenSSH",
    "Sleepycat",
    "TCL",
    "TCP-wrappers",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "UPL-1.0",
    "Vim",
    "W3C",
    "WTFPL",
    "X11",
    "X11-distribute-modifications-variant",
    "ZPL-2.1",
    "Zlib",
    "blessing",
    "bzip2-1.0.6",
    "curl",
    "libpng-2.0",
    "zlib-acknowledgement",
];

/// Exceptions that stand behind `WITH`.
const EXCEPTIONS: &[&str] = &[
    "Autoconf-exception-2.0",
    "Autoconf-exception-3.0",
    "Bison-exception-2.2",
    "Classpath-exception-2.0",
    "GCC-exception-2.0",
    "GCC-exception-3.1",
    "LLVM-exception",
    "Linux-syscall-note",
    "OpenSSL-exception",
    "openvpn-openssl-exception",
];

/// Whether a text is an expression of SPDX: licences, `AND`, `OR`, `WITH` and parentheses.
pub(super) fn is_expression(text: &str) -> bool {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let (mut depth, mut wants_license, mut wants_exception) = (0_u32, true, false);
    for word in spaced.split_whitespace() {
        let is_fine = match word {
            "(" if wants_license && !wants_exception => {
                depth += 1;
                true
            }
            ")" if !wants_license && depth > 0 => {
                depth -= 1;
                true
            }
            "AND" | "OR" if !wants_license => {
                wants_license = true;
                true
            }
            "WITH" if !wants_license => {
                (wants_license, wants_exception) = (true, true);
                true
            }
            word if wants_license => {
                let known = if wants_exception { EXCEPTIONS } else { KNOWN };
                (wants_license, wants_exception) = (false, false);
                known.contains(&word.strip_suffix('+').unwrap_or(word))
            }
            _ => false,
        };
        if !is_fine {
            return false;
        }
    }
    depth == 0 && !wants_license
}

#[cfg(test)]
mod tests {
    use super::is_expression;

    #[test]
    fn expressions_are_told_from_other_texts() {
        for text in [
            "MIT",
            "MIT AND (BSD-3-Clause OR GPL-2.0-or-later WITH GCC-exception-3.1)",
            "LGPL-2.1+",
            "((MIT))",
        ] {
            assert!(is_expression(text), "{text}");
        }
        for text in [
            "",
            "BSD",
            "MIT BSD-3-Clause",
            "MIT AND",
            "(MIT",
            "MIT)",
            "MIT WITH MIT",
            "AND MIT",
            "()",
        ] {
            assert!(!is_expression(text), "{text}");
        }
    }
}
