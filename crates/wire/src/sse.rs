//! Server-sent events (WHATWG HTML, section 9.2), cut anywhere.

/// Splits bytes into events, wherever they were cut. Lines may end with CR, LF or CRLF.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// A line that has not ended.
    line: Vec<u8>,
    event: Event,
    /// The last byte was a CR, so an LF belongs to it; `Some(true)` where it ended an event.
    after_cr: Option<bool>,
    /// Nothing was read yet, so a byte order mark may come.
    at_start: bool,
    /// Greatest length of a line, and of the data of an event, in bytes.
    limit: usize,
}

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// The field `event`; empty where there was none.
    pub name: String,
    /// The fields `data`, joined by LF.
    pub data: Vec<u8>,
    has_data: bool,
}

/// A line, or an event, is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// What a line ended with.
pub(crate) enum Step<'a> {
    /// An event is over, or (without data) a comment or an empty line: nothing to read. It ended before this byte of what was pushed.
    Over(Option<&'a Event>, usize),
    /// An LF that belongs to what was over before; it ends before this byte.
    Tail(usize),
}

impl Decoder {
    pub(crate) fn new(limit: usize) -> Decoder {
        Decoder {
            line: Vec::new(),
            event: Event::default(),
            after_cr: None,
            at_start: true,
            limit,
        }
    }

    /// Reads on, and tells of each event that is over.
    pub(crate) fn push(&mut self, bytes: &[u8], mut step: impl FnMut(Step)) -> Result<(), TooLong> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some(over) = self.after_cr.take()
                && rest.first() == Some(&b'\n')
            {
                at += 1;
                if over {
                    step(Step::Tail(at));
                }
                continue;
            }
            let Some(end) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                self.keep(rest)?;
                break;
            };
            let (line, ending) = rest.split_at(end);
            let over = line.is_empty() && self.line.is_empty();
            self.after_cr = (ending.first() == Some(&b'\r')).then_some(over);
            at += end + 1;
            if self.line.is_empty() {
                self.read(line)?;
                if over {
                    self.over(at, &mut step);
                }
            } else {
                self.keep(line)?;
                let line = std::mem::take(&mut self.line);
                self.read(&line)?;
                self.line = line;
                self.line.clear();
            }
        }
        Ok(())
    }

    /// The end of the stream: what is left is an event, though nothing said that it was over.
    pub(crate) fn finish(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if self.read(&line).is_err() {
            return None;
        }
        let event = std::mem::take(&mut self.event);
        event.has_data.then_some(event)
    }

    fn over(&mut self, at: usize, step: &mut impl FnMut(Step)) {
        let event = self.event.has_data.then_some(&self.event);
        step(Step::Over(event, at));
        self.event.name.clear();
        self.event.data.clear();
        self.event.has_data = false;
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + part.len() > self.limit {
            return Err(TooLong);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    /// A line without its end.
    fn read(&mut self, mut line: &[u8]) -> Result<(), TooLong> {
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.event.data.len() + value.len() > self.limit {
                    return Err(TooLong);
                }
                if std::mem::replace(&mut self.event.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            // A comment, an id, a time to wait: nothing that is read here.
            _ => (),
        }
        Ok(())
    }
}

/// An event as it is written: data of one line, since JSON has line ends only between its values.
pub(crate) fn write(name: Option<&str>, data: &str, out: &mut Vec<u8>) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend(
        data.bytes()
            .map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }),
    );
    out.extend_from_slice(b"\n\n");
}
