//! Attacks on the network: every family of sockets, and every way to an address that is not a door.

use super::{Outcome, check, number, word};
use std::io::{Error, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

/// How long something that may never answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn connect_unix(args: &[String]) -> Outcome {
    UnixStream::connect(word(args, 0)?).map(|_| String::new())
}

pub fn connect_abstract(args: &[String]) -> Outcome {
    let address = SocketAddr::from_abstract_name(word(args, 0)?)?;
    UnixStream::connect_addr(&address).map(|_| String::new())
}

/// A descriptor from somebody outside who gives one away: a file that cannot be opened by its name.
pub fn take_descriptor(args: &[String]) -> Outcome {
    given(&UnixStream::connect(word(args, 0)?)?)
}

pub fn take_abstract_descriptor(args: &[String]) -> Outcome {
    let address = SocketAddr::from_abstract_name(word(args, 0)?)?;
    given(&UnixStream::connect_addr(&address)?)
}

fn given(from: &UnixStream) -> Outcome {
    from.set_read_timeout(Some(PATIENCE))?;
    let (_, fds): (String, _) = crate::wire::receive(from).map_err(Error::other)?;
    let file = fds.into_iter().next().ok_or_else(|| Error::other("none came"))?;
    let mut text = String::new();
    std::fs::File::from(file).take(4096).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

pub fn connect_tcp(args: &[String]) -> Outcome {
    let address = word(args, 0)?.parse().map_err(Error::other)?;
    TcpStream::connect_timeout(&address, PATIENCE).map(|_| String::new())
}

pub fn bind_tcp(args: &[String]) -> Outcome {
    TcpListener::bind(word(args, 0)?).map(|_| String::new())
}

/// Sends, and waits for the answer that only a listener outside gives.
pub fn echo_udp(args: &[String]) -> Outcome {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(word(args, 0)?)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(args.get(1).map_or("secret", String::as_str).as_bytes())?;
    let mut answer = [0; 16];
    socket.recv(&mut answer).map(|_| String::new())
}

/// Asks the kernel for a way to an address. Nothing is sent.
pub fn route(args: &[String]) -> Outcome {
    let address: std::net::SocketAddr = word(args, 0)?.parse().map_err(Error::other)?;
    let from = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(from)?;
    socket.connect(address)?;
    Ok(format!("from {}", socket.local_addr()?))
}

pub fn resolve(args: &[String]) -> Outcome {
    let found = (word(args, 0)?, 443_u16).to_socket_addrs()?;
    Ok(format!("{:?}", found.collect::<Vec<_>>()))
}

/// Speaks with the platform through a door.
pub fn say_at_door(args: &[String]) -> Outcome {
    let mut door = TcpStream::connect(word(args, 0)?)?;
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
    let (family, kind, protocol) = (number(args, 0)?, number(args, 1)?, number(args, 2)?);
    // SAFETY: it touches no memory.
    check(unsafe { libc::socket(family, kind, protocol) }.into())?;
    Ok(String::new())
}
