//! The outside world: a server that remembers every effect that reached it, and outlives the platform.

use super::platform::Record;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How often each path was posted to.
type Effects = Arc<Mutex<BTreeMap<String, u64>>>;

pub struct World {
    port: u16,
    effects: Effects,
}

impl World {
    pub async fn start() -> World {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let effects = Effects::default();
        let shared = Arc::clone(&effects);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let effects = Arc::clone(&shared);
                tokio::spawn(async move { serve(stream, effects).await });
            }
        });
        World { port, effects }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every effect has its record, and none happened twice. Returns how many there are.
    pub fn check(&self, record: &Record, context: &str) -> u64 {
        let effects = self.effects.lock().unwrap();
        for (path, count) in effects.iter() {
            let resource = format!("http://127.0.0.1:{}{path}", self.port);
            assert!(
                record.permitted.contains(&resource),
                "{context}: `{path}` happened without a record"
            );
            assert_eq!(*count, 1, "{context}: `{path}` must not be repeated, and was");
        }
        effects.len() as u64
    }
}

/// HTTP/1.1, as little as it takes: counts a POST when its head is read, before it is answered.
async fn serve(stream: TcpStream, effects: Effects) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut length = 0;
        loop {
            let mut header = String::new();
            read.read_line(&mut header).await.ok()?;
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header == "\r\n" {
                break;
            }
        }
        if method == "POST" {
            *effects.lock().unwrap().entry(path).or_default() += 1;
        }
        let mut body = vec![0; length];
        read.read_exact(&mut body).await.ok()?;
        write.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}").await.ok()?;
    }
}
