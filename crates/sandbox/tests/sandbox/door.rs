//! The attacks of the drill on the gate, at a door that lets everything through: each works there. One that did not would
//! be held by whatever gate there is.

use crate::world::{ATTACKER, Site, open_to_all};
use sandbox::drill::{Outside, Way, attacks, attempt, reason};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

/// How long a second request is waited for.
const MOMENT: Duration = Duration::from_millis(300);

#[test]
fn every_attack_on_the_gate_works_at_a_door_that_lets_everything_through() {
    let site = Site::new();
    let place = site.dir.path().join("drill");
    std::fs::create_dir(&place).unwrap();
    open_to_all(&place, 0o755);
    let mut outside = Outside::new(&place, "permissive", Path::new(ATTACKER)).unwrap();
    let (tls, clear) = (outside.setting().tls, outside.setting().clear);
    outside.setting().door = permissive(tls, clear);
    let setting = outside.known().clone();
    let mut held = Vec::new();
    for attack in attacks().filter(|attack| attack.area() == "gate") {
        if matches!(attack.way, Way::Opaque { .. }) {
            continue;
        }
        for words in setting.attempts(attack) {
            if let Err(error) = attempt(&words).unwrap() {
                held.push(format!("{} {words:?}: {}", attack.id, reason(&error)));
            }
        }
    }
    assert!(held.is_empty(), "{held:#?}");
}

/// Its port.
fn permissive(tls: u16, clear: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever breaks off is of no interest.
            std::thread::spawn(move || serve(stream, tls, clear).ok());
        }
    });
    port
}

fn serve(mut client: TcpStream, tls: u16, clear: u16) -> std::io::Result<()> {
    let mut first = [0];
    client.read_exact(&mut first)?;
    if first == [5] {
        return socks(client);
    }
    let mut said = first.to_vec();
    loop {
        let text = head(&mut client, std::mem::take(&mut said))?;
        if text.is_empty() {
            return Ok(());
        }
        let target = text.split_whitespace().nth(1).unwrap_or_default();
        if text.starts_with("CONNECT") {
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            return match target == format!("localhost:{tls}") {
                true => relay(client, tls),
                false => Ok(()),
            };
        }
        if target.contains("/redirect") {
            let mut server = TcpStream::connect(("127.0.0.1", clear))?;
            server.write_all(text.as_bytes())?;
            std::io::copy(&mut server, &mut client)?;
            return Ok(());
        }
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        if text.contains("Connection: close") {
            return Ok(());
        }
        client.set_read_timeout(Some(MOMENT))?;
    }
}

/// What comes before an empty line, however lines end; nothing when nothing comes.
fn head(client: &mut TcpStream, mut said: Vec<u8>) -> std::io::Result<String> {
    let mut byte = [0];
    while !said.ends_with(b"\r\n\r\n") && !said.ends_with(b"\n\n") {
        match client.read(&mut byte) {
            Ok(1) => said.extend(byte),
            _ if said.is_empty() => break,
            Ok(_) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn socks(mut client: TcpStream) -> std::io::Result<()> {
    let mut count = [0];
    client.read_exact(&mut count)?;
    client.read_exact(&mut vec![0; count[0].into()])?;
    client.write_all(&[5, 0])?;
    client.read_exact(&mut [0; 5])?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
}

fn relay(client: TcpStream, port: u16) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port))?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    let (mut server, mut client) = (server, client);
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}
