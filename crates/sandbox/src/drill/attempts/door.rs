//! Attacks on the way out: what is said at the guest's door to the gate.
//!
//! Those that play on how something allowed is said first say it as it should be: where that does not get through, a
//! refusal of the attack would show nothing.

use super::hello::{Hidden, hello};
use super::{Outcome, number, unable, word};
use rustix::time::{ClockId, clock_gettime};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// How often something is said again that was refused for haste alone, and how long after.
const AGAIN: (u32, Duration) = (20, Duration::from_millis(300));
/// How long the gate may keep what says nothing.
const SLOW_MAX: Duration = Duration::from_secs(15);
/// Connections of each kind that say nothing.
const SILENT: usize = 8;

/// How 169.254.169.254 and its like can be written.
#[rustfmt::skip]
const METADATA: &[&str] = &[
    "169.254.169.254", "2852039166", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "0251.0376.0251.0376", "169.254.43518",
    "0251.254.169.254", "0251.00376.000251.0000376", "425.510.425.510", "7147006462", "169.254.169.254.",
    "[::ffff:a9fe:a9fe]", "[::ffff:169.254.169.254]", "[::169.254.169.254]", "[fd00:ec2::254]", "[fe80::1%25eth0]",
    "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "%31%36%39.254.169.254", "localhost@169.254.169.254",
    "169.254.169.254#localhost", "localhost\\@169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192",
    "168.63.129.16", "[fd00:c1::a9fe:a9fe]", "[fd20:ce::254]", "[::ffff:100.100.100.200]",
];
/// Names that lead to such a place: nobody looks them up who may not go there.
const NAMES: &[&str] = &[
    "metadata",
    "metadata.google.internal",
    "instance-data",
    "ip6-localhost",
    "localhost.localdomain",
];
/// How 127.0.0.1 can.
#[rustfmt::skip]
const LOOPBACK: &[&str] = &[
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001",
    "127.0.0.1.", "127.0.0.01", "0", "0.0.0.0", "127.127.127.127", "[::]", "[::1]", "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "localhost", "localhost.",
    "LOCALHOST", "%31%32%37.0.0.1", "localhost@127.0.0.1", "127.0.0.1#x",
];

/// A tunnel to somewhere.
pub fn connect(args: &[String]) -> Outcome {
    let target = word(args, 1)?;
    refused(
        said(word(args, 0)?, &connecting(target))?,
        &format!("a tunnel to {target}"),
    )
}

/// A place in every spelling, as a tunnel and as a request in clear text.
pub fn spelled(args: &[String]) -> Outcome {
    let (door, port) = (word(args, 0)?, word(args, 2)?);
    let hosts = match word(args, 1)? {
        "metadata" => METADATA,
        "names" => NAMES,
        _ => LOOPBACK,
    };
    let mut last = Err(unable("there is no spelling"));
    for host in hosts {
        let request =
            format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
        for head in [connecting(&format!("{host}:{port}")), request] {
            let verdict = said(door, &head)?;
            last = match verdict.starts_with("502 not_resolved") {
                // Taken for a name, which leads nowhere.
                true => Err(Error::other(verdict)),
                false => refused(verdict, &format!("`{host}`")),
            };
            if last.is_ok() {
                return last;
            }
        }
    }
    last.map_err(|why| match why.kind() {
        ErrorKind::Unsupported => why,
        _ => Error::other(format!("{} spellings refused, the last with {why}", hosts.len())),
    })
}

/// A request that can be read in two ways: door, port of the host that it may speak with, and what is said.
pub fn request(args: &[String]) -> Outcome {
    let (door, port) = (word(args, 0)?, word(args, 1)?);
    allowed(door, port)?;
    refused(said(door, word(args, 2)?)?, "the request")
}

/// Behind one that is allowed, on the same connection, one that is not.
pub fn second_request(args: &[String]) -> Outcome {
    let (door, port, other) = (word(args, 0)?, word(args, 1)?, word(args, 2)?);
    let one = |target: &str| format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let answer = answer(door, &(one(&format!("localhost:{port}")) + &one(other)))?;
    let served = answer.matches("HTTP/1.1 200").count();
    match (served, answer.contains("HTTP/1.1 403")) {
        (0, _) => Err(unable(&format!("the first was not served: {}", verdict(&answer)))),
        (1, true) => Err(Error::other("403 for the second")),
        _ => Ok(format!("{served} were served")),
    }
}

/// An answer that leads elsewhere; whoever follows asks anew.
pub fn follow(args: &[String]) -> Outcome {
    let (door, port, to) = (word(args, 0)?, word(args, 1)?, word(args, 2)?);
    let answer = answer(door, &getting(port, &format!("/redirect?to={to}")))?;
    match verdict(&answer).as_str() {
        "302" => {}
        other => return Ok(format!("it was followed, or answered with {other}")),
    }
    let next = format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    refused(said(door, &next)?, "where it leads")
}

/// By SOCKS5, which has addresses without any text: door, port of an allowed host, command, kind of address and the
/// address as hexadecimal.
pub fn socks(args: &[String]) -> Outcome {
    let door = word(args, 0)?;
    let name = [&[9][..], b"localhost"].concat();
    let own = [&name[..], &number::<u16>(args, 1)?.to_be_bytes()].concat();
    if socks_reply(door, 1, 3, &own)? != 0 {
        return Err(unable("an allowed host is not reached by SOCKS5"));
    }
    let hex = word(args, 4)?.as_bytes().chunks(2);
    let bytes = hex.map(|two| {
        let text = std::str::from_utf8(two).map_err(Error::other)?;
        u8::from_str_radix(text, 16).map_err(|_| unable("it is no hexadecimal"))
    });
    let address = bytes.collect::<Result<Vec<u8>, Error>>()?;
    match socks_reply(door, number(args, 2)?, number(args, 3)?, &address)? {
        0 => Ok("SOCKS5 let it through".to_owned()),
        reply => Err(Error::other(format!("SOCKS5 reply {reply}"))),
    }
}

fn socks_reply(door: &str, command: u8, kind: u8, address: &[u8]) -> std::io::Result<u8> {
    let mut stream = open(door)?;
    stream.write_all(&[5, 1, 0])?;
    let mut method = [0; 2];
    stream.read_exact(&mut method)?;
    stream.write_all(&[&[5, command, 0, kind], address].concat())?;
    let mut reply = [0; 4];
    // A connection that ends is a refusal.
    match stream.read_exact(&mut reply) {
        Ok(()) => Ok(reply[1]),
        Err(_) => Ok(u8::MAX),
    }
}

/// Words within a tunnel that are not TLS to the host that was named: door, port of that host, and which words.
pub fn tls(args: &[String]) -> Outcome {
    let (door, port, what) = (word(args, 0)?, word(args, 1)?, word(args, 2)?);
    if heard(door, port, &hello(Some("localhost"), Hidden::No))?.is_empty() {
        return Err(unable("TLS to the allowed host itself does not get through"));
    }
    let bytes = match what {
        "another-name" => hello(Some("evil.example"), Hidden::No),
        "no-name" => hello(None, Hidden::No),
        "ech" => hello(Some("localhost"), Hidden::Ech),
        "ech-front" => hello(Some("front.example"), Hidden::Ech),
        "esni" => hello(None, Hidden::Esni),
        "ssh" => b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        _ => b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(),
    };
    let back = heard(door, port, &bytes)?;
    match back.is_empty() {
        true => Err(Error::other("the tunnel was cut")),
        false => Ok(format!("the server answered it with {} bytes", back.len())),
    }
}

/// What comes back through a tunnel.
fn heard(door: &str, port: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = tunnel(door, port)?;
    stream.write_all(bytes)?;
    let mut back = Vec::new();
    let _ = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut back);
    Ok(back)
}

fn tunnel(door: &str, port: &str) -> std::io::Result<TcpStream> {
    let mut stream = open(door)?;
    stream.write_all(connecting(&format!("localhost:{port}")).as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    match verdict(&head).as_str() {
        "200" => Ok(stream),
        other => Err(unable(&format!("no tunnel to the allowed host: {other}"))),
    }
}

/// Heads that never end, tunnels in which nothing is said, and half a hello: each is let go, and holds nobody up.
pub fn slow(args: &[String]) -> Outcome {
    let (door, tls_port, clear_port) = (word(args, 0)?, word(args, 1)?, word(args, 2)?);
    let mut held = Vec::new();
    let half: Vec<u8> = hello(Some("localhost"), Hidden::No)
        .into_iter()
        .take(40)
        .collect();
    for _ in 0..SILENT {
        let mut head = open(door)?;
        head.write_all(b"CONNECT localhost:443 HTTP/1.1\r\nX: y")?;
        held.push(head);
        held.push(tunnel(door, tls_port)?);
        let mut begun = tunnel(door, tls_port)?;
        begun.write_all(&half)?;
        held.push(begun);
    }
    let begin = now();
    allowed(door, clear_port)?;
    if now().saturating_sub(begin) > PATIENCE {
        return Ok("meanwhile an allowed request waited".to_owned());
    }
    let open = held
        .iter_mut()
        .filter_map(|stream| {
            let left = SLOW_MAX.checked_sub(now().saturating_sub(begin));
            let left = left.unwrap_or_default().max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).ok()?;
            let mut rest = [0; 1024];
            loop {
                match stream.read(&mut rest) {
                    Ok(1..) => {}
                    Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                        return Some(());
                    }
                    _ => return None,
                }
            }
        })
        .count();
    match open {
        0 => Err(Error::other(format!("all {} were let go", held.len()))),
        open => Ok(format!("{open} of {} are held open", held.len())),
    }
}

/// Connections as fast as they can be asked for, until the gate says that it is enough.
pub fn flood(args: &[String]) -> Outcome {
    let (door, most): (&str, u32) = (word(args, 0)?, number(args, 1)?);
    for asked in 0..most {
        let verdict = verdict(&answer(door, &connecting("evil.example:443"))?);
        if verdict.starts_with("429") {
            return Err(Error::other(format!("{verdict} after {asked}")));
        }
    }
    Ok(format!("{most} in a row were looked at"))
}

/// Since the machine began.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        now.tv_sec.try_into().unwrap_or_default(),
        now.tv_nsec.try_into().unwrap_or_default(),
    )
}

/// That an allowed request gets through.
fn allowed(door: &str, port: &str) -> std::io::Result<()> {
    match said(door, &getting(port, "/control"))?.as_str() {
        "200" => Ok(()),
        other => Err(unable(&format!("the allowed host is not reached: {other}"))),
    }
}

fn getting(port: &str, path: &str) -> String {
    let target = format!("localhost:{port}");
    format!("GET http://{target}{path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")
}

fn connecting(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

/// A refusal by judgement or for its form; anything else got further than it may.
fn refused(verdict: String, what: &str) -> Outcome {
    match verdict.split(' ').next() {
        Some("400" | "403") => Err(Error::other(verdict)),
        Some("429") => Err(unable("the gate refused it for haste alone")),
        _ => Ok(format!("{what} was answered with `{verdict}`")),
    }
}

/// What became of a request, said again when it was too soon.
fn said(door: &str, head: &str) -> std::io::Result<String> {
    let mut last = String::new();
    for _ in 0..AGAIN.0 {
        last = verdict(&answer(door, head)?);
        if !last.starts_with("429") {
            break;
        }
        std::thread::sleep(AGAIN.1);
    }
    Ok(last)
}

fn answer(door: &str, head: &str) -> std::io::Result<String> {
    let mut stream = open(door)?;
    // Who is refused early may find the other side closed.
    let _ = stream.write_all(head.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn open(door: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(door).map_err(|error| unable(&format!("there is no door: {error}")))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// `403 not_granted`, or `200` for what went through.
fn verdict(answer: &str) -> String {
    let status = answer.split(' ').nth(1).unwrap_or("nothing").to_owned();
    let code = answer
        .lines()
        .find_map(|line| line.strip_prefix("Cofferdam-Reason: "));
    code.map_or_else(|| status.clone(), |code| format!("{status} {}", code.trim()))
}
