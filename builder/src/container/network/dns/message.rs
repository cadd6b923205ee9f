//! Messages of DNS, as far as a server needs them that knows addresses and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::forward::Way;

const HEADER: usize = 12;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 255;
/// Seconds for which an answer may be believed; containers come and go.
const LIFE: u32 = 60;
/// Where the question's name is, as a pointer.
const NAME_OF_QUESTION: u16 = 0xc00c;

const INTERNET: u16 = 1;
const ADDRESS: u16 = 1;
const POINTER: u16 = 12;
const LONG_ADDRESS: u16 = 28;
/// What tells how long an answer may be.
const OPTIONS: u16 = 41;

/// The longest answer in one packet, unless the question says otherwise; and then.
const USUAL_PACKET: u16 = 512;
const LONGEST_PACKET: u16 = 4096;
/// The bit which says that an answer is not whole, and to ask again over TCP.
const CUT_SHORT: u8 = 2;

/// What is asked about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its IPv4 addresses.
    Address,
    /// Its IPv6 addresses.
    LongAddress,
    /// The name that it points at, as one made of an address does.
    Pointer,
    /// Something else.
    Other,
    /// Something that is not of the internet.
    Elsewhere,
}

/// A question, within the message that it came in.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    message: &'a [u8],
    /// Where the question ends in the message.
    end: usize,
    /// The longest answer, in bytes.
    longest: usize,
}

impl<'a> Question<'a> {
    /// Reads a query of one question; none when it is anything else.
    pub(crate) fn read(message: &'a [u8], way: Way) -> Option<Self> {
        let header = message.first_chunk::<HEADER>()?;
        let is_query = header[2] & 0xf8 == 0;
        if !is_query || header[4..6] != [0, 1] {
            return None;
        }
        let mut labels = Vec::new();
        let (mut place, mut length) = (HEADER, 0);
        loop {
            let size = usize::from(*message.get(place)?);
            // A pointer, which no question needs, has its upper bits set.
            if size > 63 {
                return None;
            }
            place += 1;
            if size == 0 {
                break;
            }
            // What is no text is nobody's name here; others may know it.
            labels.push(String::from_utf8_lossy(message.get(place..place + size)?));
            (place, length) = (place + size, length + size + 1);
            if length > LONGEST_NAME {
                return None;
            }
        }
        let number = |place: usize| Some(u16::from_be_bytes(*message.get(place..)?.first_chunk()?));
        let (kind, class) = (number(place)?, number(place + 2)?);
        let kind = match (class, kind) {
            (INTERNET, ADDRESS) => Kind::Address,
            (INTERNET, LONG_ADDRESS) => Kind::LongAddress,
            (INTERNET, POINTER) => Kind::Pointer,
            (INTERNET, _) => Kind::Other,
            _ => Kind::Elsewhere,
        };
        let end = place + 4;
        let longest = match way {
            Way::Tcp => u16::MAX,
            Way::Udp => longest_packet(message, end).unwrap_or(USUAL_PACKET),
        };
        Some(Self { name: labels.join("."), kind, message, end, longest: longest.into() })
    }

    /// The number that the client has given it.
    pub(crate) fn id(&self) -> u16 {
        u16::from_be_bytes([self.message[0], self.message[1]])
    }

    /// The address that a pointer's name is made of: `2.0.17.172.in-addr.arpa`, or 32 digits
    /// before `ip6.arpa`.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let name = self.name.to_ascii_lowercase();
        if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
            let mut parts = digits.split('.').rev().map(str::parse);
            let mut next = || parts.next()?.ok();
            let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
            return parts.next().is_none().then_some(address.into());
        }
        let mut bits = 0;
        let mut count = 0;
        for digit in name.strip_suffix(".ip6.arpa")?.split('.').rev() {
            let value = u128::from_str_radix(digit, 16).ok().filter(|_| digit.len() == 1)?;
            (bits, count) = (bits << 4 | value, count + 1);
        }
        (count == 32).then(|| Ipv6Addr::from_bits(bits).into())
    }

    /// An answer with the addresses of the kind that was asked for; none is also an answer.
    pub(crate) fn addresses(&self, addresses: impl Iterator<Item = IpAddr>) -> Vec<u8> {
        let records = addresses.filter_map(|address| match (self.kind, address) {
            (Kind::Address, IpAddr::V4(address)) => Some(address.octets().to_vec()),
            (Kind::LongAddress, IpAddr::V6(address)) => Some(address.octets().to_vec()),
            _ => None,
        });
        let kind = if self.kind == Kind::LongAddress { LONG_ADDRESS } else { ADDRESS };
        self.answer(0, &records.collect::<Vec<_>>(), kind)
    }

    /// An answer with the name that is pointed at.
    pub(crate) fn pointer(&self, name: &str) -> Vec<u8> {
        let mut record = Vec::new();
        for label in name.split('.').filter(|label| !label.is_empty()) {
            let label = &label.as_bytes()[..label.len().min(63)];
            record.push(u8::try_from(label.len()).expect("labels are short"));
            record.extend_from_slice(label);
        }
        record.push(0);
        self.answer(0, &[record], POINTER)
    }

    /// The answer that there is no such name.
    pub(crate) fn no_such_name(&self) -> Vec<u8> {
        self.answer(3, &[], ADDRESS)
    }

    /// The answer that there is none at the moment.
    pub(crate) fn failure(&self) -> Vec<u8> {
        self.answer(2, &[], ADDRESS)
    }

    /// The answer that such questions are not understood.
    pub(crate) fn not_understood(&self) -> Vec<u8> {
        self.answer(4, &[], ADDRESS)
    }

    fn answer(&self, code: u8, records: &[Vec<u8>], kind: u16) -> Vec<u8> {
        let mut answer = self.message[..self.end].to_vec();
        // An answer, as recursive as was asked for, of a server that recurses.
        answer[2] = 0x80 | (self.message[2] & 1);
        answer[3] = 0x80 | code;
        answer[6..HEADER].fill(0);
        for (count, record) in (1_u16..).zip(records) {
            let length = u16::try_from(record.len()).expect("records are short");
            let mut bytes = Vec::new();
            for number in [NAME_OF_QUESTION, kind, INTERNET] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            bytes.extend_from_slice(&LIFE.to_be_bytes());
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(record);
            if answer.len() + bytes.len() > self.longest {
                answer[2] |= CUT_SHORT;
                break;
            }
            answer.extend(bytes);
            answer[6..8].copy_from_slice(&count.to_be_bytes());
        }
        answer
    }
}

/// How long an answer may be by the options after a question, if it has any.
fn longest_packet(message: &[u8], end: usize) -> Option<u16> {
    let alone = message.get(6..10)? == [0; 4];
    let options: &[u8; 5] = message.get(end..)?.first_chunk()?;
    let number = |place: usize| u16::from_be_bytes([options[place], options[place + 1]]);
    let is_there = alone && message.get(10..12)? != [0; 2] && options[0] == 0;
    (is_there && number(1) == OPTIONS).then(|| number(3).clamp(USUAL_PACKET, LONGEST_PACKET))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query as a resolver sends it.
    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message
    }

    fn addresses<const N: usize>(texts: [&str; N]) -> [IpAddr; N] {
        texts.map(|text| text.parse().unwrap())
    }

    #[test]
    fn an_answer_repeats_the_question() {
        let message = [query("db.app", 1), vec![0; 11]].concat();
        let question = Question::read(&message, Way::Udp).unwrap();
        assert_eq!((question.name.as_str(), question.kind), ("db.app", Kind::Address));
        let answer = question.addresses(addresses(["10.0.0.2", "fd00::2", "10.0.0.3"]).into_iter());
        assert_eq!(answer[..4], [0xab, 0xcd, 0x81, 0x80]);
        assert_eq!(answer[4..12], [0, 1, 0, 2, 0, 0, 0, 0]);
        assert_eq!(answer[12..24], query("db.app", 1)[12..24]);
        assert_eq!(answer[24..40], [0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 2]);
        assert_eq!(answer.len(), 56);
        assert_eq!(question.no_such_name()[3], 0x83);
        assert_eq!(question.failure()[3], 0x82);
    }

    #[test]
    fn a_pointer_has_an_address_and_gets_a_name() {
        let message = query("2.0.17.172.in-addr.arpa", 12);
        let question = Question::read(&message, Way::Udp).unwrap();
        assert_eq!(question.kind, Kind::Pointer);
        assert_eq!(question.address(), Some([172, 17, 0, 2].into()));
        assert!(question.pointer("web.app").ends_with(b"\x03web\x03app\0"));
        for name in ["1.2.3.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "x.2.3.4.in-addr.arpa", "a"] {
            let message = query(name, 12);
            assert_eq!(Question::read(&message, Way::Udp).unwrap().address(), None, "{name}");
        }
    }

    #[test]
    fn a_pointer_can_have_a_long_address() {
        let digits = "2.".to_owned() + &"0.".repeat(27) + "0.0.D.f.ip6.ARPA";
        let message = query(&digits, 12);
        let address = Question::read(&message, Way::Udp).unwrap().address();
        assert_eq!(address, Some(addresses(["fd00::2"])[0]));
        for name in [digits.replacen("2.", "22.", 1), digits[2..].to_owned(), format!("0.{digits}")]
        {
            let message = query(&name, 12);
            assert_eq!(Question::read(&message, Way::Udp).unwrap().address(), None, "{name}");
        }
    }

    #[test]
    fn long_addresses_are_for_whoever_asks_for_them() {
        let message = query("db", 28);
        let question = Question::read(&message, Way::Udp).unwrap();
        let answer = question.addresses(addresses(["10.0.0.2", "fd00::2"]).into_iter());
        assert_eq!(answer[6..8], [0, 1]);
        assert!(answer.ends_with(&[0, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]));
        let none = question.addresses(addresses(["10.0.0.2"]).into_iter());
        assert_eq!((none[3], &none[6..8]), (0x80, &[0, 0][..]), "it is there, and has none");
    }

    #[test]
    fn what_is_too_long_is_cut_short_and_asked_again() {
        let many = || (0..200).map(|last| IpAddr::from([10, 0, 0, last]));
        let plain = query("crowd", 1);
        let options = |size: u16| {
            let mut message = [&plain[..], &[0, 0, 41], &size.to_be_bytes(), &[0; 6]].concat();
            message[11] = 1;
            message
        };
        let answer = |message: &[u8], way| {
            let answer = Question::read(message, way).unwrap().addresses(many());
            let count = u16::from_be_bytes([answer[6], answer[7]]);
            (answer.len(), count, answer[2] & CUT_SHORT != 0)
        };
        let record = 16;
        let rest = plain.len();
        assert_eq!(answer(&plain, Way::Udp), (rest + 30 * record, 30, true));
        assert_eq!(answer(&plain, Way::Tcp), (rest + 200 * record, 200, false));
        assert_eq!(answer(&options(1232), Way::Udp), (rest + 75 * record, 75, true));
        assert_eq!(answer(&options(65535), Way::Udp).1, 200);
        assert_eq!(answer(&options(0), Way::Udp).1, 30, "never less than the least");
    }

    #[test]
    fn nothing_that_comes_breaks_the_server() {
        // Each byte of a question as each value, and each of them cut short or made longer.
        let whole = [&query("db.app", 1)[..], &[0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0]].concat();
        for place in 0..whole.len() {
            for byte in 0..=u8::MAX {
                let mut message = whole.clone();
                message[place] = byte;
                for end in [place, place + 1, message.len()] {
                    for way in [Way::Udp, Way::Tcp] {
                        let Some(question) = Question::read(&message[..end], way) else {
                            continue;
                        };
                        let answer = question.addresses([IpAddr::from([10, 0, 0, 2])].into_iter());
                        assert_eq!(answer[..2], message[..2]);
                        assert!(answer[2] & 0x80 != 0 && answer.len() <= question.longest);
                        let _ = (question.address(), question.pointer(&question.name));
                    }
                }
            }
        }
        let wild = [query("\u{1}é.x", 1), query("a/../b", 255)];
        assert!(wild.iter().all(|message| Question::read(message, Way::Udp).is_some()));
        let mut bytes = query("ab", 1);
        bytes[13] = 0xff;
        assert!(Question::read(&bytes, Way::Udp).is_some(), "no text, but a name");
    }

    #[test]
    fn what_is_no_query_is_none() {
        let message = query("a.b", 1);
        for end in 0..message.len() {
            assert!(Question::read(&message[..end], Way::Udp).is_none(), "{end}");
        }
        let changed = |place: usize, byte| {
            let mut message = message.clone();
            message[place] = byte;
            Question::read(&message, Way::Udp).is_some()
        };
        assert!(changed(0, 9));
        assert!(!changed(2, 0x81), "an answer");
        assert!(!changed(5, 2), "two questions");
        assert!(!changed(12, 0xc0), "a pointer");
        let label = format!("{}.", "a".repeat(63)).repeat(5);
        assert!(
            Question::read(&query(label.trim_end_matches('.'), 1), Way::Udp).is_none(),
            "too long"
        );
    }
}
