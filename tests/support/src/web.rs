//! A server of files in this process: a folder of the test, on a port of loopback.

use std::fs;
use std::io::BufReader;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest;
use crate::http::{Port, Reply, Request, Server};

/// [`Web::CHANGED`] as an HTTP date.
const CHANGED: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

/// A server that runs as long as this lives. It names the versions of files by their contents, and
/// knows `/private` to nobody but the bearer of the token `open`.
#[derive(Debug)]
pub struct Web {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    log: Mutex<Vec<String>>,
}

impl Web {
    /// When the server says that all its files were changed last, in seconds since 1970.
    pub const CHANGED: i64 = 1_445_412_480;

    /// Serves the files of a folder.
    pub fn serve(folder: &Path) -> Self {
        let shared = Arc::new(Shared { folder: folder.to_owned(), log: Mutex::default() });
        let served = shared.clone();
        let server = Port::open().serve(move |stream| serve(&served, stream));
        Self { server, shared }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.server.address)
    }

    /// The answers so far, as status and path; they are forgotten then.
    pub fn answers(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    while let Some(request) = Request::read(&mut from)? {
        let (status, reply) = shared.answer(&request);
        let line = format!("{status} {}", request.path);
        shared.log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        reply.write(&mut stream, request.method == "HEAD")?;
    }
    Ok(())
}

impl Shared {
    fn answer(&self, request: &Request) -> (u16, Reply) {
        if request.path == "/private" && request.header("authorization") != "Bearer open" {
            return (401, Reply::new(401));
        }
        let path = self.folder.join(request.path.trim_start_matches('/'));
        let Ok(bytes) = fs::read(path) else {
            return (404, Reply::new(404));
        };
        let etag = format!("\"{}\"", digest(&bytes));
        if request.header("if-none-match") == etag {
            return (304, Reply::new(304).with("ETag", etag));
        }
        (200, Reply::new(200).with("ETag", etag).with("Last-Modified", CHANGED).body(bytes))
    }
}
