//! A name and a password from a person: at the terminal, which does not show the password, or from standard
//! input. Never from the command line, which others on this machine can read.

use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrets::Secret;
use std::io::{IsTerminal as _, Read};

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = 1024;
/// Ctrl-C, Ctrl-D.
const CANCELS: [u8; 2] = [3, 4];
/// Backspace, as terminals send it.
const ERASES: [u8; 2] = [8, 127];
/// Ctrl-U.
const CLEARS: u8 = 21;

/// The name, unless it was given, and the password.
pub fn ask(name: Option<&str>, from_input: bool, screen: &mut Screen) -> Result<(String, Secret), Failure> {
    let input = std::io::stdin();
    if from_input {
        let line = line(&mut input.lock())?;
        return Ok((name.unwrap_or_default().to_owned(), line));
    }
    if !input.is_terminal() {
        return Err(Failure::Misuse(
            "there is no terminal to ask for the password: use --user and --password-stdin".into(),
        ));
    }
    let name = match name {
        Some(name) => name.to_owned(),
        None => {
            screen.ask("Name: ");
            let typed = line(&mut input.lock())?;
            String::from_utf8_lossy(typed.expose()).trim().to_owned()
        }
    };
    screen.ask("Password: ");
    let password = {
        let _hidden = Hidden::begin(&input)?;
        line(&mut input.lock())
    };
    screen.tell("");
    Ok((name, password?))
}

/// One line, as somebody types it.
fn line(input: &mut impl Read) -> Result<Secret, Failure> {
    // Room for all of it, so that the buffer never grows and leaves a copy behind.
    let mut line = Vec::with_capacity(LINE_BYTES_MAX);
    let mut byte = [0u8];
    let ended = loop {
        if input.read(&mut byte)? == 0 {
            break Ok(());
        }
        match byte {
            [b'\n' | b'\r'] => break Ok(()),
            [one] if CANCELS.contains(&one) => break Err("nothing was sent"),
            [one] if ERASES.contains(&one) => {
                // A letter of several bytes goes as a whole.
                while line.pop().is_some_and(|gone: u8| gone & 0xc0 == 0x80) {}
            }
            [CLEARS] => line.clear(),
            [_] if line.len() == LINE_BYTES_MAX => break Err("it is longer than 1024 bytes"),
            [one] => line.push(one),
        }
    };
    let line = Secret::new(line);
    ended.map(|()| line).map_err(|why| Failure::Failed(why.into()))
}

/// A terminal that shows nothing of what is typed, and gives it byte by byte, until this is dropped. Ctrl-C is a
/// byte like any other then, so no signal leaves it that way.
struct Hidden<'i> {
    input: &'i std::io::Stdin,
    before: Termios,
}

impl Hidden<'_> {
    fn begin(input: &std::io::Stdin) -> Result<Hidden<'_>, Failure> {
        let before = tcgetattr(input).map_err(std::io::Error::from)?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(input, OptionalActions::Flush, &hidden).map_err(std::io::Error::from)?;
        Ok(Hidden { input, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.input, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_was_meant() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        #[rustfmt::skip]
        let table = [
            ("a line",              "s3cret\nmore",       Ok("s3cret")),
            ("of another kind",     "s3cret\r\n",         Ok("s3cret")),
            ("that just ends",      "s3cret",             Ok("s3cret")),
            ("white space counts",  " s3 cret \n",        Ok(" s3 cret ")),
            ("nothing",             "",                   Ok("")),
            ("mended",              "s4\u{7f}3cret\n",    Ok("s3cret")),
            ("mended beyond ASCII", "sü\u{7f}3\n",        Ok("s3")),
            ("begun again",         "wrong\u{15}s3\n",    Ok("s3")),
            ("erased and erased",   "a\u{7f}\u{7f}b\n",   Ok("b")),
            ("cancelled",           "s3\u{3}",            Err("nothing was sent")),
            ("too long",            &long,                Err("it is longer than 1024 bytes")),
        ];
        for (name, typed, expected) in table {
            let got = line(&mut typed.as_bytes());
            let got = got.map(|line| String::from_utf8(line.expose().to_vec()).unwrap());
            let got = got.map_err(|failure| failure.to_string());
            assert_eq!(got.as_deref().map_err(String::as_str), expected, "{name}");
        }
    }
}
