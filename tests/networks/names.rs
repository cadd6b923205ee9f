//! The name server of a container.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rbuild_testkit::eventually;

use super::Networked;

const SERVER: &str = "127.0.0.11:53";

/// An address of the host's loopback device that is this process's own, for a server at a port
/// which others want, too. Each test has its own number.
fn own_address(number: u8) -> String {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{high}.{low}", 41 + number)
}

/// A question for the addresses of a name, with a number.
pub(super) fn question(number: u16, name: &str) -> Vec<u8> {
    let mut question = [&number.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    question.push(u8::try_from(name.len()).unwrap());
    question.extend(name.as_bytes());
    question.extend([0, 0, 1, 0, 1]);
    question
}

/// What the server says over TCP to several questions of one client.
pub(super) fn by_connection(questions: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut stream = TcpStream::connect(SERVER).unwrap();
    let ask = |question: &Vec<u8>| {
        let length = u16::try_from(question.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length, &question[..]].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        answer
    };
    questions.iter().map(ask).collect()
}

#[test]
fn other_names_are_asked_of_the_hosts_servers() {
    let home = Networked::new();
    // Any address of the loopback device is the host's own.
    let address = own_address(0);
    let server = UdpSocket::bind((address.as_str(), 53)).unwrap();
    let listener = TcpListener::bind((address.as_str(), 53)).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = server.recv_from(&mut query) {
            let mut answer = query[..length].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
            answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 99, 0, 7]);
            server.send_to(&answer, from).unwrap();
        }
    });
    home.says("rbuild network create shop");
    let run = format!("rbuild run --rm --dns {address}");
    let ask = format!("{run} --network shop app nslookup -type=a out.example");
    let said = home.says(&ask);
    assert!(said.contains("10.99.0.7") && said.contains("127.0.0.11"), "{said}");
    home.says("rbuild network create --internal vault");
    let ask = format!("{run} --network vault app nslookup -type=a out.example");
    let said = home.0.types(&ask);
    assert!(said.code != 0 && !said.stdout.contains("10.99.0.7"), "{said}");
    drop(listener);
}

#[test]
fn a_container_can_be_a_name_server_itself() {
    let home = Networked::new();
    home.says("rbuild network create shop");
    home.says("rbuild run -d --name ns --network shop app nc -ll -p 53 -e echo mine");
    eventually("a server of names", || {
        let said = home.inside("shop", "nc ns 53 </dev/null");
        (said.stdout.trim() == "mine").then_some(())
    });
    // Datagrams, too, and its own names are still found.
    drop(home.within("ns", || UdpSocket::bind("0.0.0.0:53").unwrap()));
    assert!(home.says("rbuild exec ns nslookup -type=a ns").contains(&home.address("ns")));
}

#[test]
fn a_container_gets_names_with_its_first_network_that_has_them() {
    let home = Networked::new();
    home.says("rbuild network create shop");
    home.serves("web", "--network shop");
    for name in ["plain", "own"] {
        home.says(&format!("rbuild run -d --name {name} --dns 127.41.0.2 app sleep 1000"));
    }
    let resolver = |name: &str| home.says(&format!("rbuild exec {name} cat /etc/resolv.conf"));
    assert!(resolver("plain").contains("nameserver 127.41.0.2"));
    home.says("rbuild exec own sh -c 'echo nameserver 127.41.0.3 >/etc/resolv.conf'");
    for name in ["plain", "own"] {
        home.says(&format!("rbuild network connect shop {name}"));
    }
    assert_eq!(home.says("rbuild exec plain wget -q -O - http://web/name"), "web");
    assert!(home.says("rbuild exec web nslookup -type=a plain").contains("plain"));
    assert!(resolver("plain").contains("nameserver 127.0.0.11"));
    // What the container has written itself stays; its server is there for whoever asks it.
    assert_eq!(resolver("own"), "nameserver 127.41.0.3");
    assert!(home.says("rbuild exec own nslookup -type=a web 127.0.0.11").contains("web"));
    // It stays with the container when the network goes.
    home.says("rbuild network disconnect shop plain");
    home.0.types("rbuild exec plain nslookup -type=a web 127.0.0.11").fails(1);
}

#[test]
fn whatever_is_sent_to_the_name_server_it_answers_the_next_question() {
    let home = Networked::new();
    home.says("rbuild network create --internal shop");
    home.serves("web", "--network shop");
    let address: std::net::Ipv4Addr = home.address("web").parse().unwrap();
    home.within("web", || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let good = question(7, "web");
        let mut answer = [0; 512];
        let mut ask = || {
            socket.send_to(&good, SERVER).unwrap();
            loop {
                let (length, _) = socket.recv_from(&mut answer).unwrap();
                // No answer to what came before.
                if answer[..2] == good[..2] {
                    let answer = &answer[..length];
                    assert!(answer.ends_with(&address.octets()), "{answer:?}");
                    break;
                }
            }
        };
        for end in 0..good.len() {
            socket.send_to(&good[..end], SERVER).unwrap();
            ask();
        }
        for byte in 0..=u8::MAX {
            let mut wild = vec![byte; usize::from(byte) + 1];
            socket.send_to(&wild, SERVER).unwrap();
            wild.splice(0..0, good.clone());
            wild[0] = 0xff;
            socket.send_to(&wild, SERVER).unwrap();
            ask();
        }
        // One that says that more comes than does, and goes.
        for length in [0, 1, u16::MAX] {
            let mut stream = TcpStream::connect(SERVER).unwrap();
            stream.write_all(&length.to_be_bytes()).unwrap();
        }
        ask();
        let answers = by_connection(&[good.clone(), question(8, "nobody"), good.clone()]);
        assert!(answers[0].ends_with(&address.octets()) && answers[0] == answers[2]);
        assert_eq!(answers[1][3] & 0xf, 3, "there is no such name");
        // As many at once as the kernel keeps: each is answered.
        for number in 0..100_u16 {
            socket.send_to(&question(number, "web"), SERVER).unwrap();
        }
        let mut heard = std::collections::BTreeSet::new();
        while heard.len() < 100 {
            socket.recv_from(&mut answer).unwrap();
            heard.insert([answer[0], answer[1]]);
        }
    });
}

#[test]
fn only_what_others_may_know_is_asked_of_them() {
    let home = Networked::new();
    let address = own_address(1);
    let server = UdpSocket::bind((address.as_str(), 53)).unwrap();
    let (sender, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = server.recv_from(&mut query) {
            let mut answer = query[..length].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x83]);
            server.send_to(&answer, from).unwrap();
            let name = answer[12..].split(|byte| *byte == 0).next().unwrap();
            sender.send(String::from_utf8_lossy(name).into_owned()).unwrap();
        }
    });
    home.says("rbuild network create --subnet 10.123.44.0/24 shop");
    home.serves("web", &format!("--network shop --dns {address}"));
    for question in [
        "-type=a web",
        "-type=aaaa web",
        "-type=mx web",
        "-type=txt web.shop",
        "10.123.44.2",
        "10.123.44.77",
        "-type=a last.example",
    ] {
        let _ = home.0.types(&format!("rbuild exec web nslookup {question}"));
    }
    assert_eq!(asked.recv().unwrap(), "\u{4}last\u{7}example");
}
