//! Reads the text format of protocol buffers as far as the cases for CEL use it, without a schema. What it
//! does not know is an error with its line, and nothing is passed over.

/// Deepest nesting of messages.
const DEPTH_MAX: usize = 64;

/// The fields of a message in their order.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<(String, Node)>);

/// What a field holds.
#[derive(Clone, Debug)]
pub enum Node {
    /// What stood between quotes, with its escapes resolved.
    Text(Vec<u8>),
    /// A number or a name, as written.
    Word(String),
    Message(Message),
}

impl Message {
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// All fields of this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Node> {
        self.fields()
            .filter(move |(field, _)| *field == name)
            .map(|(_, node)| node)
    }

    pub fn messages(&self, name: &str) -> impl Iterator<Item = &Message> {
        self.all(name).filter_map(|node| match node {
            Node::Message(message) => Some(message),
            _ => None,
        })
    }

    /// The text of a field that is there at most once; empty when it is not.
    pub fn text(&self, name: &str) -> String {
        match self.all(name).next() {
            Some(Node::Text(bytes)) => String::from_utf8(bytes.clone()).unwrap(),
            _ => String::new(),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

/// Reads a whole file; the error names the line.
pub fn read(source: &str) -> Result<Message, String> {
    let mut reader = Reader {
        rest: source,
        depth: 0,
    };
    let read = reader.message(None);
    let line = 1 + source.matches('\n').count() - reader.rest.matches('\n').count();
    read.map_err(|what| format!("line {line}: {what}"))
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    /// Fields up to `close`, or without one up to the end of the file.
    fn message(&mut self, close: Option<char>) -> Result<Message, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("nested too deeply".to_owned());
        }
        let mut fields = Vec::new();
        loop {
            self.blank();
            match (self.rest.chars().next(), close) {
                (None, None) => break,
                (found, Some(_)) if found == close => {
                    self.take(1);
                    break;
                }
                (None, Some(close)) => return Err(format!("no `{close}`")),
                _ => self.field(&mut fields)?,
            }
        }
        self.depth -= 1;
        Ok(Message(fields))
    }

    fn field(&mut self, fields: &mut Vec<(String, Node)>) -> Result<(), String> {
        let name = match self.mark('[') {
            true => {
                let length = self.rest.find(']').ok_or("no `]` after a type's name")?;
                let name = self.take(length).to_owned();
                self.take(1);
                name
            }
            false => self.word()?,
        };
        let colon = self.mark(':');
        if self.mark('[') {
            while !self.mark(']') {
                fields.push((name.clone(), self.node(true)?));
                self.mark(',');
            }
        } else {
            fields.push((name, self.node(colon)?));
        }
        let _ = self.mark(',') || self.mark(';');
        Ok(())
    }

    /// One value; only a message may stand without a colon.
    fn node(&mut self, colon: bool) -> Result<Node, String> {
        self.blank();
        match self.rest.chars().next() {
            Some('{') => {
                self.take(1);
                self.message(Some('}')).map(Node::Message)
            }
            Some('<') => {
                self.take(1);
                self.message(Some('>')).map(Node::Message)
            }
            _ if !colon => Err("no `:`".to_owned()),
            Some('"' | '\'') => self.text().map(Node::Text),
            _ => self.word().map(Node::Word),
        }
    }

    fn word(&mut self) -> Result<String, String> {
        self.blank();
        let end = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-' | '+');
        match self.rest.find(end).unwrap_or(self.rest.len()) {
            0 => Err("neither a name nor a value".to_owned()),
            length => Ok(self.take(length).to_owned()),
        }
    }

    /// Texts that follow each other are one.
    fn text(&mut self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.blank();
        while let Some(quote @ ('"' | '\'')) = self.rest.chars().next() {
            self.take(1);
            loop {
                let next = self.rest.chars().next().ok_or("a text without its end")?;
                self.take(next.len_utf8());
                match next {
                    next if next == quote => break,
                    '\n' => return Err("a line ends in a text".to_owned()),
                    '\\' => self.escape(&mut bytes)?,
                    next => bytes.extend(next.encode_utf8(&mut [0; 4]).bytes()),
                }
            }
            self.blank();
        }
        Ok(bytes)
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        let letter = self.rest.chars().next().ok_or("a text without its end")?;
        if letter.is_digit(8) {
            let code = self.digits(8, 1, 3)?;
            bytes.push(u8::try_from(code).map_err(|_| "an octal escape above 377")?);
            return Ok(());
        }
        self.take(letter.len_utf8());
        let byte = match letter {
            'a' => 7,
            'b' => 8,
            't' => b'\t',
            'n' => b'\n',
            'v' => 11,
            'f' => 12,
            'r' => b'\r',
            '\\' | '\'' | '"' | '?' => u8::try_from(letter).map_err(|error| error.to_string())?,
            'x' | 'X' => u8::try_from(self.digits(16, 1, 2)?).map_err(|error| error.to_string())?,
            'u' | 'U' => {
                let length = if letter == 'u' { 4 } else { 8 };
                let code = self.digits(16, length, length)?;
                let character = char::from_u32(code).ok_or("an escape that is no character")?;
                bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
                return Ok(());
            }
            _ => return Err(format!("unknown escape `\\{letter}`")),
        };
        bytes.push(byte);
        Ok(())
    }

    fn digits(&mut self, radix: u32, least: usize, most: usize) -> Result<u32, String> {
        let digits = self.rest.chars().take(most).take_while(|c| c.is_digit(radix));
        match digits.count() {
            count if count < least => Err("an escape with too few digits".to_owned()),
            count => u32::from_str_radix(self.take(count), radix).map_err(|error| error.to_string()),
        }
    }

    fn mark(&mut self, mark: char) -> bool {
        self.blank();
        let found = self.rest.starts_with(mark);
        if found {
            self.take(mark.len_utf8());
        }
        found
    }

    /// Passes over white space and comments.
    fn blank(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn take(&mut self, length: usize) -> &str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

#[test]
fn the_text_format_is_read_strictly() {
    let table = [
        (
            "a: 1 b: 'x' \"\\n\\x41\\101\\u00e9\" # c",
            "a=1 b=\"x\\nAA\\u{e9}\" ",
        ),
        (
            "a { b: -1.5e3, c < d: true; > } a: {}",
            "a={b=-1.5e3 c={d=true }} a={}",
        ),
        (
            "a: [1, 2] [t.x/u.V] { v: 'a\\'b' }",
            "a=1 a=2 t.x/u.V={v=\"a'b\" }",
        ),
        ("a: 'b", "line 1: a text without its end"),
        ("a: 1\nb 2", "line 2: no `:`"),
        ("a {\n b: 1", "line 2: no `}`"),
        ("a: '\\q'", "line 1: unknown escape `\\q`"),
        ("a: }", "line 1: neither a name nor a value"),
    ];
    for (source, expected) in table {
        let found = read(source).map_or_else(|error| error, |message| shown(&message));
        assert_eq!(found.trim_end(), expected.trim_end(), "{source}");
    }
}

fn shown(message: &Message) -> String {
    let fields = message.fields().map(|(name, node)| match node {
        Node::Text(bytes) => format!("{name}={} ", json_like(bytes)),
        Node::Word(word) => format!("{name}={word} "),
        Node::Message(inner) => format!("{name}={{{}}} ", shown(inner)),
    });
    fields.collect::<String>().replace("} }", "}}")
}

fn json_like(bytes: &[u8]) -> String {
    format!(
        "\"{}\"",
        String::from_utf8_lossy(bytes)
            .replace('\n', "\\n")
            .replace('é', "\\u{e9}")
    )
}
