//! One interpreter as the kernel shows it: a file of `binfmt_misc` (see the kernel's
//! `Documentation/admin-guide/binfmt-misc.rst`).

use super::Header;

/// One interpreter that the kernel was told of, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handler {
    /// The name under which it was registered: `qemu-aarch64`.
    pub(super) name: String,
    /// Whether it is switched on.
    pub(super) enabled: bool,
    /// The absolute path of its program.
    pub(super) interpreter: String,
    /// Whether the kernel holds its program open (flag `F`), so that it need not be where the
    /// programs are that it runs.
    pub(super) fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Handler {
    /// Reads the file of one interpreter. One that goes by the ends of file names, and what is not
    /// such a file, is none.
    pub(super) fn parse(name: &str, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let enabled = match lines.next()? {
            "enabled" => true,
            "disabled" => false,
            _ => return None,
        };
        let value = |key: &str| {
            let mut rests = text.lines().filter_map(|line| line.strip_prefix(key));
            rests.find_map(|rest| rest.strip_prefix([' ', ':'])).map(str::trim)
        };
        let magic = bytes(value("magic")?)?;
        let mask = value("mask").map_or_else(|| Some(vec![0xff; magic.len()]), bytes)?;
        Some(Self {
            name: name.to_owned(),
            enabled,
            interpreter: value("interpreter")?.to_owned(),
            fixed: value("flags").is_some_and(|flags| flags.contains('F')),
            offset: value("offset").map_or(Some(0), |offset| offset.parse().ok())?,
            magic,
            mask,
        })
    }

    /// Whether it takes programs that begin so.
    pub(super) fn takes(&self, header: Header) -> bool {
        header.beginnings().iter().any(|beginning| {
            let end = self.offset.saturating_add(self.magic.len());
            let Some(there) = beginning.get(self.offset..end) else {
                return false;
            };
            let mut all = there.iter().zip(&self.magic).zip(&self.mask);
            self.mask.len() == self.magic.len()
                && all.all(|((byte, magic), mask)| (byte ^ magic) & mask == 0)
        })
    }
}

/// Bytes from their hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_kernel_is_read() {
        let text =
            "disabled\ninterpreter /usr/bin/q x\nflags: OCF\noffset 4\nmagic 0201\nmask ffff\n";
        let handler = Handler::parse("q", text).unwrap();
        assert!(!handler.enabled && handler.fixed);
        assert_eq!(handler.interpreter, "/usr/bin/q x");
        let takes =
            |text: &str| Handler::parse("q", text).unwrap().takes(Header::of("arm64").unwrap());
        assert!(takes(text), "the class and the order of bytes of every such program");
        assert!(!takes(&text.replace("magic 0201", "magic 0101")));
        assert!(takes(&text.replace("mask ffff\n", "")), "without a mask all bits count");
        assert!(!takes(&text.replace("offset 4", "offset 99999999")));
    }

    #[test]
    fn what_is_no_such_file_is_no_interpreter() {
        for text in [
            "",
            "enabled\n",
            "enabled\ninterpreter /x\nflags: \nextension .exe\n",
            "enabled\ninterpreter /x\nflags: \noffset 0\nmagic 7f4\n",
            "enabled\ninterpreter /x\nflags: \noffset 0\nmagic zz\n",
            "enabled\nflags: \noffset 0\nmagic 7f\n",
            "on\ninterpreter /x\nflags: \noffset 0\nmagic 7f\n",
        ] {
            assert_eq!(Handler::parse("x", text), None, "{text}");
        }
        let short = Handler::parse("x", "enabled\ninterpreter /x\nmagic 7f45\nmask ff\n").unwrap();
        assert!(!short.takes(Header::of("arm64").unwrap()));
    }
}
