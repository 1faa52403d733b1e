//! A server that answers as a test says, and keeps what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is answered.
#[derive(Clone, Debug)]
pub struct Says {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The connection is kept.
    Keep,
    /// It ends in the middle.
    Cut,
    /// Nothing more comes.
    Hang,
}

impl Says {
    pub fn json(status: u16, body: &str) -> Says {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        Says {
            bytes: text.into_bytes(),
            then: Then::Keep,
        }
    }

    pub fn stream(events: &str) -> Says {
        let mut bytes =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec();
        // In pieces that end anywhere.
        for piece in events.as_bytes().chunks(7) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        Says {
            bytes,
            then: Then::Keep,
        }
    }

    pub fn nothing() -> Says {
        Says {
            bytes: Vec::new(),
            then: Then::Hang,
        }
    }

    /// The same without its last bytes, and then the end of the connection.
    pub fn cut(mut self) -> Says {
        self.bytes.truncate(self.bytes.len() - 5);
        Says {
            then: Then::Cut,
            ..self
        }
    }

    /// The same, but that it never ends.
    pub fn hang(mut self) -> Says {
        self.bytes.truncate(self.bytes.len() - 5);
        Says {
            then: Then::Hang,
            ..self
        }
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Sent {
    pub head: String,
    pub body: String,
}

pub struct Upstream {
    pub address: SocketAddr,
    sent: Arc<Mutex<Vec<Sent>>>,
    left: watch::Receiver<u64>,
}

impl Upstream {
    /// `script` says what is answered to the request of a number.
    pub async fn new(script: impl Fn(usize) -> Says + Send + Sync + 'static) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (leave, left) = watch::channel(0);
        let (kept, script, leave) = (Arc::clone(&sent), Arc::new(script), Arc::new(leave));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, script, leave) = (Arc::clone(&kept), Arc::clone(&script), Arc::clone(&leave));
                tokio::spawn(async move {
                    serve(stream, &kept, &*script).await;
                    leave.send_modify(|left| *left += 1);
                });
            }
        });
        Upstream { address, sent, left }
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// Resolves when a connection has ended.
    pub async fn left(&self) {
        self.left.clone().wait_for(|left| *left > 0).await.unwrap();
    }
}

async fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Sent>>, script: &(impl Fn(usize) -> Says + ?Sized)) {
    let mut ahead = Vec::new();
    loop {
        let Some(sent) = request(&mut stream, &mut ahead).await else {
            return;
        };
        let number = {
            let mut all = kept.lock().unwrap();
            all.push(sent);
            all.len() - 1
        };
        let says = script(number);
        if stream.write_all(&says.bytes).await.is_err() {
            return;
        }
        match says.then {
            Then::Keep => {}
            Then::Cut => return,
            Then::Hang => {
                let mut byte = [0];
                let _ = stream.read(&mut byte).await;
                return;
            }
        }
    }
}

async fn request(stream: &mut TcpStream, ahead: &mut Vec<u8>) -> Option<Sent> {
    let end = loop {
        if let Some(at) = ahead.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(ahead).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(ahead.drain(..end).collect()).unwrap();
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    let length: usize = length.unwrap_or(0);
    while ahead.len() < length {
        if stream.read_buf(ahead).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(ahead.drain(..length).collect()).unwrap();
    Some(Sent { head, body })
}
