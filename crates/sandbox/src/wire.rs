//! Messages with descriptors between platform, zygote and guest: one datagram each, over `SOCK_SEQPACKET`.
//!
//! Invariants:
//! - **A message is whole or refused**: what the kernel cut, of bytes or of descriptors, is an error.
//! - **Received descriptors close on exec.**

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most descriptors in one message: a pidfd and two sockets for each of 32 doors, rounded up.
const FDS_MAX: usize = 80;
/// Largest message, in bytes: well below what an unprivileged socket sends at once (`wmem_default`, 208 KiB).
const BYTES_MAX: usize = 128 * 1024;

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The other side is gone.
    #[error("the other side is gone")]
    Closed,
    /// Nothing came in time.
    #[error("no answer in time")]
    Silent,
    /// What the system said.
    #[error("cannot send or receive: {0}")]
    System(#[source] Errno),
    /// It does not say what it should.
    #[error("unreadable message: {0}")]
    Unreadable(String),
}

/// Two ends of a connection.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Sends one message.
pub(crate) fn send(to: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<(), WireError> {
    let bytes = serde_json::to_vec(message).map_err(|e| WireError::Unreadable(e.to_string()))?;
    if bytes.len() > BYTES_MAX || fds.len() > FDS_MAX {
        return Err(WireError::Unreadable(format!(
            "{} bytes are too many",
            bytes.len()
        )));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(WireError::Unreadable("too many descriptors".to_owned()));
    }
    // A peer that died is an error here and no signal.
    let sent = rustix::io::retry_on_intr(|| {
        sendmsg(
            to.as_fd(),
            &[IoSlice::new(&bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    });
    match sent {
        Ok(_) => Ok(()),
        Err(Errno::PIPE | Errno::CONNRESET) => Err(WireError::Closed),
        Err(e) => Err(WireError::System(e)),
    }
}

/// Receives one message. Blocks, unless the socket does not or has a time-out.
pub(crate) fn receive<T: DeserializeOwned>(from: impl AsFd) -> Result<(T, Vec<OwnedFd>), WireError> {
    let mut bytes = vec![0_u8; BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            from.as_fd(),
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    });
    let received = match received {
        Ok(received) => received,
        Err(Errno::CONNRESET) => return Err(WireError::Closed),
        Err(Errno::AGAIN) => return Err(WireError::Silent),
        Err(e) => return Err(WireError::System(e)),
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(WireError::Unreadable("it was cut".to_owned()));
    }
    if received.bytes == 0 {
        return Err(WireError::Closed);
    }
    let message = bytes
        .get(..received.bytes)
        .ok_or_else(|| WireError::Unreadable("longer than its buffer".to_owned()))
        .and_then(|b| serde_json::from_slice(b).map_err(|e| WireError::Unreadable(e.to_string())))?;
    Ok((message, fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_with_its_descriptors() {
        let (a, b) = pair().unwrap();
        let (held, _other) = pair().unwrap();
        send(&a, &("hello", 7), &[held.as_fd(), a.as_fd()]).unwrap();
        let ((word, number), fds): ((String, u32), _) = receive(&b).unwrap();
        assert_eq!((word.as_str(), number, fds.len()), ("hello", 7, 2));
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let (a, b) = pair().unwrap();
        send(&a, &"words", &[]).unwrap();
        assert!(matches!(receive::<u32>(&b), Err(WireError::Unreadable(_))));
        assert!(matches!(
            send(&a, &"x".repeat(BYTES_MAX), &[]),
            Err(WireError::Unreadable(_))
        ));
        drop(a);
        assert!(matches!(receive::<u32>(&b), Err(WireError::Closed)));
        assert!(matches!(send(&b, &1, &[]), Err(WireError::Closed)));
    }
}
