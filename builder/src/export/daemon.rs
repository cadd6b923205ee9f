//! Images into a Docker daemon: `POST /images/load` on the socket that it listens at.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::archive::{self, Format};
use super::{Exported, Exporter, Finished, Packing};
use crate::error::{Error, Result};

/// How much of an answer is read, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// Has a daemon load the images.
pub(super) async fn export(
    exporter: &Exporter,
    images: &[Finished],
    names: &[String],
    packing: &Packing,
    socket: &Path,
) -> Result<Exported> {
    let entry = archive::entry(exporter, images, names.to_vec(), packing).await?;
    let exported = Exported::of(&entry.0);
    let (store, socket) = (exporter.store.clone(), socket.to_owned());
    archive::sending(exporter, move || {
        let failed = |source| Error::Daemon { socket: socket.clone(), source };
        let stream = UnixStream::connect(&socket).map_err(failed)?;
        let sent = load(&stream, |out| archive::stream(&store, &[entry], Format::Docker, out));
        // What a daemon that has had enough says is of more use than that it listens no more.
        match (sent, answer(&stream)) {
            (Err(error), Ok(())) | (_, Err(error)) => Err(failed(error)),
            (Ok(()), Ok(())) => Ok(()),
        }
    })
    .await?;
    Ok(exported)
}

/// Sends a request whose body is of a length that nobody knows yet.
fn load(
    mut stream: &UnixStream,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    stream.write_all(
        b"POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
          Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    body(&mut Chunks(stream))?;
    stream.write_all(b"0\r\n\r\n")
}

/// Writes chunks of a body (RFC 9112, 7.1).
struct Chunks<'a>(&'a UnixStream);

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            write!(self.0, "{:x}\r\n", bytes.len())?;
            self.0.write_all(bytes)?;
            self.0.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Reads the answer; an error is what the daemon says went wrong.
fn answer(stream: impl Read) -> io::Result<()> {
    let mut reader = BufReader::new(stream.take(MAX_ANSWER));
    let mut status = String::new();
    reader.read_line(&mut status)?;
    let code = status.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
    let code = code.ok_or_else(|| io::Error::other("it is no Docker daemon that answers"))?;
    let mut chunked = false;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(':') {
            Some(("transfer-encoding", how)) => chunked = how.trim() == "chunked",
            None if line.is_empty() => break,
            _ => {}
        }
    }
    let body = if chunked { joined(reader)? } else { io::read_to_string(reader)? };
    // It is JSON, one object a line.
    let complaint = body.lines().find_map(complaint);
    match complaint {
        Some(text) => Err(io::Error::other(text)),
        None if code == 200 => Ok(()),
        None => Err(io::Error::other(format!("it answers {}", status.trim_end()))),
    }
}

/// Reads the body that chunks carry.
fn joined(mut reader: impl BufRead) -> io::Result<String> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = line.trim_end().split(';').next().unwrap_or_default();
        match u64::from_str_radix(size, 16) {
            Ok(0) | Err(_) => return Ok(String::from_utf8_lossy(&body).into_owned()),
            Ok(size) => {
                reader.by_ref().take(size).read_to_end(&mut body)?;
                reader.read_line(&mut line)?;
            }
        }
    }
}

/// What a line of an answer says went wrong.
fn complaint(line: &str) -> Option<String> {
    let object: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = object.pointer("/errorDetail/message").or(object.get("error"));
    Some(text.or(object.get("message"))?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_daemon_says_is_understood() {
        let said = |text: &str| answer(text.as_bytes()).map_err(|error| error.to_string());
        let chunked = |chunks: &[&str]| {
            let chunk = |text: &&str| format!("{:x}\r\n{text}\r\n", text.len());
            let chunks: String = chunks.iter().map(chunk).collect();
            said(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"))
        };
        assert_eq!(chunked(&["{\"stream\":\"Loaded image: a\"}\n"]), Ok(()));
        let wrong = [r#"{"errorDetail":{"mess"#, r#"age":"no space"},"error":"no space"}"#];
        assert_eq!(chunked(&wrong), Err("no space".to_owned()));
        let refused = "HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n{\"message\":\"no such page\"}\n";
        assert_eq!(said(refused), Err("no such page".to_owned()));
        let silent = "HTTP/1.1 500 X\r\n\r\n";
        assert_eq!(said(silent), Err("it answers HTTP/1.1 500 X".to_owned()));
        assert!(said("SSH-2.0\r\n").is_err() && said("").is_err());
    }
}
