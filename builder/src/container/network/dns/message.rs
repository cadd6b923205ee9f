//! Messages of DNS, as far as a server needs them that knows addresses and nothing else.

use std::net::Ipv4Addr;

const HEADER: usize = 12;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 255;
/// Seconds for which an answer may be believed; containers come and go.
const LIFE: u32 = 60;
/// Where the question's name is, as a pointer.
const NAME_OF_QUESTION: u16 = 0xc00c;

const INTERNET: u16 = 1;

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
}

/// A question, within the message that it came in.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    message: &'a [u8],
    /// Where the question ends in the message.
    end: usize,
}

impl<'a> Question<'a> {
    /// Reads a query of one question; none when it is anything else.
    pub(crate) fn read(message: &'a [u8]) -> Option<Self> {
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
            labels.push(std::str::from_utf8(message.get(place..place + size)?).ok()?);
            (place, length) = (place + size, length + size + 1);
            if length > LONGEST_NAME {
                return None;
            }
        }
        let number = |place: usize| Some(u16::from_be_bytes(*message.get(place..)?.first_chunk()?));
        let (kind, class) = (number(place)?, number(place + 2)?);
        let kind = match (class, kind) {
            (INTERNET, 1) => Kind::Address,
            (INTERNET, 28) => Kind::LongAddress,
            (INTERNET, 12) => Kind::Pointer,
            _ => Kind::Other,
        };
        Some(Self { name: labels.join("."), kind, message, end: place + 4 })
    }

    /// The address that a pointer's name is made of: `2.0.17.172.in-addr.arpa`.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        let digits = self.name.strip_suffix(".in-addr.arpa")?;
        let mut parts = digits.split('.').rev().map(str::parse);
        let mut next = || parts.next()?.ok();
        let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
        parts.next().is_none().then_some(address)
    }

    /// An answer with addresses, none of which is also an answer.
    pub(crate) fn addresses(&self, addresses: &[Ipv4Addr]) -> Vec<u8> {
        let records = addresses.iter().map(|address| address.octets().to_vec());
        self.answer(0, &records.collect::<Vec<_>>(), 1)
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
        self.answer(0, &[record], 12)
    }

    /// The answer that there is no such name.
    pub(crate) fn no_such_name(&self) -> Vec<u8> {
        self.answer(3, &[], 1)
    }

    /// The answer that there is none at the moment.
    pub(crate) fn failure(&self) -> Vec<u8> {
        self.answer(2, &[], 1)
    }

    fn answer(&self, code: u8, records: &[Vec<u8>], kind: u16) -> Vec<u8> {
        let count = u16::try_from(records.len()).expect("answers are few");
        let mut answer = self.message[..self.end].to_vec();
        // An answer, as recursive as was asked for, of a server that recurses.
        answer[2] = 0x80 | (self.message[2] & 1);
        answer[3] = 0x80 | code;
        answer[6..8].copy_from_slice(&count.to_be_bytes());
        answer[8..HEADER].fill(0);
        for record in records {
            for number in [NAME_OF_QUESTION, kind, INTERNET] {
                answer.extend_from_slice(&number.to_be_bytes());
            }
            answer.extend_from_slice(&LIFE.to_be_bytes());
            let length = u16::try_from(record.len()).expect("records are short");
            answer.extend_from_slice(&length.to_be_bytes());
            answer.extend_from_slice(record);
        }
        answer
    }
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

    #[test]
    fn an_answer_repeats_the_question() {
        let message = [query("db.app", 1), vec![0; 11]].concat();
        let question = Question::read(&message).unwrap();
        assert_eq!((question.name.as_str(), question.kind), ("db.app", Kind::Address));
        let answer = question.addresses(&[[10, 0, 0, 2].into(), [10, 0, 0, 3].into()]);
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
        let question = Question::read(&message).unwrap();
        assert_eq!(question.kind, Kind::Pointer);
        assert_eq!(question.address(), Some([172, 17, 0, 2].into()));
        assert!(question.pointer("web.app").ends_with(b"\x03web\x03app\0"));
        for name in ["1.2.3.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "x.2.3.4.in-addr.arpa", "a"] {
            let message = query(name, 12);
            assert_eq!(Question::read(&message).unwrap().address(), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_query_is_none() {
        let message = query("a.b", 1);
        for end in 0..message.len() {
            assert!(Question::read(&message[..end]).is_none(), "{end}");
        }
        let changed = |place: usize, byte| {
            let mut message = message.clone();
            message[place] = byte;
            Question::read(&message).is_some()
        };
        assert!(changed(0, 9));
        assert!(!changed(2, 0x81), "an answer");
        assert!(!changed(5, 2), "two questions");
        assert!(!changed(12, 0xc0), "a pointer");
        let label = format!("{}.", "a".repeat(63)).repeat(5);
        assert!(Question::read(&query(label.trim_end_matches('.'), 1)).is_none(), "too long");
    }
}
