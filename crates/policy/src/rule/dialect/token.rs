//! Splits a condition of the dialect into tokens.

/// One token and where it starts.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// In characters, from 1.
    pub(super) column: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word(String),
    /// What stood between quotes, with its escapes resolved.
    Text(String),
    /// An integer or a decimal, as written.
    Number(String),
    /// `==`, `!=`, `<`, `<=`, `>`, `>=`.
    Comparison(&'static str),
    /// One of `(`, `)`, `[`, `]`, `,`, `.`.
    Mark(char),
}

const COMPARISONS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];

/// All tokens of `source`.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    loop {
        rest = rest.trim_start();
        let column = source.chars().count() - rest.chars().count() + 1;
        let Some(first) = rest.chars().next() else {
            return Ok(tokens);
        };
        let (kind, length) =
            token(first, rest).map_err(|what| format!("condition: {what} at column {column}"))?;
        tokens.push(Token { kind, column });
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// The token that `rest` starts with, and its length in bytes.
fn token(first: char, rest: &str) -> Result<(Kind, usize), String> {
    match first {
        '\'' | '"' => text(first, rest),
        '(' | ')' | '[' | ']' | ',' | '.' => Ok((Kind::Mark(first), 1)),
        '-' | '0'..='9' => number(rest),
        'a'..='z' | 'A'..='Z' | '_' => {
            let length = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            Ok((
                Kind::Word(rest.get(..length).unwrap_or_default().to_owned()),
                length,
            ))
        }
        _ => COMPARISONS
            .iter()
            .find(|operator| rest.starts_with(**operator))
            .map(|operator| (Kind::Comparison(operator), operator.len()))
            .ok_or_else(|| format!("unexpected `{}`", first.escape_default())),
    }
}

fn text(quote: char, rest: &str) -> Result<(Kind, usize), String> {
    let mut out = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            c if c == quote => return Ok((Kind::Text(out), at + 1)),
            '\\' => match characters.next() {
                Some((_, c @ ('\\' | '\'' | '"'))) => out.push(c),
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                _ => return Err("unknown escape in a text".to_owned()),
            },
            c => out.push(c),
        }
    }
    Err("text without a closing quote".to_owned())
}

fn number(rest: &str) -> Result<(Kind, usize), String> {
    let digits = |from: usize| {
        let tail = rest.get(from..).unwrap_or_default();
        from + tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len())
    };
    let start = usize::from(rest.starts_with('-'));
    let mut end = digits(start);
    if end == start {
        return Err("unexpected `-`".to_owned());
    }
    if rest.get(end..).is_some_and(|tail| tail.starts_with('.')) && digits(end + 1) > end + 1 {
        end = digits(end + 1);
    }
    if rest
        .get(end..)
        .is_some_and(|tail| tail.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.'))
    {
        return Err("malformed number".to_owned());
    }
    Ok((Kind::Number(rest.get(..end).unwrap_or_default().to_owned()), end))
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Kind::Word(word) => write!(f, "`{word}`"),
            Kind::Text(text) => write!(f, "text `{}`", text.escape_default()),
            Kind::Number(digits) => write!(f, "`{digits}`"),
            Kind::Comparison(operator) => write!(f, "`{operator}`"),
            Kind::Mark(mark) => write!(f, "`{mark}`"),
        }
    }
}
