//! The course, line by line, in the shell that a user has: bash on a terminal. Once as it is
//! written for rbuild, and once more as it was written for docker, under `alias docker=rbuild`.
//!
//! It needs the kit beside the repository. `ifconfig.me` is a container's server, found by the
//! host's name server, so that nothing has to be typed that the course does not say.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use rbuild_testkit::{Home, Terminal, eventually};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::kit::{ADDRESS, DOCKERFILE, Services, kit};

/// A shell on a terminal, and how much of its screen has been read.
struct Shell {
    terminal: Terminal,
    read: usize,
}

impl Shell {
    /// Starts bash where the host's name server is one of the test's own.
    fn start(home: &Home) -> Self {
        home.write("resolv.conf", format!("nameserver {}\n", name_server_address()));
        let bash = "exec bash --norc --noprofile --noediting -i";
        let mounted = format!("mount --bind resolv.conf /etc/resolv.conf && {bash}");
        let terminal = home.terminal(&format!("unshare -m sh -c '{mounted}'"));
        let mut shell = Self { terminal, read: 0 };
        shell.types("PS1='done-''$?> '\n");
        shell.until("done-0> ");
        shell
    }

    fn types(&mut self, keys: &str) {
        self.terminal.types(keys);
    }

    /// Waits for a text after those that were waited for; returns what came before it.
    fn until(&mut self, text: &str) -> String {
        let (read, terminal) = (self.read, &self.terminal);
        let find = || {
            let screen = terminal.screen();
            let rest = &screen[read..];
            let Some(place) = rest.find(text) else {
                // A prompt that tells of a failure, where another one was waited for.
                let is_failure =
                    |code: &str| code.starts_with(|digit| ('1'..='9').contains(&digit));
                let failed = text == "done-0> " && rest.split("done-").skip(1).any(is_failure);
                assert!(!failed, "a command failed:\n{rest}");
                return None;
            };
            Some((read + place + text.len(), rest[..place].to_owned()))
        };
        let waited = std::panic::AssertUnwindSafe(|| eventually("a text on the screen", find));
        let found = std::panic::catch_unwind(waited);
        let screen = || terminal.screen();
        let (end, between) = found.unwrap_or_else(|_| panic!("no `{text}` on:\n{}", screen()));
        self.read = end;
        between
    }

    /// Types a line, and waits until it has been done well; returns what it said.
    fn says(&mut self, line: &str) -> String {
        self.types(&format!("{line}\n"));
        let said = self.until("done-0> ").replace('\r', "");
        said.split_once('\n').map(|(_, said)| said.trim().to_owned()).unwrap_or_default()
    }
}

/// An address of the host's loopback device that no other test asks.
fn name_server_address() -> String {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("127.51.{high}.{low}")
}

/// The host's name server: it knows one name.
fn name_server(site: Ipv4Addr) {
    let server = UdpSocket::bind((name_server_address(), 53)).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = server.recv_from(&mut query) {
            let mut answer = query[..length].to_vec();
            let is_known = query[12..length].starts_with(b"\x08ifconfig\x02me\0");
            let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            // It has an IPv4 address, and no other.
            let has_it = is_known && query[end - 4..end] == [0, 1, 0, 1];
            answer[2..4].copy_from_slice(&[0x81, if is_known { 0x80 } else { 0x83 }]);
            answer[6..12].copy_from_slice(&[0, u8::from(has_it), 0, 0, 0, 0]);
            answer.truncate(end);
            if has_it {
                answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
                answer.extend(site.octets());
            }
            server.send_to(&answer, from).unwrap();
        }
    });
}

/// A server in a container's network, as ifconfig.me is one in the world.
fn site(home: &Home) -> Ipv4Addr {
    home.types("rbuild run -d --name site alpine:3 sleep 10000").ok();
    let inspected = |part: &str| home.types(&format!("rbuild inspect -f '{part}' site")).ok();
    let pid = inspected("{{.State.Pid}}");
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    std::thread::spawn(move || {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), kind).unwrap();
        let listener = TcpListener::bind("0.0.0.0:80").unwrap();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{ADDRESS}\n").as_bytes());
        }
    });
    inspected("{{.NetworkSettings.IPAddress}}").parse().unwrap()
}

#[test]
fn every_line_of_the_course_does_what_the_course_says() {
    let Some(kit) = kit("tutorial::every_line_of_the_course_does_what_the_course_says") else {
        return;
    };
    let services = Services::start(kit);
    let home = Home::elsewhere(env!("CARGO_BIN_EXE_rbuild"), services.plain());
    home.write("Dockerfile", DOCKERFILE);
    name_server(site(&home));
    let mut shell = Shell::start(&home);
    let there = format!("{}/team/mypub-ip", services.plain());
    for (word, build) in
        [("rbuild", "rbuild -t mypub-ip ."), ("docker", "docker build -t mypub-ip .")]
    {
        if word == "docker" {
            shell.says("alias docker=rbuild");
            assert!(shell.says("type docker").contains("aliased to `rbuild'"));
        }
        image(&mut shell, word, build, &there);
        terminal(&mut shell, word);
        background(&mut shell, word);
    }
    let again = shell.says("docker buildx build --progress plain -t mypub-ip .");
    assert!(again.contains("CACHED"), "{again}");
}

fn image(shell: &mut Shell, word: &str, build: &str, there: &str) {
    shell.says(build);
    let listed = shell.says(&format!("{word} image ls"));
    assert!(listed.lines().any(|line| line.starts_with("mypub-ip ")), "{listed}");
    let run = format!("{word} run --rm mypub-ip");
    assert_eq!(shell.says(&run), ADDRESS);
    shell.says(&format!("{word} tag mypub-ip {there}"));
    shell.says(&format!("{word} push {there}"));
    shell.says(&format!("{word} rmi {there} mypub-ip"));
    let listed = shell.says(&format!("{word} image ls"));
    assert!(!listed.contains("mypub-ip"), "{listed}");
    shell.says(&format!("{word} pull {there}"));
    assert_eq!(shell.says(&format!("{word} run --rm {there}")), ADDRESS);
    shell.says(&format!("{word} image tag {there} mypub-ip"));
    assert_eq!(shell.says(&run), ADDRESS);
}

/// The terminal of a container: its size, control and c, leaving it and coming back.
fn terminal(shell: &mut Shell, word: &str) {
    shell.types(&format!("{word} run -it --rm alpine:latest\n"));
    shell.until("/ # ");
    shell.types("cat /etc/os-release\n");
    shell.until("PRETTY_NAME=\"Alpine Linux v3.20\"");
    shell.until("/ # ");
    // The program learns of the new size by a signal; until then it has the old one.
    shell.terminal.resize(33, 91);
    shell.types("until stty size | grep '33 91'; do sleep 0.1; done; echo gr''own\n");
    shell.until("grown");
    shell.until("/ # ");
    shell.types("sh -c 'echo asl\"\"eep; exec sleep 1000'\n");
    shell.until("asleep");
    shell.types("\u{3}");
    shell.until("^C");
    shell.until("/ # ");
    shell.types("echo sti''ll here\n");
    shell.until("still here");
    shell.until("/ # ");
    shell.types("\u{10}\u{11}");
    shell.until("done-0> ");
    let listed = shell.says(&format!("{word} ps"));
    assert!(listed.contains("alpine:latest") && listed.contains("Up "), "{listed}");
    shell.types(&format!("{word} attach $({word} ps -lq)\n"));
    shell.until("\n");
    shell.types("echo ba''ck\n");
    shell.until("back");
    shell.until("/ # ");
    shell.types("exit\n");
    shell.until("done-0> ");
    let listed = shell.says(&format!("{word} ps -a"));
    assert!(!listed.contains("alpine:latest"), "{listed}");
}

fn background(shell: &mut Shell, word: &str) {
    let loops = "while :; do echo tick; sleep 0.2; done";
    let id = shell.says(&format!("{word} run -d --name kept alpine:3 sh -c '{loops}'"));
    assert_eq!(id.len(), 64, "{id}");
    let listed = shell.says(&format!("{word} ps"));
    assert!(listed.contains(&id[..12]) && listed.contains("kept"), "{listed}");
    shell.types(&format!("{word} logs -f kept\n"));
    shell.until("tick");
    shell.until("tick");
    shell.types("\u{3}");
    // With the code of one that was interrupted.
    shell.until("done-130> ");
    shell.types(&format!("{word} exec -it kept sh\n"));
    shell.until("/ # ");
    shell.types("echo ins''ide; exit\n");
    shell.until("inside");
    shell.until("done-0> ");
    assert_eq!(shell.says(&format!("{word} stop -t 0 kept")), "kept");
    let listed = shell.says(&format!("{word} ps -a"));
    assert!(listed.contains("Exited (137)") && listed.contains("kept"), "{listed}");
    assert!(!shell.says(&format!("{word} ps")).contains("kept"));
    assert_eq!(shell.says(&format!("{word} rm kept")), "kept");
    assert!(!shell.says(&format!("{word} ps -a")).contains("kept"));
}
