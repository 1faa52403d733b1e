//! Attacks on the network: every family of sockets, and every way to an address that is not a door.

use crate::{Outcome, check, number, word};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

pub fn connect_unix(args: &[String]) -> Outcome {
    UnixStream::connect(word(args, 0)).map(|_| String::new())
}

pub fn connect_abstract(args: &[String]) -> Outcome {
    let address = SocketAddr::from_abstract_name(word(args, 0))?;
    UnixStream::connect_addr(&address).map(|_| String::new())
}

pub fn connect_tcp(args: &[String]) -> Outcome {
    TcpStream::connect(word(args, 0)).map(|_| String::new())
}

pub fn bind_tcp(args: &[String]) -> Outcome {
    TcpListener::bind(word(args, 0)).map(|_| String::new())
}

/// Sends, and waits for the answer that only a listener outside gives.
pub fn echo_udp(args: &[String]) -> Outcome {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(word(args, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send(b"secret")?;
    let mut answer = [0; 16];
    socket.recv(&mut answer).map(|_| String::new())
}

pub fn resolve(args: &[String]) -> Outcome {
    let found = (word(args, 0), 443).to_socket_addrs()?;
    Ok(format!("{:?}", found.collect::<Vec<_>>()))
}

/// Speaks with the platform through a door.
pub fn say_at_door(args: &[String]) -> Outcome {
    let mut door = TcpStream::connect(word(args, 0))?;
    door.write_all(b"hello")?;
    door.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    door.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A server and a client of its own, as test suites have them.
pub fn serve_locally(_: &[String]) -> Outcome {
    let server = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect(server.local_addr()?).map(|_| String::new())
}

pub fn socket(args: &[String]) -> Outcome {
    let (family, kind, protocol) = (number(args, 0), number(args, 1), number(args, 2));
    // SAFETY: it touches no memory.
    check(unsafe { libc::socket(family, kind, protocol) }.into())?;
    Ok(String::new())
}
