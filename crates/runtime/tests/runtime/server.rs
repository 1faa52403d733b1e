//! A small HTTP server on loopback that answers as a test says and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What it was asked: request line, headers and body as sent.
pub type Asked = Arc<Mutex<Vec<String>>>;

pub struct Server {
    pub address: SocketAddr,
    pub asked: Asked,
}

/// How to answer one request line.
pub enum Answer {
    /// Status line and headers without the last empty line, and a body.
    Gives(&'static str, Vec<u8>),
    /// Closes without a word.
    Closes,
    /// Says nothing until the other side goes.
    Hangs,
}

impl Server {
    pub async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&log), Arc::clone(&answer)));
            }
        });
        Server { address, asked }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked()
            .iter()
            .map(|text| text.lines().next().unwrap_or_default().to_owned())
            .collect()
    }
}

async fn serve(mut stream: TcpStream, asked: Asked, answer: Arc<impl Fn(&str) -> Answer>) -> Option<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let text = loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break text;
            }
        }
    };
    asked.lock().unwrap().push(text.clone());
    match answer(text.lines().next().unwrap_or_default()) {
        Answer::Gives(head, body) => {
            let length = body.len();
            stream
                .write_all(format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n").as_bytes())
                .await
                .ok()?;
            stream.write_all(&body).await.ok()?;
            stream.shutdown().await.ok()
        }
        Answer::Closes => None,
        Answer::Hangs => {
            let _ = stream.read(&mut buffer).await;
            None
        }
    }
}
